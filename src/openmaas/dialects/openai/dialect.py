"""The OpenAI dialect, which our engines speak too: bytes pass."""

from __future__ import annotations

from typing import Any

import msgspec

from openmaas.core.errors import OpenmaasError
from openmaas.dialects.dialect import Ask, Count, Offer, Ticket
from openmaas.dialects.openai import request
from openmaas.dialects.openai.errors import render
from openmaas.dialects.openai.moderating import Moderating


class OpenAI:
    """https://platform.openai.com/docs/api-reference, passed through. Our errors are English in it."""

    told_in_events: tuple[type[OpenmaasError], ...] = ()

    def ask(self, kind: str, body: bytes | bytearray) -> Ask:
        """See ``Dialect``."""
        return Moderating(body) if kind == "moderations" else request.Ask(kind, body)

    def refusal(self, error: OpenmaasError, _language: str, _request_id: str) -> tuple[int, bytes, bytes]:
        """See ``Dialect``."""
        return render(error)

    def broken(self, error: OpenmaasError, _language: str, _request_id: str) -> bytes:
        """The error as an event: SDKs raise it."""
        return b"data: %b\n\n" % render(error)[2]

    def say_count(self, count: Count, _ticket: Ticket) -> bytes:
        """As vLLM says it: OpenAI has no such answer for chats. https://docs.vllm.ai, "Tokenizer API"."""
        return msgspec.json.encode({"count": count.tokens, "max_model_len": count.context_tokens})

    def listed(self, offers: list[Offer], _query: str) -> bytes:
        """All at once. https://platform.openai.com/docs/api-reference/models"""
        return msgspec.json.encode({"object": "list", "data": [_shown(offer) for offer in offers]})

    def described(self, offer: Offer) -> bytes:
        """See ``Dialect``."""
        return msgspec.json.encode(_shown(offer))

    def tag(self, request_id: str) -> bytes:
        """See ``Dialect``."""
        return b"x-request-id: %b\r\n" % request_id.encode()


def _shown(offer: Offer) -> dict[str, Any]:
    return {"id": offer.name, "object": "model", "created": offer.created_ms // 1000, "owned_by": "openmaas"}
