"""One request on its way: its choices, the text that each has so far, and the events made of it.

It knows the shapes of chats and completions and counts; which requests are computed when is ``scheduler.py``'s affair,
which tells it what came of each step. What the wire says of the caller it passes on to there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from openmaas.core.errors import OpenmaasError
from openmaas.engines.answer import Answer
from openmaas.engines.logprobs import LegacyLogprobs
from openmaas.engines.openvino.pipeline import Heard
from openmaas.engines.openvino.text import Text
from openmaas.engines.telling import Telling
from openmaas.engines.wire import Exchange


class Leaving(Protocol):
    """What a run tells the scheduler about its caller."""

    def leave(self, run: Run) -> None:
        """Stop its work, and call ``run.left()`` as soon as nothing is computed for it any more."""


@dataclass(slots=True, eq=False)
class Choice:
    """One answer to one prompt. ``request`` is the pipeline's, ``finish`` why it ended (empty before)."""

    group: Group
    index: int
    text: Text
    sampling: dict[str, Any]
    request: Any = None
    finish: str = ""
    begun: bool = False
    told: bool = False
    tokens: list[int] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Group:
    """The choices of one prompt, which is read once and counted once: the first reads it, the others find it cached.
    ``budget`` is the most tokens that each may have; ``grammar`` a JSON schema, or empty."""

    run: Run
    prompt: list[int]
    waiting: list[Choice]
    budget: int
    grammar: str
    joined: bool = False
    read: bool = False


class Run:
    """The work behind one exchange: a ``wire.Work``."""

    def __init__(
        self,
        answer: Answer,
        exchange: Exchange,
        telling: Telling,
        head: dict[str, Any],
        *,
        stream: bool,
        tells: bool,
        pieces: Sequence[bytes],
    ) -> None:
        """``head`` are the members that all events share; ``tells`` whether the probability of each token is told;
        ``pieces`` the bytes of each token."""
        self.answer = answer
        self.choices: list[Choice] = []
        self._exchange = exchange
        self._telling = telling
        self._head = head
        self._chat = exchange.path == "/v1/chat/completions"
        self._stream = stream
        self._tells = tells
        self._pieces = pieces
        self._legacy = LegacyLogprobs()
        self._lost = False
        self._scheduler: Leaving | None = None

    def begin(self, scheduler: Leaving) -> None:
        """From now on the wire may tell of the caller."""
        self._scheduler = scheduler
        self._exchange.work = self

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
        """The pipeline cannot pause one of many: what comes meanwhile is kept, no more than the budget."""

    def resume(self) -> None:
        """Say what was kept."""
        if not self.answer.over:
            self.stepped()

    # ── told by the scheduler ─────────────────────────────────────────────────────────────────────────────────
    def heard(self, choice: Choice, heard: Heard) -> bool:
        """What a step made of a choice. True when it has all that it will."""
        self.answer.completion += len(heard.tokens)
        choice.tokens += heard.tokens
        choice.finish = heard.finish
        for token, logprob in zip(heard.tokens, heard.logprobs, strict=True):
            if self._tells and (self._pieces[token] or heard.finish != "stop"):
                choice.logprobs.append(self._spelt(token, logprob))
            if choice.text.token(token):
                choice.finish = "stop"
                break
        if choice.finish:
            choice.text.end()
        return bool(choice.finish)

    def left(self) -> None:
        """Nothing is computed for it any more."""
        if self._lost:
            self.answer.settle("cancelled")
        else:
            self.answer.cancelled(stream=self._stream)

    def failed(self, error: OpenmaasError) -> None:
        """It cannot go on."""
        self.answer.failed(error)

    def stepped(self) -> None:
        """A step is done: say what is new, and the end if it is one."""
        if self._stream and self._exchange.paused:
            return
        events = [event for choice in self.choices if (event := self._event(choice))]
        if events:
            self._telling.tell(events)
        if all(choice.told for choice in self.choices):
            self._telling.finish(msgspec.json.encode(self._head))

    def _event(self, choice: Choice) -> bytes:
        """What is new of a choice, empty for nothing."""
        if choice.told:
            return b""
        text, (logprobs, choice.logprobs) = choice.text.take(), (choice.logprobs, [])
        choice.told = bool(choice.finish)
        if not text and not logprobs and not choice.finish:
            return b""
        told: dict[str, Any] = {"index": choice.index}
        if self._chat:
            told["delta"] = {} if choice.begun else {"role": "assistant"}
            if text or not choice.begun:
                told["delta"]["content"] = text
            told["logprobs"] = {"content": logprobs} if logprobs else None
        else:
            told |= {"text": text, "logprobs": self._legacy.spell(choice.index, logprobs) if logprobs else None}
        choice.begun = True
        return msgspec.json.encode({**self._head, "choices": [{**told, "finish_reason": choice.finish or None}]})

    def _spelt(self, token: int, logprob: float) -> dict[str, Any]:
        """As a chat spells it; a completion has the token itself among its alternatives, of which there are no more."""
        piece = self._pieces[token]
        spelt = {"token": piece.decode("utf-8", "replace"), "logprob": logprob, "bytes": list(piece)}
        return {**spelt, "top_logprobs": [] if self._chat else [spelt]}
