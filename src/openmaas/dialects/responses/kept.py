"""Answers that are kept, as they come back: into the conversation that goes on from them, and as lists of items."""

from __future__ import annotations

from typing import Any

import msgspec

from openmaas.dialects.responses.items import Item

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
