"""Answers that are kept, as they come back: into the conversation that goes on from them, and as lists of items."""

from __future__ import annotations

from typing import Any

import msgspec

from openmaas.dialects.dialect import Memory, Signet, Ticket
from openmaas.dialects.responses.items import Item
from openmaas.dialects.responses.objects import Shape, message, response_id
from openmaas.dialects.responses.read import Asking
from openmaas.dialects.responses.tools import Names

Json = dict[str, Any]
#: How the id of an input item begins, by its type; another has that of a message.
_PREFIXES = {"reasoning": "rs", "function_call": "fc", "function_call_output": "fco", "custom_tool_call": "ctc"}
_PREFIXES["custom_tool_call_output"] = "ctco"
_NO_STATUS = frozenset({"custom_tool_call", "custom_tool_call_output", "reasoning"})


class _Answer(msgspec.Struct):
    output: list[Item]


_items = msgspec.json.Decoder(list[Item], strict=False)
_answer = msgspec.json.Decoder(_Answer, strict=False)


def turn(asked: bytes, answer: bytes) -> list[Item]:
    """What was asked and what was answered."""
    return _items.decode(asked) + _answer.decode(answer).output


def asked_items(told: str | list[Json] | None) -> bytes:
    """The input of a request, as it is kept: a list, whatever it was."""
    items = [{"type": "message", "role": "user", "content": told}] if isinstance(told, str) else told or []
    return msgspec.json.encode(items)


def conversed(
    ticket: Ticket, messages: list[Json], said: str, members: Json, signet: Signet
) -> tuple[str, bytes, bytes]:
    """A turn that was asked in another dialect, as it is kept: the name of the response, its input, and itself with
    ``members`` of a request in it."""
    name = response_id(ticket)
    memory = Memory("", True, b"", lambda _turns: None)
    shape = Shape(asked=Asking(), members=members, names=Names(), signet=signet, memory=memory)
    spoken = message(name.replace("resp_", "msg_"), said, "completed")
    answer = shape.response(ticket, "completed", [spoken])
    return name, msgspec.json.encode([{"type": "message", **each} for each in messages]), msgspec.json.encode(answer)


def listed(asked: bytes, response_id: str) -> list[Json]:
    """Kept input as ``GET …/input_items`` shows it: each item with its id, words in parts."""
    items: list[Json] = msgspec.json.decode(asked)
    return [_listed(item, response_id.removeprefix("resp_"), at) for at, item in enumerate(items)]


def _listed(item: Json, suffix: str, at: int) -> Json:
    kind = item.get("type") or "message"
    prefix = _PREFIXES.get(kind, "msg")
    shown = {"id": f"{prefix}_{suffix}_in{at}", **item, "type": kind}
    if kind == "reasoning":
        shown.setdefault("summary", [])
    if kind not in _NO_STATUS:
        shown.setdefault("status", "completed")
    if kind == "message":
        spoken = item.get("role") == "assistant"
        content = item.get("content") or []
        parts = [{"type": "output_text" if spoken else "input_text", "text": content}]
        parts = parts if isinstance(content, str) else content
        more: Json = {"annotations": [], "logprobs": []}
        shown["content"] = [more | part if part.get("type") == "output_text" else part for part in parts]
    return shown
