"""Zhipu's dialect on one of its two base URLs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from openmaas.core.clock import Clock
from openmaas.core.errors import OpenmaasError
from openmaas.dialects.asked import Asked
from openmaas.dialects.dialect import COMPOSED, Ask, Count, Offer, Ticket
from openmaas.dialects.openai.dialect import OpenAI
from openmaas.dialects.zhipu.embed import Embedding, Reranking
from openmaas.dialects.zhipu.errors import render, told
from openmaas.dialects.zhipu.judging import Judging
from openmaas.dialects.zhipu.read import read
from openmaas.dialects.zhipu.searching import Searching
from openmaas.dialects.zhipu.tooling import Tooling

_PLAIN = OpenAI()
#: What is asked for beside chats.
_ASKS: dict[str, Callable[[bytes | bytearray], Ask]] = {
    "embeddings": Embedding,
    "rerank": Reranking,
    "moderations": Judging,
    "web_search": Searching,
    "tools": Tooling,
}


class Zhipu:
    """``keep_thoughts``: what was thought in earlier turns stays in the prompt unless the caller says otherwise, as on
    the base URL for coding tools. https://docs.bigmodel.cn/cn/guide/capabilities/thinking-mode"""

    def __init__(self, clock: Clock, *, keep_thoughts: bool) -> None:
        self._clock = clock
        self._keep_thoughts = keep_thoughts

    told_in_events: tuple[type[OpenmaasError], ...] = ()

    def ask(self, kind: str, body: bytes | bytearray) -> Ask:
        """See ``Dialect``."""
        if kind in _ASKS:
            return _ASKS[kind](body)
        asked, voice, composed = read(body, keep_thoughts=self._keep_thoughts)
        return Asked(asked, len(body), voice, COMPOSED if composed else kind)

    def refusal(self, error: OpenmaasError, language: str, _request_id: str) -> tuple[int, bytes, bytes]:
        """See ``Dialect``."""
        return render(error, language, self._clock)

    def broken(self, error: OpenmaasError, language: str, request_id: str) -> bytes:
        """Zhipu says why it broke off by ``finish_reason``; the error beside it is what SDKs raise."""
        choice = {"index": 0, "delta": {}, "finish_reason": "network_error"}
        head: dict[str, Any] = {"id": request_id, "request_id": request_id, "object": "chat.completion.chunk"}
        head |= {"created": self._clock.wall_ms() // 1000}
        chunk = head | {"choices": [choice], "error": told(error, language, self._clock)}
        return b"data: %b\n\ndata: [DONE]\n\n" % msgspec.json.encode(chunk)

    def say_count(self, count: Count, ticket: Ticket) -> bytes:
        """https://docs.bigmodel.cn/api-reference/模型-api/文本分词器"""
        head: dict[str, Any] = {"id": ticket.request_id, "request_id": ticket.request_id}
        usage = {"prompt_tokens": count.tokens, "total_tokens": count.tokens}
        return msgspec.json.encode(head | {"created": ticket.opened_ms // 1000, "usage": usage})

    def listed(self, offers: list[Offer], query: str) -> bytes:
        """As OpenAI's: Zhipu's SDKs have no such call, and clients make it."""
        return _PLAIN.listed(offers, query)

    def described(self, offer: Offer) -> bytes:
        """See ``Dialect``."""
        return _PLAIN.described(offer)

    def tag(self, request_id: str) -> bytes:
        """See ``Dialect``."""
        return b"x-request-id: %b\r\n" % request_id.encode()
