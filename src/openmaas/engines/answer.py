"""One answer of an engine: its counts, its events, and the meter line that is written before its last bytes.

It knows the shapes that end an answer (usage, ``[DONE]``, cancelled, error), whichever engine fills it, and nothing
of how tokens come about. Every way an answer can end passes ``settle`` exactly once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from openmaas.core.errors import OpenmaasError
from openmaas.core.usage import Units, say_prompt
from openmaas.engines.meter import Meter, Outcome
from openmaas.engines.wire import Exchange, error_body

_log = logging.getLogger(__name__)


class Answer:
    """Wraps an ``Exchange`` with counts. ``prompt`` … ``reasoning`` are tokens and grow while the engine works;
    ``units`` is what it did that is no token."""

    __slots__ = ("_exchange", "_meter", "_model", "_settled", "cached", "completion", "prompt", "reasoning", "units")

    def __init__(self, exchange: Exchange, meter: Meter, model: str) -> None:
        self._exchange = exchange
        self._meter = meter
        self._model = model
        self._settled = False
        self.prompt = 0
        self.cached = 0
        self.completion = 0
        self.reasoning = 0
        self.units: Units = ()

    @property
    def over(self) -> bool:
        """Whether the answer has ended, one way or another."""
        return self._settled

    def usage(self) -> bytes:
        """The counts as the ``usage`` object of the OpenAI wire."""
        return (
            b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,"prompt_tokens_details":{"cached_tokens":%d},'
            b'"completion_tokens_details":{"reasoning_tokens":%d}%b}'
            % (
                *(self.prompt, self.completion, self.prompt + self.completion, self.cached, self.reasoning),
                b',"units":%b' % msgspec.json.encode(dict(self.units)) if self.units else b"",
            )
        )

    def events(self, events: list[bytes]) -> None:
        """Send events in one write. The first tell what was read: who relays them may never see how they end."""
        headers = b"" if self._exchange.streaming else say_prompt(self.prompt, self.cached)
        self._exchange.events(events, headers)

    def finish_stream(self, head: bytes | None) -> None:
        """End the stream; ``head``, a JSON object, becomes the usage event (None: usage was not asked for)."""
        self.settle("done")
        last = [] if head is None else [b'%b,"choices":[],"usage":%b}' % (head[:-1], self.usage())]
        self._exchange.end([*last, b"[DONE]"])

    def finish_plain(self, body: bytes) -> None:
        """Send ``body``, a JSON object, with ``usage`` as its last member."""
        self.settle("done")
        self._exchange.answer(200, b'%b,"usage":%b}' % (body[:-1], self.usage()))

    def cancelled(self, *, stream: bool) -> None:
        """Report the counts so far to a relay that half-closed."""
        if self._settled:
            return
        self.settle("cancelled")
        if stream:
            self._exchange.end([b'{"choices":[],"usage":%b,"cancelled":true}' % self.usage()], keep=False)
        else:
            self._exchange.answer(499, b'{"usage":%b,"cancelled":true}' % self.usage())

    def failed(self, error: OpenmaasError) -> None:
        """Answer ``error``: as a status, or in mid-stream as a last event."""
        if self._settled:
            return
        self.settle("failed")
        if self._exchange.streaming:
            self._exchange.end([error_body(error)], keep=False)
        else:
            self._exchange.refuse(error)

    def broken(self, status: int, body: bytes) -> None:
        """Answer another server's or a scripted error as it is."""
        self.settle("failed")
        self._exchange.answer(status, body)

    def cut(self) -> None:
        """Drop the connection in mid-answer."""
        self.settle("failed")
        self._exchange.cut()

    def settle(self, outcome: Outcome) -> None:
        """Write the meter line, once. A request without an id leaves none: nobody could look it up."""
        if self._settled:
            return
        self._settled = True
        if not self._exchange.request_id:
            return
        try:
            counts = (self.prompt, self.cached, self.completion)
            self._meter.append(self._exchange.request_id, self._model, counts, outcome, self.units)
        except OSError as wrong:
            # The answer itself still carries the counts; refusing finished work would help nobody.
            _log.error("meter line of %s not written: %s", self._exchange.request_id, wrong)


def attend(exchange: Exchange, meter: Meter, model: str, work: Callable[[Answer, Exchange], None]) -> None:
    """Run ``work`` on a new answer; an ``OpenmaasError`` that it raises is answered and metered."""
    answer = Answer(exchange, meter, model)
    try:
        work(answer, exchange)
    except OpenmaasError as error:
        # Refused before it began: a count here would be one that nobody is billed for, and the books would disagree.
        answer.prompt = answer.cached = answer.completion = answer.reasoning = 0
        answer.units = ()
        answer.failed(error)
