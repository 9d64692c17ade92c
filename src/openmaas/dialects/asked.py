"""A request of a dialect that is not the engines' own: an ``Ask`` around a conversation."""

from __future__ import annotations

import itertools
from typing import Protocol

import msgspec

from openmaas.core.bounds import MEDIA_TOKENS, TEMPLATE_TOKENS
from openmaas.core.usage import Units, Usage
from openmaas.dialects.conversation import Conversation, Media, Result
from openmaas.dialects.dialect import PLAIN, Manner, Memory, Ticket
from openmaas.dialects.engine.hear import Hearing
from openmaas.dialects.engine.heed import Heed, compiled, demanded, heeds, reader
from openmaas.dialects.engine.say import body
from openmaas.dialects.pieces import Reply, gathered
from openmaas.dialects.translated import Translated, Writer


class Voice(Protocol):
    """How one dialect answers one request."""

    def writer(self, ticket: Ticket) -> Writer:
        """Says the answer as a stream."""

    def whole(self, replies: list[Reply], usage: Usage, ticket: Ticket) -> bytes:
        """Says it whole."""


class Asked:
    """``size_bytes`` is that of the body as it came: no token of the prompt is shorter than a byte of it, but for what
    the chat template adds and what a picture is worth."""

    units: Units = ()
    needs: frozenset[str] = frozenset()

    def __init__(self, conversation: Conversation, size_bytes: int, voice: Voice, kind: str = "chat") -> None:
        self.conversation = conversation
        self.model = conversation.model
        self.stream = conversation.stream
        self.choices = conversation.choices
        self.size_bytes = size_bytes
        self.kind = kind
        self._voice = voice
        self._media = _media(conversation)
        self._manner = PLAIN

    @property
    def memory(self) -> Memory | None:
        """See ``Ask``."""
        return None

    def prompt_tokens_max(self, context_tokens: int) -> int:
        """See ``Ask``."""
        most = self.size_bytes + self._media * MEDIA_TOKENS + TEMPLATE_TOKENS * self.choices
        return min(context_tokens * self.choices, most)

    def output_tokens_max(self, default: int, context_tokens: int) -> int:
        """See ``Ask``."""
        return min(self.conversation.output_tokens or default, context_tokens)

    def opening(self) -> bytes:
        """See ``Ask``."""
        return msgspec.json.encode((self.conversation.tools, self.conversation.messages))

    def forward(self, served_name: str, output_tokens: int, manner: Manner) -> bytes:
        """See ``Ask``. Raises ``FieldInvalid`` for a demand that cannot be kept."""
        asked, self._manner = self.conversation, manner
        wanted = demanded(asked)
        if wanted.forced and not manner.forces:
            asked = compiled(asked, wanted)
        return body(asked, served_name, output_tokens, manner)

    def reading(self, _served_name: str, ticket: Ticket) -> Translated:
        """See ``Ask``."""
        return Translated(self._voice.writer(ticket), ticket.request_id, self._heed(ticket), self.choices)

    def whole(self, body: bytes, _served_name: str, ticket: Ticket) -> bytes:
        """See ``Ask``. Raises ``EngineFailed`` for what is no answer, and ``CallMissing``."""
        pieces, heed = Hearing(ticket.request_id).hear(body), self._heed(ticket)
        if heed is None:
            return self._voice.whole(*gathered(pieces), ticket)
        replies, usage = gathered([found for piece in pieces for found in heed.read(piece)])
        heed.check()
        return self._voice.whole(replies, usage, ticket)

    def _heed(self, ticket: Ticket) -> Heed | None:
        """What reads calls for an engine that does not, or does not keep what is demanded."""
        if heeds(self.conversation, self._manner):
            return None
        numbers = itertools.count()
        base = ticket.request_id.removeprefix("req_")
        return Heed(reader(self.conversation, self._manner, lambda: f"call_{base}_{next(numbers)}"))


def _media(conversation: Conversation) -> int:
    """How many pictures, sounds and files there are."""
    parts = [part for message in conversation.messages for part in message.parts]
    inner = [each for part in parts if isinstance(part, Result) for each in part.content]
    return sum(isinstance(part, Media) for part in (*parts, *inner))
