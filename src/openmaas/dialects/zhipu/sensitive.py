"""``sensitive_word_check``: a chat whose question and answer are looked at by the installation's moderation.

Pure: whether it was asked for, what is looked at, what a moderation said of it, and how an answer that may not be said
is told. The answer ends with ``sensitive``; its words are left out where they were not told yet, for those of a stream
Zhipu leaves it to the caller to take them back. https://docs.bigmodel.cn/cn/api/api-code
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from openmaas.core.errors import EngineFailed
from openmaas.dialects.conversation import Json
from openmaas.dialects.engine.hear import Events
from openmaas.dialects.members import checked

FIELD = "sensitive_word_check"
#: The model that moderates, as Zhipu's own is called: an operator gives it this name, or makes it an alias.
MODEL = "moderation"
#: Zhipu's levels go from 0, the gravest, to 3; a word list knows none.
_LEVEL = 0
#: Members of a part that are no text.
_MEDIA = frozenset({"image_url", "video_url", "file_url", "input_audio"})
_DONE = b"[DONE]"
_encode = msgspec.json.encode
_object = msgspec.json.Decoder(dict[str, Any])


class _Check(msgspec.Struct):
    type: str | None = None
    status: Literal["ENABLE", "DISABLE"] | None = None


class _Own(msgspec.Struct):
    sensitive_word_check: _Check | None = None


class _Judged(msgspec.Struct):
    risk_level: str


class _Results(msgspec.Struct):
    result_list: list[_Judged]


_own = msgspec.json.Decoder(_Own)
_results = msgspec.json.Decoder(_Results)


def wants_check(members: dict[str, Json]) -> bool:
    """Whether a request has it on. Raises ``FieldInvalid``."""
    if FIELD not in members:
        return False
    found = checked(_own, {FIELD: members[FIELD]}).sensitive_word_check
    return found is not None and found.status == "ENABLE"


def words_in(value: Any) -> Iterator[str]:
    """Every text in a value, but for pictures and the like."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        parts = value if isinstance(value, list) else [each for name, each in value.items() if name not in _MEDIA]
        for part in parts:
            yield from words_in(part)


def looked_at(texts: list[str]) -> bytes:
    """The moderation of texts."""
    return _encode({"model": MODEL, "input": texts})


def rejected(body: bytes, count: int) -> list[bool]:
    """Which of ``count`` texts may not be said, of a moderation's answer; what is to be reviewed may. Raises
    ``EngineFailed``."""
    try:
        found = _results.decode(body).result_list
    except msgspec.MsgspecError as error:
        raise EngineFailed(f"the moderation did not answer as one ({error})") from None
    if len(found) != count:
        raise EngineFailed("the moderation's answer lacks results")
    return [each.risk_level == "REJECT" for each in found]


def content_filter(role: str) -> list[dict[str, Any]]:
    """How it is told whose words were stopped: ``user``, ``history`` or ``assistant``."""
    return [{"role": role, "level": _LEVEL}]


class Whole:
    """A whole answer that is looked at before it is told."""

    def __init__(self, body: bytes) -> None:
        """Raises ``EngineFailed``."""
        self._told = _decoded(body)
        self._choices: list[dict[str, Any]] = self._told.get("choices") or []
        self.texts = [_words(choice.get("message") or {}) for choice in self._choices]

    def say(self, stopped: list[bool]) -> bytes:
        """It, without what may not be said."""
        for choice, stop in zip(self._choices, stopped, strict=True):
            if stop:
                choice["message"] = {"role": "assistant", "content": "", "refusal": None}
                choice |= {"finish_reason": "sensitive", "logprobs": None}
        more = {"content_filter": content_filter("assistant")} if any(stopped) else {}
        return _encode(self._told | more)


class Stream:
    """A streamed answer that passes as it comes, up to the first chunk that ends a choice; what follows waits for what
    is said of the words. ``texts`` are those of the choices."""

    def __init__(self) -> None:
        self._events = Events()
        self._words: dict[int, str] = {}
        self._held: list[bytes] = []

    @property
    def texts(self) -> list[str]:
        """The words so far, choice by choice."""
        return [self._words[number] for number in sorted(self._words)]

    def feed(self, block: bytes) -> bytes:
        """What may pass."""
        return b"".join(_event(data) for data in self._events.feed(block) if self._passes(data))

    def end(self, stopped: list[bool]) -> bytes:
        """The rest, in which the choices that were ``stopped`` end with ``sensitive``."""
        ends = dict.fromkeys((n for n, stop in zip(sorted(self._words), stopped, strict=True) if stop), "sensitive")
        return self._rest(ends, {"content_filter": content_filter("assistant")})

    def broken(self, error: dict[str, Any]) -> bytes:
        """The rest when nobody could say: every choice ends as if the connection had, with the ``error``."""
        return self._rest(dict.fromkeys(self._words, "network_error"), {"error": error})

    def _passes(self, data: bytes) -> bool:
        choices = [] if data == _DONE else _decoded(data).get("choices") or []
        for choice in choices:
            number = int(choice.get("index") or 0)
            self._words[number] = self._words.get(number, "") + _words(choice.get("delta") or {})
        if self._held or data == _DONE or any(choice.get("finish_reason") for choice in choices):
            self._held.append(data)
        return not self._held

    def _rest(self, ends: dict[int, str], more: dict[str, Any]) -> bytes:
        said = []
        for data in self._held:
            told = {} if data == _DONE else _decoded(data)
            changed = [each for each in told.get("choices") or [] if each.get("index", 0) in ends]
            for choice in changed:
                if choice.get("finish_reason"):
                    choice["finish_reason"] = ends[choice.get("index", 0)]
                choice["delta"] = {}
            said.append(_encode(told | more) if changed else data)
        return b"".join(map(_event, said))


def _words(told: dict[str, Any]) -> str:
    """All words of a message or a delta: what was thought and the arguments of calls are told, too."""
    calls = [(call.get("function") or {}).get("arguments") for call in told.get("tool_calls") or []]
    return "".join(
        each for each in (told.get("reasoning_content"), told.get("content"), *calls) if isinstance(each, str)
    )


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        return _object.decode(body)
    except msgspec.MsgspecError as error:
        raise EngineFailed(f"its answer was no chat's ({error})") from None


def _event(data: bytes) -> bytes:
    return b"data: %b\n\n" % data
