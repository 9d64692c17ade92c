"""How the events of an answer reach the caller: as they come, gathered into one whole answer, or held back while they
may turn out to be a call of a tool, and then told as one.

It knows events as the OpenAI wire spells them, whichever engine they come from; runs call it.
"""

from __future__ import annotations

from typing import Any

from openmaas.engines.answer import Answer
from openmaas.engines.tools import find_call, may_call
from openmaas.engines.whole import Whole


class Telling:
    """The telling of one answer. ``names`` are the tools that it may call; without any nothing is held back."""

    def __init__(
        self, answer: Answer, request_id: str, *, chat: bool, stream: bool, usage: bool, names: tuple[str, ...]
    ) -> None:
        self._answer = answer
        self._request_id = request_id
        self._stream = stream
        self._usage = usage
        self._names = names
        self._whole = Whole(chat=chat)
        self._held: list[bytes] = []
        self._holding = bool(names)  # until it is known that the answer is no call

    def tell(self, events: list[bytes]) -> None:
        """Events, each of one choice at most: JSON objects without usage."""
        if not self._stream or self._holding:
            for event in events:
                self._whole.add(event)
        if not self._stream:
            return
        if self._holding:
            self._held += events
            if may_call(self._whole.text().lstrip(), self._names):
                return
            self._holding = False
            events, self._held = self._held, []
        if events:
            self._answer.events(events)

    def finish(self, head: bytes) -> None:
        """Nothing more comes. ``head`` is a JSON object of the members that all events share."""
        calls = self._calls()
        if not self._stream:
            self._answer.finish_plain(self._whole.body(head, calls))
            return
        if calls:
            self._answer.events(self._whole.call_events(head, calls))
        elif self._held:
            self._answer.events(self._held)
        self._answer.finish_stream(head if self._usage else None)

    def _calls(self) -> dict[int, dict[str, Any]]:
        """The tool call that each choice turned out to be."""
        found: dict[int, dict[str, Any]] = {}
        if self._names and (self._holding or not self._stream):
            for index, text in self._whole.texts().items():
                call = find_call(text, self._names, self._request_id, index)
                if call is not None:
                    found[index] = call
        return found
