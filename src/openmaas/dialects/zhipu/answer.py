"""A chat completion in Zhipu's words: the OpenAI wire's answer with ``request_id``, other reasons to end, and the usage
in the last chunk. https://docs.bigmodel.cn/api-reference/模型-api/对话补全
"""

from __future__ import annotations

from typing import Any

import msgspec

from openmaas.dialects.dialect import Ticket
from openmaas.dialects.engine.hear import FULL
from openmaas.dialects.openai.chat_answer import REASONS, ChatVoice
from openmaas.dialects.pieces import Reason

_REASONS: dict[Reason, str] = REASONS | {"refused": "sensitive"}


class ZhipuVoice(ChatVoice, frozen=True, kw_only=True):
    """``request_id`` is the caller's own, given back; ours when they sent none."""

    reasons: dict[Reason, str] = msgspec.field(default_factory=lambda: _REASONS)
    full: str = FULL
    request_id: str = ""

    def head(self, kind: str, ticket: Ticket) -> dict[str, Any]:
        """What every object of this answer begins with."""
        mine = {"id": ticket.request_id, "request_id": self.request_id or ticket.request_id}
        return mine | {"object": kind, "created": ticket.opened_ms // 1000, "model": ticket.model}
