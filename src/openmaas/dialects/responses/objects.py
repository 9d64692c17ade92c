"""The response object of the Responses wire and the items in it.

https://platform.openai.com/docs/api-reference/responses/object. Every member that the vendor's document requires is
there, whatever was asked.
"""

from __future__ import annotations

from typing import Any

import msgspec

from openmaas.core.usage import Usage
from openmaas.dialects.conversation import Call
from openmaas.dialects.dialect import Memory, Signet, Ticket
from openmaas.dialects.pieces import Reason
from openmaas.dialects.responses.items import PURPOSE
from openmaas.dialects.responses.read import SEALED, Asking
from openmaas.dialects.responses.tools import Names, custom_input, echoed

#: Why an answer is incomplete; one that ended otherwise is complete.
INCOMPLETE: dict[Reason, str] = {"length": "max_output_tokens", "refused": "content_filter"}
Json = dict[str, Any]
#: Members of the request that the answer repeats, and what they are when they were not sent.
_ECHOED: Json = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "temperature": 1.0,
    "tool_choice": "auto",
    "top_p": 1.0,
}
#: Those that it has only when they were sent.
_ECHOED_IF_SENT = ("prompt_cache_key", "safety_identifier", "user")


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """How one caller's answer looks. ``memory``: whether it is kept, which may be settled later."""

    asked: Asking
    members: Json
    names: Names
    signet: Signet
    memory: Memory

    def response(self, ticket: Ticket, status: str, output: list[Json], **more: Any) -> Json:
        """The object in ``status``."""
        asked = self.asked
        verbosity = asked.text.verbosity if asked.text else None
        effort = asked.reasoning.effort if asked.reasoning else None
        summary = (self.members.get("reasoning") or {}).get("summary")
        return {
            "id": response_id(ticket),
            "object": "response",
            "created_at": ticket.opened_ms // 1000,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "model": ticket.model or asked.model,
            "output": output,
            "reasoning": {"effort": effort, "summary": summary},
            "service_tier": "default",
            "store": self.memory.keeps,
            "text": {"format": self._format(), "verbosity": verbosity or "medium"},
            "tools": echoed(self.members.get("tools") or []),
            "top_logprobs": 0,
            "truncation": "disabled",
            **{name: self.members.get(name, default) for name, default in _ECHOED.items()},
            **{name: self.members[name] for name in _ECHOED_IF_SENT if name in self.members},
            **more,
        }

    def reasoning(self, item_id: str, thought: str, status: str) -> Json:
        """A thought: as a summary when one was asked for, else in the open. Sealed in it when that was asked for, so
        that a caller who keeps only the seal can bring it back to any relay."""
        done = status != "in_progress"
        seals = done and SEALED in (self.asked.include or ())
        summary = [{"type": "summary_text", "text": thought}] if done and self.asked.summarises else []
        item = {
            "id": item_id,
            "type": "reasoning",
            "summary": summary,
            "encrypted_content": self.signet.seal(thought, PURPOSE) if seals else None,
            "status": status,
        }
        if not self.asked.summarises:
            item["content"] = [{"type": "reasoning_text", "text": thought}] if done else []
        return item

    def call(self, item_id: str, call: Call, status: str) -> Json:
        """A call of a function, or of a custom tool."""
        space, name = self.names.spaced.get(call.name, ("", call.name))
        item: Json = {"id": item_id, "call_id": call.id, "name": name, "status": status}
        if space:
            item["namespace"] = space
        if call.name in self.names.custom:
            return item | {"type": "custom_tool_call", "input": custom_input(call.arguments)}
        return item | {"type": "function_call", "arguments": call.arguments}

    def ending(self, reason: Reason) -> Json:
        """What the object says of its end."""
        why = INCOMPLETE.get(reason)
        return {"incomplete_details": {"reason": why}} if why else {}

    def _format(self) -> Json:
        told: Json = (self.members.get("text") or {}).get("format") or {"type": "text"}
        return {"strict": None, **told} if told.get("type") == "json_schema" else told


def message(item_id: str, text: str, status: str) -> Json:
    """What was said."""
    content = [] if status == "in_progress" else [output_text(text)]
    return {"id": item_id, "type": "message", "role": "assistant", "status": status, "content": content}


def output_text(text: str) -> Json:
    """Words, without the citations and probabilities that nobody asked for."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def response_id(ticket: Ticket) -> str:
    """What an answer is called."""
    return ticket.request_id.replace("req_", "resp_")


def usage_of(usage: Usage) -> Json:
    """``usage`` of this wire: what came from the cache is part of ``input_tokens``."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
