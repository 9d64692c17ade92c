"""Step 6 of the journey: an engine's bytes to the client, by callback, without waking the coroutine.

Nothing of the end of an answer leaves here: ``last`` holds it until the journey has written what it cost. A slow
client pauses the engine; a client that went away cancels it, and the engine's last word still brings its count.
"""

from __future__ import annotations

import asyncio

from openmaas.core.bounds import ANSWER_BYTES_MAX, ERROR_BODY_BYTES_MAX
from openmaas.core.clock import Clock
from openmaas.core.errors import EngineFailed, OpenmaasError
from openmaas.core.usage import Usage
from openmaas.dialects.openai.answer import Stream, renamed, renamer, whole_usage
from openmaas.dialects.openai.errors import engine_error
from openmaas.dialects.openai.request import Ask
from openmaas.relay.door import Answer
from openmaas.relay.upstream import Exchange

_EVENTS = b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"
_JSON = b"content-type: application/json\r\n"


class Flow:
    """One answer on its way. ``finished`` is done when the engine has said its last word."""

    def __init__(self, answer: Answer, ask: Ask, clock: Clock, *, served_name: str, headers: bytes) -> None:
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.error: OpenmaasError | None = None
        self.last = b""
        self.first_byte_ms = 0
        self.recorded: bytearray | None = None  # a copy of the answer, when somebody wants to repeat it
        self._answer = answer
        self._clock = clock
        self._headers = headers
        self._rename = renamer(served_name, ask.model)
        self._stream = Stream(hide_usage=not ask.include_usage, rename=self._rename) if ask.stream else None
        self._parts: list[bytes] = []
        self._size_bytes = 0
        self._status = 0
        self._usage: Usage | None = None
        self._exchange: Exchange | None = None

    def attach(self, exchange: Exchange) -> None:
        """From here on the client's pace and presence reach the engine."""
        self._exchange = exchange
        self._answer.on_pressure = self._press
        self._answer.on_gone = exchange.cancel
        if self._answer.gone:
            exchange.cancel()

    def detach(self) -> None:
        """The engine is done; the client is the journey's again."""
        self._answer.on_pressure = self._answer.on_gone = None
        self._exchange = None  # or the two would keep each other, and the body, until the cycle collector runs

    def head(self, status: int, _headers: list[tuple[bytes, bytes]]) -> None:
        """The engine's status line and headers. Part of ``upstream.Sink``."""
        self._status = status
        self.first_byte_ms = self._clock.wall_ms()
        if status >= 300:
            self._stream = None  # an error is one JSON body

    def body(self, parts: list[bytes]) -> None:
        """What one read from the engine brought. Part of ``upstream.Sink``."""
        stream = self._stream
        if stream is None:
            self._gather(parts)
            return
        try:
            block = stream.feed(parts)
        except OpenmaasError as error:
            self._break(error)
            return
        if stream.ended:
            self.last += block
        elif block:
            self._pass_on(block)

    def end(self) -> None:
        """The engine's answer is complete. Part of ``upstream.Sink``."""
        if self.finished.done():
            return
        if self._stream is not None:
            self.last += self._stream.finish()
            self._usage = self._stream.usage
        else:
            body = b"".join(self._parts)
            self._usage = whole_usage(body)
            if self._status >= 300 and not self._answer.gone:
                self.error = engine_error(self._status, body)
            else:
                self.last = renamed(body, self._rename)
        self.finished.set_result(None)

    def lost(self, error: OpenmaasError) -> None:
        """The engine broke off. Part of ``upstream.Sink``."""
        if self._stream is not None:
            self._usage = self._stream.usage
        self._break(error)

    def usage(self, prompt_estimate: int) -> Usage:
        """The engine's count, or an estimate: the events that were delivered, and nothing when there were none."""
        if self._usage is not None:
            return self._usage
        if self._stream is not None:
            seen = self._stream.delivered()
        else:
            whole = self._status == 200 and self.error is None
            seen = Usage(completion_tokens=len(self.last) // 4 if whole else 0, estimated=True)
        if seen.completion_tokens == 0:
            return Usage(estimated=self.error is None)
        return Usage(prompt_estimate, seen.completion_tokens, estimated=True)

    def transcript(self) -> tuple[str, bytes]:
        """Content type and bytes of the answer as the client has seen it, its held end included."""
        kind = "application/json" if self._stream is None else "text/event-stream; charset=utf-8"
        return kind, bytes(self.recorded or b"") + self.last

    def finish(self) -> None:
        """Send the end of the answer. Called once, after the journal knows what it cost."""
        if self._answer.gone:
            return
        if self._stream is None:
            self._answer.whole(200, _JSON + self._headers, self.last)
            return
        self._begin()
        self._answer.end([self.last] if self.last else [])

    def _pass_on(self, block: bytes) -> None:
        if self._answer.gone:
            return
        self._begin()
        if self.recorded is not None:
            self.recorded += block
        self._answer.write([block])

    def _begin(self) -> None:
        if not self._answer.started:
            self._answer.start(200, _EVENTS + self._headers, None)

    def _gather(self, parts: list[bytes]) -> None:
        self._parts.extend(parts)
        self._size_bytes += sum(map(len, parts))
        most = ANSWER_BYTES_MAX if self._status < 300 else ERROR_BODY_BYTES_MAX
        if self._size_bytes > most:
            self._break(EngineFailed("its answer was too long"))

    def _break(self, error: OpenmaasError) -> None:
        if self.finished.done():
            return
        self.error = error
        self.finished.set_result(None)
        if self._exchange is not None:
            self._exchange.abort()

    def _press(self, stop: bool) -> None:
        assert self._exchange is not None
        if stop:
            self._exchange.pause()
        else:
            self._exchange.resume()
