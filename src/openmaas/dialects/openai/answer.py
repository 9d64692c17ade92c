"""Reads an engine's answer while it passes: usage from the end, the engine's own model name replaced.

A stream is looked at in whole events and otherwise left alone. The usage event, which is always asked of the engine,
is taken out again when the caller did not ask for it. ``"usage"`` with its quotes cannot stand inside a JSON string
(there the quotes are escaped), so a plain search finds it.
"""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

from openmaas.core.bounds import EVENT_BYTES_MAX
from openmaas.core.errors import EngineFailed, OpenmaasError
from openmaas.core.usage import Units, Usage, WireUsage
from openmaas.dialects.dialect import shown

_DONE = b"data: [DONE]"
_BYTES_A_TOKEN = 4  #: of an estimate
#: What an event says that ends a choice; the others say null.
_FINISH = re.compile(rb'"finish_reason"\s*:\s*"')


class _Ending(msgspec.Struct, gc=False):
    delta: dict[str, msgspec.Raw] = {}
    text: str = ""


class _Endings(msgspec.Struct, gc=False):
    choices: list[_Ending] = []


class _Event(msgspec.Struct, gc=False):
    choices: list[msgspec.Raw] = []
    usage: WireUsage | None = None


_event = msgspec.json.Decoder(_Event)
_endings = msgspec.json.Decoder(_Endings)
#: Members of a delta that say nothing.
_SILENT = (msgspec.Raw(b'""'), msgspec.Raw(b"null"), msgspec.Raw(b"[]"))


@lru_cache
def renamer(served_name: str, name: str) -> tuple[re.Pattern[bytes], bytes]:
    """How to give back the model's public name."""
    encode = msgspec.json.encode
    return re.compile(rb'"model"\s*:\s*' + re.escape(encode(served_name))), b'"model":' + encode(name)


class Stream:
    """One answer as server-sent events. ``feed`` returns what the caller may see now."""

    __slots__ = ("_carry", "_hide_usage", "_rename", "delivering", "ended", "events", "usage")

    def __init__(self, *, hide_usage: bool, rename: tuple[re.Pattern[bytes], bytes] | None) -> None:
        self._carry = b""
        self._hide_usage = hide_usage
        self._rename = rename
        self.usage: Usage | None = None
        self.events = 0
        self.delivering = True  # until the client is gone
        self.ended = False  # [DONE] was seen: what ``feed`` returned is the end of the answer

    def feed(self, block: bytes) -> bytes:
        """The next bytes of the engine, whole events of them passed on. Raises ``EngineFailed`` for a giant event."""
        if self._carry:
            block = self._carry + block
            self._carry = b""
        if b"\r" in block:  # the other way to end a line; inside JSON it is escaped
            block = block.replace(b"\r\n", b"\n")
        if not block.endswith(b"\n\n"):
            cut = block.rfind(b"\n\n") + 2 if b"\n\n" in block else 0
            self._carry = block[cut:]
            if len(self._carry) > EVENT_BYTES_MAX:
                raise EngineFailed("an event was too long")
            block = block[:cut]
        if self.delivering:
            self.events += block.count(b"\n\n")
        return self._look(block)

    def finish(self) -> bytes:
        """What is left of an answer whose last event lacks its blank line."""
        rest, self._carry = self._carry, b""
        self.events += self.delivering and bool(rest)
        return self._look(rest)

    def delivered(self) -> Usage:
        """An estimate when the engine never told: one token an event, the first (the role) not counted."""
        return Usage(completion_tokens=max(self.events - 1, 0), estimated=True)

    def broken(self, _error: OpenmaasError) -> None:
        """See ``Reading``."""

    def _look(self, block: bytes) -> bytes:
        if self.delivering and _FINISH.search(block):
            self.events -= sum(map(_says_nothing, block.split(b"\n\n")))
        if b'"usage"' in block:
            block = self._take_usage(block)
        if _DONE in block:
            self.ended = True
            self.events -= self.delivering  # it is no token
        if self._rename is not None:
            block = self._rename[0].sub(lambda _: self._rename[1], block)  # type: ignore[index]
        return block

    def _take_usage(self, block: bytes) -> bytes:
        kept = []
        for event in block.split(b"\n\n"):
            if b'"usage"' in event and event.startswith(b"data:"):
                try:
                    found = _event.decode(event[5:])
                except msgspec.MsgspecError:
                    found = _Event()
                if found.usage is not None:
                    self.usage = found.usage.usage()
                    self.events -= self.delivering and not found.choices  # it is no token either
                    if self._hide_usage and not found.choices:
                        continue
            kept.append(event)
        return b"\n\n".join(kept)


def _says_nothing(event: bytes) -> bool:
    """Whether it ends its choices and has no token."""
    if not _FINISH.search(event):
        return False
    try:
        choices = _endings.decode(event[5:]).choices
    except msgspec.MsgspecError:
        return False
    said = [value for each in choices for name, value in each.delta.items() if name != "role"]
    return not any(each.text for each in choices) and all(value in _SILENT for value in said)


_NULL = msgspec.Raw(b"null")


class _Whole(msgspec.Struct, gc=False):
    usage: WireUsage | None = None
    error: msgspec.Raw = _NULL


_whole = msgspec.json.Decoder(_Whole)


def whole_usage(body: bytes, status: int) -> Usage | None:
    """The usage of an answer that is not a stream; None when it has none. An error used none; one that comes with a
    status of success raises ``EngineFailed``."""
    try:
        found = _whole.decode(body)
    except msgspec.MsgspecError:
        return None
    if found.usage is not None:
        return found.usage.usage()
    if found.error == _NULL:
        return None
    if status < 300:
        raise EngineFailed(f"its answer was an error, {shown(found.error)}")
    return Usage()


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct, gc=False):
    function: _Function | None = None


class _Message(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_Call] | None = None

    def texts(self) -> list[str | None]:
        """All that is said here."""
        functions = [call.function for call in self.tool_calls or [] if call.function]
        return [self.content, self.reasoning_content, *(text for f in functions for text in (f.name, f.arguments))]


class _Choice(msgspec.Struct, gc=False):
    message: _Message | None = None
    text: str | None = None


class _Said(msgspec.Struct, gc=False):
    choices: list[_Choice] = []


_said = msgspec.json.Decoder(_Said)


def guessed(body: bytes) -> int:
    """The tokens of a whole answer that came without a count: a quarter of the bytes of what it says, and not of what
    stands around it, which differs from dialect to dialect. 0 when it says nothing, as embeddings do."""
    try:
        choices = _said.decode(body).choices
    except msgspec.MsgspecError:
        return len(body) // _BYTES_A_TOKEN
    texts = [text for each in choices for text in (each.text, *(each.message.texts() if each.message else ())) if text]
    return max(1, sum(len(text.encode()) for text in texts) // _BYTES_A_TOKEN) if texts else 0


def reckoned(usage: Usage | None, units: Units) -> Usage | None:
    """What a request used that was answered: ``units`` are what was asked for, for an engine that counts none."""
    if not units or (usage is not None and usage.units):
        return usage
    return msgspec.structs.replace(usage or Usage(), units=units)


def renamed(body: bytes, rename: tuple[re.Pattern[bytes], bytes]) -> bytes:
    """``body`` with the public model name, replaced once, at the top."""
    return rename[0].sub(lambda _: rename[1], body, count=1)
