"""An engine's answer, whole or streamed on the OpenAI wire, as pieces.

Engines differ in small things: a thought is ``reasoning_content`` or ``reasoning``, a call may lack its id, and one
that called something may say that it simply stopped.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from openmaas.core.bounds import EVENT_BYTES_MAX
from openmaas.core.errors import EngineFailed
from openmaas.core.usage import Usage, WireUsage
from openmaas.dialects.dialect import shown
from openmaas.dialects.pieces import Argued, Called, Counted, Ended, Piece, Reason, Said, Thought, Weighed

FULL = "model_context_window_exceeded"
_NULL = msgspec.Raw(b"null")
_REASONS: dict[str, Reason] = {
    "stop": "stop",
    "length": "length",
    "max_tokens": "length",
    FULL: "length",
    "tool_calls": "calls",
    "function_call": "calls",
    "content_filter": "refused",
    "sensitive": "refused",
}


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: _Function = msgspec.field(default_factory=_Function)


class _Words(msgspec.Struct, gc=False):
    """A whole message or a delta: they have the same members."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_Call] | None = None
    refusal: str | None = None


class _Logprobs(msgspec.Struct, gc=False):
    content: list[msgspec.Raw] | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Words | None = None
    message: _Words | None = None
    logprobs: msgspec.Raw = _NULL
    finish_reason: str | None = None
    stop_reason: str | int | None = None  # vLLM: the stop sequence


class _Told(msgspec.Struct, gc=False):
    choices: list[_Choice] = []
    usage: WireUsage | None = None
    error: msgspec.Raw = _NULL


_told = msgspec.json.Decoder(_Told)
_logprobs = msgspec.json.Decoder(_Logprobs)


class Hearing:
    """Hears one answer. ``usage`` is the engine's count, once it told."""

    def __init__(self, request_id: str) -> None:
        self.usage: Usage | None = None
        self._request_id = request_id
        self._called: set[tuple[int, int]] = set()
        self._index = 0  # of the call that is being argued, for engines that do not say

    def hear(self, data: bytes) -> Iterator[Piece]:
        """The pieces of one event, or of a whole answer. Raises ``EngineFailed`` for what is no answer."""
        try:
            told = _told.decode(data)
        except msgspec.MsgspecError as error:
            raise EngineFailed(f"its answer was not of the OpenAI wire ({error})") from None
        if told.error != _NULL:
            raise EngineFailed(f"its answer was an error, {shown(told.error)}")
        for choice in told.choices:
            if choice.logprobs != _NULL and (weighed := _weighed(choice.logprobs)):
                yield Weighed(weighed, choice.index)
            words = choice.delta or choice.message
            if words is not None:
                yield from self._words(words, choice.index)
            if choice.finish_reason is not None:
                yield self._ended(choice)
        if told.usage is not None:
            self.usage = told.usage.usage()
            yield Counted(self.usage)

    def _words(self, words: _Words, choice: int) -> Iterator[Piece]:
        thought = words.reasoning_content or words.reasoning
        if thought:
            yield Thought(thought, choice)
        if words.content or words.refusal:
            yield Said(words.content or words.refusal or "", choice)
        for at, call in enumerate(words.tool_calls or ()):
            yield from self._call(call, at, choice)

    def _call(self, call: _Call, at: int, choice: int) -> Iterator[Piece]:
        if call.index is not None:
            self._index = call.index
        elif call.function.name:  # a call that is not numbered is the next one
            self._index = at if not self._called else max(index for _, index in self._called) + 1
        index = self._index
        if (choice, index) not in self._called and call.function.name:
            self._called.add((choice, index))
            made = f"call_{self._request_id.removeprefix('req_')}_{choice}_{index}"
            yield Called(index, call.id or made, call.function.name, choice)
        if call.function.arguments and (choice, index) in self._called:
            yield Argued(index, call.function.arguments, choice)

    def _ended(self, choice: _Choice) -> Ended:
        reason = _REASONS.get(choice.finish_reason or "", "stop")
        if reason == "stop" and any(of == choice.index for of, _ in self._called):
            reason = "calls"
        stop = choice.stop_reason if isinstance(choice.stop_reason, str) else None
        return Ended(reason, choice.index, stop, choice.finish_reason == FULL)


def _weighed(raw: msgspec.Raw) -> list[msgspec.Raw] | None:
    """Log probabilities of another form than the wire's are left out: nobody's answer should break on them."""
    try:
        return _logprobs.decode(raw).content
    except msgspec.MsgspecError:
        return None


class Events:
    """Cuts a stream of server-sent events into their data (WHATWG HTML §9.2), however its bytes are split."""

    def __init__(self) -> None:
        self._carry = b""

    def feed(self, block: bytes) -> list[bytes]:
        """The data of each event that is whole now. Raises ``EngineFailed`` for a giant one."""
        block = self._carry + block
        if b"\r" in block:
            block = block.replace(b"\r\n", b"\n")
        *whole, self._carry = block.split(b"\n\n")
        if len(self._carry) > EVENT_BYTES_MAX:
            raise EngineFailed("an event was too long")
        return [data for event in whole if (data := _data(event))]

    def finish(self) -> list[bytes]:
        """That of a last event that lacks its blank line."""
        rest, self._carry = self._carry, b""
        return [data] if (data := _data(rest)) else []


def _data(event: bytes) -> bytes:
    lines = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines)
