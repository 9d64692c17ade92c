"""One request on its way: its choices, the text that each has so far, and the events or the whole answer made of it.

It knows the shapes of ``/v1/completions`` and counts; which rows are computed when is ``scheduler.py``'s affair, which
tells it what came of each step. What the wire says of the caller it passes on to there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from openglm.models.infill import Choose
from openglm.models.rows import Seat
from openmaas.core.errors import OpenmaasError
from openmaas.engines.answer import Answer
from openmaas.engines.glm.prompt import Prompt
from openmaas.engines.glm.text import Text
from openmaas.engines.wire import Exchange


class Leaving(Protocol):
    """What a run tells the scheduler about its caller."""

    def leave(self, run: Run) -> None:
        """Stop its work, and call ``run.left()`` as soon as nothing is computed for it any more."""

    def wake(self) -> None:
        """A paused run may go on."""


@dataclass(slots=True, eq=False)
class Choice:
    """One answer to one prompt. ``budget`` is the most tokens it may have, ``finish`` why it ended (empty before)."""

    index: int
    text: Text
    choose: Choose | None
    budget: int
    seat: Seat | None = None
    finish: str = ""
    told: bool = False


@dataclass(slots=True, eq=False)
class Group:
    """The choices of one prompt, which is read once and counted once."""

    run: Run
    prompt: Prompt
    waiting: list[Choice]
    endless: bool
    counted: bool = False


class Run:
    """The work behind one exchange: a ``wire.Work``."""

    def __init__(self, answer: Answer, exchange: Exchange, head: dict[str, Any], *, stream: bool, usage: bool) -> None:
        """``head`` are the members that all events of the answer share."""
        self.answer = answer
        self.choices: list[Choice] = []
        self._exchange = exchange
        self._head = head
        self._stream = stream
        self._usage = usage
        self._lost = False
        self._scheduler: Leaving | None = None

    def begin(self, scheduler: Leaving) -> None:
        """From now on the wire may tell of the caller."""
        self._scheduler = scheduler
        self._exchange.work = self

    @property
    def paused(self) -> bool:
        """Whether its caller reads slower than is written."""
        return self._stream and self._exchange.paused

    # ── told by the wire ──────────────────────────────────────────────────────────────────────────────────────
    def cancel(self) -> None:
        """Stop after the running step, and say what was used."""
        assert self._scheduler is not None
        self._scheduler.leave(self)

    def lost(self) -> None:
        """Stop after the running step, and write down what was used."""
        self._lost = True
        self.cancel()

    def pause(self) -> None:
        """The scheduler looks at ``paused`` before each step."""

    def resume(self) -> None:
        """Its rows take part again."""
        assert self._scheduler is not None
        self._scheduler.wake()

    # ── told by the scheduler ─────────────────────────────────────────────────────────────────────────────────
    def left(self) -> None:
        """Nothing is computed for it any more."""
        if self._lost:
            self.answer.settle("cancelled")
        else:
            self.answer.cancelled(stream=self._stream)

    def failed(self, error: OpenmaasError) -> None:
        """What was computed for it was lost."""
        self.answer.failed(error)

    def stepped(self) -> None:
        """A step is done: send what is new, and the end if it is one."""
        over = all(choice.finish for choice in self.choices)
        if self._stream:
            events = [self._event(choice) for choice in self.choices if not choice.told]
            if said := [event for event in events if event]:
                self.answer.events(said)
            if over:
                self.answer.finish_stream(msgspec.json.encode(self._head) if self._usage else None)
        elif over:
            told = [self._told(choice, choice.text.take()) for choice in self.choices]
            self.answer.finish_plain(msgspec.json.encode({**self._head, "choices": told}))

    def _event(self, choice: Choice) -> bytes:
        text = choice.text.take()
        choice.told = bool(choice.finish)
        if not text and not choice.finish:
            return b""
        return msgspec.json.encode({**self._head, "choices": [self._told(choice, text)]})

    def _told(self, choice: Choice, text: str) -> dict[str, Any]:
        told = {"index": choice.index, "text": text, "logprobs": None, "finish_reason": choice.finish or None}
        return {**told, "blanks": choice.text.blanks} if choice.finish else told
