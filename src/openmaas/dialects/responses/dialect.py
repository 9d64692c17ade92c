"""The Responses dialect: https://platform.openai.com/docs/api-reference/responses, by way of values."""

from __future__ import annotations

import msgspec

from openmaas.core.errors import OpenmaasError
from openmaas.dialects.asked import Asked
from openmaas.dialects.dialect import Count, Memory, Signet, Ticket
from openmaas.dialects.openai.dialect import OpenAI
from openmaas.dialects.responses.errors import IN_EVENTS
from openmaas.dialects.responses.items import Item
from openmaas.dialects.responses.kept import asked_items, turn
from openmaas.dialects.responses.objects import Shape
from openmaas.dialects.responses.read import Asking, asking, conversation
from openmaas.dialects.responses.tools import Names
from openmaas.dialects.responses.write import ResponseVoice, ResponseWriter


class ResponseAsk(Asked):
    """A request that may go on from answers that are kept, and be kept itself: its ``memory`` says so."""

    def __init__(self, body: bytes | bytearray, signet: Signet) -> None:
        self._asked, self._members = asking(body)
        self._signet, self._own_bytes = signet, len(body)
        keeps = bool(self._asked.store)
        asked = asked_items(self._members.get("input")) if keeps else b""
        self._kept = Memory(self._asked.previous_response_id or "", keeps, asked, self._follow)
        self._mean([], 0)

    @property
    def memory(self) -> Memory:
        """See ``Ask``."""
        return self._kept

    def _follow(self, turns: list[tuple[bytes, bytes]]) -> None:
        before = [item for asked, answer in turns for item in turn(asked, answer)]
        self._mean(before, sum(len(asked) + len(answer) for asked, answer in turns))

    def _mean(self, before: list[Item], more_bytes: int) -> None:
        said, names = conversation(self._asked, before, self._signet)
        shape = Shape(asked=self._asked, members=self._members, names=names, signet=self._signet, memory=self._kept)
        super().__init__(said, self._own_bytes + more_bytes, ResponseVoice(shape))


class Responses(OpenAI):
    """What is refused is refused as on every path of OpenAI; ``signet`` seals the thoughts that callers carry."""

    told_in_events = IN_EVENTS

    def __init__(self, signet: Signet) -> None:
        self._signet = signet

    def ask(self, _kind: str, body: bytes | bytearray) -> ResponseAsk:
        """See ``Dialect``."""
        return ResponseAsk(body, self._signet)

    def refusal(self, error: OpenmaasError, language: str, request_id: str) -> tuple[int, bytes, bytes]:
        """See ``Dialect``. Engines blame messages, which is what they are sent for a caller's input."""
        if error.field is not None and error.field.startswith("messages"):
            error.field = "input"
        return super().refusal(error, language, request_id)

    def broken(self, error: OpenmaasError, _language: str, request_id: str) -> bytes:
        """A stream that failed before it said anything; one that had begun says it itself."""
        memory = Memory("", False, b"", lambda _turns: None)
        shape = Shape(asked=Asking(), members={}, names=Names(), signet=self._signet, memory=memory)
        return ResponseWriter(shape, Ticket(request_id, 0)).broken(error)

    def say_count(self, count: Count, _ticket: Ticket) -> bytes:
        """https://platform.openai.com/docs/api-reference/responses/input-tokens"""
        estimated = {"estimated": True} if count.estimated else {}
        return msgspec.json.encode({"object": "response.input_tokens", "input_tokens": count.tokens, **estimated})
