"""Makes one whole answer of a stream's events, as the OpenAI wire spells it. It knows events, and no engine."""

from __future__ import annotations

from typing import Any

import msgspec


class Whole:
    """The choices of an answer, filled event by event."""

    def __init__(self, *, chat: bool) -> None:
        self._chat = chat
        self._choices: dict[int, dict[str, Any]] = {}

    def add(self, event: bytes) -> None:
        """Take in one event."""
        for choice in msgspec.json.decode(event)["choices"]:
            made = self._choices.setdefault(choice["index"], {"text": "", "reasoning": "", "calls": {}, "logprobs": {}})
            delta = choice.get("delta", choice)
            made["text"] += delta.get("content") or delta.get("text") or ""
            made["reasoning"] += delta.get("reasoning_content") or ""
            for call in delta.get("tool_calls") or ():
                self._add_call(made["calls"], call)
            for name, values in (choice.get("logprobs") or {}).items():
                if isinstance(values, list):
                    made["logprobs"].setdefault(name, []).extend(values)
            made["finish"] = choice.get("finish_reason") or made.get("finish")

    def text(self) -> str:
        """The text of the first choice so far."""
        return str(self._choices[0]["text"]) if 0 in self._choices else ""

    def texts(self) -> dict[int, str]:
        """The text of each choice."""
        return {index: made["text"] for index, made in self._choices.items()}

    def body(self, head: bytes, calls: dict[int, dict[str, Any]]) -> bytes:
        """The whole answer without its usage; ``calls`` replace the text of their choice."""
        members = msgspec.json.decode(head)
        members["object"] = "chat.completion" if self._chat else "text_completion"
        members["choices"] = [self._choice(i, made, calls.get(i)) for i, made in sorted(self._choices.items())]
        return msgspec.json.encode(members)

    def call_events(self, head: bytes, calls: dict[int, dict[str, Any]]) -> list[bytes]:
        """The calls as events of a stream: one with the call, one that ends the choice."""
        members = msgspec.json.decode(head)
        events = []
        for index, call in calls.items():
            delta = {"role": "assistant", "content": None, "tool_calls": [{"index": 0, **call}]}
            for part, finish in ((delta, None), ({}, "tool_calls")):
                choice = {"index": index, "delta": part, "finish_reason": finish}
                events.append(msgspec.json.encode({**members, "choices": [choice]}))
        return events

    def _choice(self, index: int, made: dict[str, Any], call: dict[str, Any] | None) -> dict[str, Any]:
        logprobs = made["logprobs"] or None
        if not self._chat:
            return {"index": index, "text": made["text"], "logprobs": logprobs, "finish_reason": made.get("finish")}
        message: dict[str, Any] = {"role": "assistant", "content": made["text"], "refusal": None}
        if made["reasoning"]:
            message["reasoning_content"] = made["reasoning"]
        tool_calls = [call] if call else list(made["calls"].values())
        finish = made.get("finish")
        if tool_calls:
            message["tool_calls"] = tool_calls
            finish = "tool_calls"
            if call or not made["text"]:
                message["content"] = None
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish}

    def _add_call(self, calls: dict[int, dict[str, Any]], delta: dict[str, Any]) -> None:
        made = calls.setdefault(
            delta.get("index", 0), {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
        )
        made["id"] = delta.get("id") or made["id"]
        function = delta.get("function") or {}
        made["function"]["name"] += function.get("name") or ""
        made["function"]["arguments"] += function.get("arguments") or ""
