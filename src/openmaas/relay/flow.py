"""Step 6 of the journey: an engine's bytes to the client, by callback, without waking the coroutine.

Nothing of the end of an answer leaves here: ``last`` holds it until the journey has written what it cost. A slow
client pauses the engine; a client that went away cancels it, and the engine's last word still brings its count.
"""

from __future__ import annotations

import asyncio

import msgspec

from openmaas.core.bounds import ANSWER_BYTES_MAX, ANSWER_END_BYTES_MAX, ERROR_BODY_BYTES_MAX
from openmaas.core.clock import Clock
from openmaas.core.errors import ContextExceeded, EngineFailed, OpenmaasError, Refused
from openmaas.core.usage import Usage, prompt_of
from openmaas.dialects.dialect import Ask, Reading, Ticket
from openmaas.dialects.openai.answer import guessed, reckoned, whole_usage
from openmaas.dialects.openai.errors import engine_error
from openmaas.relay.door.message import Answer
from openmaas.relay.upstream.link import Exchange

#: The head of a stream.
EVENTS = b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"
_JSON = b"content-type: application/json\r\n"


class Flow:
    """One answer on its way. ``finished`` is done when the engine has said its last word."""

    error: OpenmaasError | None = None
    last = b""
    first_byte_at_ms = 0
    charged = False
    _recorded: bytearray | None = None  # a copy of the answer, when somebody wants to repeat it …
    _record_bytes_max = 0  # … and it is no longer than this
    _size_bytes = 0
    _status = 0
    _usage: Usage | None = None
    _guess = 0  # tokens of a whole answer that came without a count
    _exchange: Exchange | None = None
    _attached = False

    def __init__(
        self,
        answer: Answer,
        ask: Ask,
        served_name: str,
        context_tokens: int,
        output_tokens: int,
        clock: Clock,
        ticket: Ticket,
        headers: bytes,
    ) -> None:
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.headers = headers
        self.kind = ask.kind
        self._answer = answer
        self._clock = clock
        self._context = context_tokens
        self._output = output_tokens  # the most that all choices together may have
        # As long as the engine says nothing of it, a guess.
        self._prompt = Usage(min(ask.size_bytes // 4, context_tokens), estimated=True)
        self._ask, self._served_name, self._ticket = ask, served_name, ticket
        self._stream: Reading | None = ask.reading(served_name, ticket) if ask.stream else None
        self._blocks: list[bytes] = []

    def attach(self, exchange: Exchange) -> None:
        """From here on the client's pace and presence reach the engine."""
        self._exchange, self._attached = exchange, True
        self._answer.on_pressure = self._press
        self._answer.on_gone = self._leave
        if self._answer.gone:
            self._leave()

    def detach(self) -> None:
        """The engine is done; the client is the journey's again."""
        self._answer.on_pressure = self._answer.on_gone = None
        self._exchange = None  # or the two would keep each other, and the body, until the cycle collector runs

    def head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """The engine's status line and headers. Part of ``Sink``."""
        self._status = status
        if self._stream is not None:  # a whole answer tells at its end, and pays nothing for this
            self._prompt = prompt_of(headers) or self._prompt
        self.first_byte_at_ms = self._clock.wall_ms()
        if status >= 300:
            self._stream = None  # an error is one JSON body

    def body(self, block: bytes) -> None:
        """What one read from the engine brought. Part of ``Sink``."""
        stream = self._stream
        if stream is None:
            self._gather(block)
            return
        try:
            block = stream.feed(block)
        except OpenmaasError as error:
            self._usage = stream.usage
            self._break(error)
            return
        if stream.ended:
            self.last += block
            if len(self.last) > ANSWER_END_BYTES_MAX:
                self._break(EngineFailed("it went on after the end of its answer"))
        elif block:
            self._pass_on(block)

    def end(self) -> None:
        """The engine's answer is complete. Part of ``Sink``."""
        if self.finished.done():
            return
        try:
            if self._stream is not None:
                self._end_stream(self._stream)
            else:
                self._end_whole(b"".join(self._blocks))
        except OpenmaasError as error:
            self.error = error
        self.finished.set_result(None)

    def lost(self, error: OpenmaasError) -> None:
        """The engine broke off. Part of ``Sink``."""
        if self._stream is not None:
            if self._stream.ended:  # it had said its last word
                self.end()
                return
            self._usage = self._stream.usage
        self._break(error)

    @property
    def gone(self) -> bool:
        """True when nobody wants the answer any more."""
        return self._answer.gone

    @property
    def answered(self) -> bool | None:
        """False when the engine said nothing, or a proxy before it said that it was not there; None when it had said
        nothing yet as the client went away."""
        return None if self.gone and not self._status else self._status not in (0, 502, 503, 504)

    def said(self) -> int:
        """How many tokens of a stream the engine has said so far; 0 of a whole answer, which tells at its end."""
        return 0 if self._stream is None else self._stream.delivered().completion_tokens

    def outcome(self) -> str:
        """How it went, in a receipt's word."""
        if self._answer.gone:
            return "client_closed"
        if self.error is None:
            return "done" if self.finished.done() else "engine_failed"
        return "engine_refused" if isinstance(self.error, Refused) else "engine_failed"

    def usage(self) -> Usage:
        """The engine's count, or an estimate: the events that were delivered and the prompt as the engine told it at
        their head, and nothing when there were none; of a whole answer what it says, never more than was asked for."""
        if self._usage is not None:
            return self._usage
        if not self._attached:
            return Usage()
        whole = self._stream is None and self._status == 200 and self.error is None
        seen = self._guess if self._stream is None else self._stream.delivered().completion_tokens
        if not (seen or (whole and self.last)):
            return Usage(estimated=not isinstance(self.error, Refused))  # a refusal counts nothing; else it may have
        return msgspec.structs.replace(self._prompt, completion_tokens=seen)

    def delivered_tokens(self, usage: Usage) -> int:
        """What of ``usage`` the client was sent: an event of a stream is a token, a whole answer is sent whole or not
        at all."""
        if self._stream is not None:
            return self._stream.delivered().completion_tokens
        whole = self._attached and self.error is None and self.finished.done() and not self._answer.gone
        return usage.completion_tokens if whole else 0

    def record(self, bytes_max: int) -> None:
        """Keep a copy of the answer, unless it is longer. Call before its first byte."""
        self._recorded, self._record_bytes_max = bytearray(), bytes_max

    def transcript(self) -> tuple[str, bytes | None]:
        """Content type and bytes of the answer as the client has seen it, its held end included; None when it was not
        recorded or is too long."""
        kind = "application/json" if self._stream is None else "text/event-stream; charset=utf-8"
        if self._recorded is None or len(self._recorded) + len(self.last) > self._record_bytes_max:
            return kind, None
        return kind, bytes(self._recorded) + self.last

    def finish(self) -> None:
        """Send the end of the answer. Called once, after the journal knows what it cost."""
        if self._answer.gone:
            return
        if self._stream is None:
            self._answer.whole(200, _JSON + self.headers, self.last)
            return
        self._begin()
        self._answer.end(self.last)

    def _end_stream(self, stream: Reading) -> None:
        try:
            self.last += stream.finish()
        finally:
            self._usage = stream.usage

    def _end_whole(self, body: bytes) -> None:
        self._usage = whole_usage(body, self._status)
        if self._status < 300:
            self.last = self._ask.whole(body, self._served_name, self._ticket)
            self._usage = reckoned(self._usage, self._ask.units)
            self._guess = min(guessed(body), self._output) if self._usage is None else 0
        elif not self._answer.gone:
            self.error = engine_error(self._status, body)
            if isinstance(self.error, ContextExceeded):  # an engine that told no counts is believed all the same
                self.error.counted(max(self._ask.size_bytes // 4, self._context + 1), self._context)

    def _pass_on(self, block: bytes) -> None:
        if self._answer.gone:
            return
        self._begin()
        if self._recorded is not None:
            self._recorded += block
            if len(self._recorded) > self._record_bytes_max:
                self._recorded = None
        self._answer.write(block)

    def _begin(self) -> None:
        if not self._answer.started:
            self._answer.last_words = self._last_words
            self._answer.start(200, EVENTS + self.headers, None)

    def _last_words(self, error: OpenmaasError) -> bytes | None:
        """How the stream ends when ``error`` breaks it off, what was held of its end before it."""
        said = None if self._stream is None else self._stream.broken(error)
        return None if said is None else self.last + said

    def _gather(self, block: bytes) -> None:
        self._blocks.append(block)
        self._size_bytes += len(block)
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

    def _leave(self) -> None:
        """Nobody listens any more: what comes now was not delivered."""
        if self._stream is not None:
            self._stream.delivering = False
        if self._exchange is not None:
            self._exchange.cancel()

    def _press(self, stop: bool) -> None:
        assert self._exchange is not None
        if stop:
            self._exchange.pause()
        else:
            self._exchange.resume()


def refused_in_events(ask: Ask, request_id: str, clock: Clock, error: OpenmaasError) -> bytes | None:
    """How a stream of ``ask`` says ``error`` before it has said anything; None when its dialect has no words of the
    request's own for that."""
    return ask.reading(ask.model, Ticket(request_id, clock.wall_ms(), ask.model)).broken(error)
