"""A conversation as an engine's request, on the OpenAI wire. https://platform.openai.com/docs/api-reference/chat/create

Engines agree on the wire but for how they are told to think and what caps their output: that is their ``Manner``.
"""

from __future__ import annotations

from typing import Any

import msgspec

from openmaas.dialects.conversation import (
    Allowed,
    Call,
    Conversation,
    Format,
    Media,
    Message,
    Named,
    Part,
    Result,
    Text,
    Thought,
)
from openmaas.dialects.dialect import Manner

_encode = msgspec.json.Encoder().encode
#: Effort at which a model does not think at all.
NO_EFFORT = ("none",)
_SAMPLING = ("temperature", "top_p", "top_k", "seed", "presence_penalty", "frequency_penalty")
#: What a failed call's result begins with: the wire has no other word for it.
FAILED = "Error: "


def body(asked: Conversation, served_name: str, output_tokens: int, manner: Manner) -> bytes:
    """The request. Usage is always asked for; ``output_tokens`` caps each choice by the engine's names for it."""
    told: dict[str, Any] = dict(asked.others)
    told["model"] = served_name
    told["messages"] = [each for message in _kept(asked) for each in _message(message)]
    told |= dict.fromkeys(manner.caps, output_tokens)
    told |= {name: value for name in _SAMPLING if (value := getattr(asked, name)) is not None}
    if asked.choices > 1:
        told["n"] = asked.choices
    if asked.stop:
        told["stop"] = list(asked.stop)
    if asked.tools:
        told |= _tools(asked)
    if asked.format is not None:
        told["response_format"] = _format(asked.format)
    if asked.stream:
        told |= {"stream": True, "stream_options": {"include_usage": True}}
    return _encode(told | _thinking(asked, manner))


def _kept(asked: Conversation) -> list[Message]:
    """The messages, without thoughts of turns before the last question when they are not to be kept: what was thought
    in the turn that runs, between calls and their results, stays in any case."""
    if asked.keep_thoughts:
        return list(asked.messages)
    asks = [at for at, message in enumerate(asked.messages) if message.role == "user"]
    last = asks[-1] if asks else 0
    return [
        message if at >= last else Message(message.role, tuple(p for p in message.parts if not isinstance(p, Thought)))
        for at, message in enumerate(asked.messages)
    ]


def _message(message: Message) -> list[dict[str, Any]]:
    if message.role == "tool":
        return [_result(part) for part in message.parts if isinstance(part, Result)]
    told: dict[str, Any] = {"role": message.role}
    content = [part for part in message.parts if isinstance(part, Text | Media)]
    calls = [part for part in message.parts if isinstance(part, Call)]
    thought = "".join(part.text for part in message.parts if isinstance(part, Thought))
    told["content"] = _content(content) if content or not calls else None
    if thought:
        told["reasoning_content"] = thought
    if calls:
        told["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in calls
        ]
    return [told]


def _result(result: Result) -> dict[str, Any]:
    content = _content(result.content)
    if result.failed and isinstance(content, str):
        content = FAILED + content
    return {"role": "tool", "tool_call_id": result.call_id, "content": content}


def _content(parts: list[Text | Media] | tuple[Text | Media, ...]) -> str | list[dict[str, Any]]:
    """Words alone are a string: some chat templates take nothing else."""
    if all(isinstance(part, Text) for part in parts):
        return "\n".join(part.text for part in parts if isinstance(part, Text))
    return [_part(part) for part in parts]


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    assert isinstance(part, Media), part
    if part.kind == "audio":
        head, _, data = part.url.partition(";base64,")
        return {"type": "input_audio", "input_audio": {"data": data, "format": head.rpartition("/")[2]}}
    address: dict[str, Any] = {"url": part.url} | ({"detail": part.detail} if part.detail else {})
    return {"type": f"{part.kind}_url", f"{part.kind}_url": address}


def _tools(asked: Conversation) -> dict[str, Any]:
    choice = asked.tool_choice
    told: dict[str, Any] = {"tools": []}
    for tool in asked.tools:
        if isinstance(choice, Allowed) and tool.name not in choice.names:
            continue
        function: dict[str, Any] = {"name": tool.name}
        if tool.description:
            function["description"] = tool.description
        function["parameters"] = tool.parameters or {"type": "object", "properties": {}}
        if tool.strict is not None:
            function["strict"] = tool.strict
        told["tools"].append({"type": "function", "function": function})
    if isinstance(choice, Allowed):  # the others are not told, which every engine understands
        told["tool_choice"] = choice.mode
    elif isinstance(choice, Named):
        told["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
    elif choice is not None:
        told["tool_choice"] = choice
    if asked.parallel is not None:
        told["parallel_tool_calls"] = asked.parallel
    return told


def _format(wanted: Format) -> dict[str, Any]:
    if wanted.schema is None:
        return {"type": "json_object"}
    schema: dict[str, Any] = {"name": wanted.name, "schema": wanted.schema}
    if wanted.strict is not None:
        schema["strict"] = wanted.strict
    return {"type": "json_schema", "json_schema": schema}


def _thinking(asked: Conversation, manner: Manner) -> dict[str, Any]:
    """To think or not, in the engine's own words; nothing when the caller leaves it to the model."""
    thinks = asked.thinking if asked.effort not in NO_EFFORT else False
    if manner.thinking == "template":
        kwargs: dict[str, Any] = {} if thinks is None else {"enable_thinking": thinks}
        if asked.effort is not None and thinks is not False:
            kwargs["reasoning_effort"] = asked.effort
        return {"chat_template_kwargs": kwargs} if kwargs else {}
    if manner.thinking == "zhipu" and thinks is not None:
        return {"thinking": {"type": "enabled" if thinks else "disabled", "clear_thinking": not asked.keep_thoughts}}
    if manner.thinking == "effort" and (asked.effort is not None or thinks is False):
        return {"reasoning_effort": asked.effort if thinks is not False else "none"}
    return {}
