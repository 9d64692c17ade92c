"""The Anthropic wire as a client has it, written for the tests alone: a request said, a stream and a message read."""

from __future__ import annotations

import json
from typing import Any

from openmaas.core.usage import Usage
from openmaas.dialects.conversation import Call, Conversation, Media, Message, Named, Part, Result, Text, Thought
from openmaas.dialects.dialect import Signet
from openmaas.dialects.pieces import Reason, Reply

Json = dict[str, Any]
REASONS: dict[str, Reason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "calls",
    "refusal": "refused",
}


def said(asked: Conversation, signet: Signet) -> bytes:
    """A conversation as a Messages request."""
    told: Json = {"model": asked.model, "max_tokens": asked.output_tokens, "stream": asked.stream, "messages": []}
    for message in asked.messages:
        if message.role == "system":
            told["system"] = [{"type": "text", "text": part.text} for part in message.parts if isinstance(part, Text)]
            continue
        role = "user" if message.role == "tool" else message.role
        told["messages"].append({"role": role, "content": [_block(part, signet) for part in message.parts]})
    if asked.tools:
        told["tools"] = [
            {
                "name": tool.name,
                "description": tool.description,
                "input_schema": json.loads(bytes(tool.parameters or b"{}")),
            }
            for tool in asked.tools
        ]
    if asked.tool_choice is not None:
        kinds = {"auto": {"type": "auto"}, "none": {"type": "none"}, "required": {"type": "any"}}
        choice = asked.tool_choice
        told["tool_choice"] = {"type": "tool", "name": choice.name} if isinstance(choice, Named) else kinds[choice]
        if asked.parallel is not None:
            told["tool_choice"]["disable_parallel_tool_use"] = not asked.parallel
    told |= {name: value for name in ("temperature", "top_p", "top_k") if (value := getattr(asked, name)) is not None}
    if asked.format is not None:
        schema = json.loads(bytes(asked.format.schema or b"{}"))
        told["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    if asked.thinking:
        told["thinking"] = {"type": "adaptive"}
    if asked.keep_thoughts:
        told["context_management"] = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}
    return json.dumps(told | {"stop_sequences": list(asked.stop)}).encode()


def _block(part: Part, signet: Signet) -> Json:
    match part:
        case Text():
            return {"type": "text", "text": part.text}
        case Thought():
            return {"type": "thinking", "thinking": part.text, "signature": signet.sign(part.text, "thought")}
        case Media():
            kind, _, data = part.url.removeprefix("data:").partition(";base64,")
            return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": data}}
        case Call():
            return {"type": "tool_use", "id": part.id, "name": part.name, "input": json.loads(part.arguments)}
        case Result():
            content = [_block(each, signet) for each in part.content]
            return {"type": "tool_result", "tool_use_id": part.call_id, "content": content, "is_error": part.failed}


def merged(messages: tuple[Message, ...]) -> list[Message]:
    """Results of one turn may stand in one message or in several."""
    return [Message(each.role, (part,)) for each in messages for part in each.parts]


def events(stream: bytes) -> list[Json]:
    """Each event of a stream, which must be named as its data says."""
    *whole, rest = stream.split(b"\n\n")
    assert rest == b""
    found = []
    for event in whole:
        name, _, data = event.partition(b"\n")
        told = json.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + told["type"].encode()
        found.append(told)
    return found


def message_of(stream: bytes) -> Json:
    """The message that a stream makes, by the rules that its order must keep."""
    first, *rest = events(stream)
    assert first["type"] == "message_start"
    message: Json = first["message"]
    assert message["content"] == []
    last = rest.pop()
    ending = rest.pop()
    assert (ending["type"], last) == ("message_delta", {"type": "message_stop"})
    blocks: list[Json] = message["content"]
    is_open, argued = False, ""
    for event in rest:
        if event["type"] == "content_block_start":
            assert (is_open, event["index"]) == (False, len(blocks))
            is_open, argued = True, ""
            blocks.append(event["content_block"])
            continue
        assert is_open
        assert event["index"] == len(blocks) - 1
        block = blocks[-1]
        if event["type"] == "content_block_stop":
            is_open = False
            if block["type"] == "tool_use":
                assert block["input"] == {}
                block["input"] = json.loads(argued or "{}")
            assert block["type"] != "thinking" or block["signature"]
            continue
        assert event["type"] == "content_block_delta"
        delta = event["delta"]
        match delta["type"]:
            case "text_delta":
                block["text"] += delta["text"]
            case "thinking_delta":
                assert block["signature"] == ""
                block["thinking"] += delta["thinking"]
            case "signature_delta":
                block["signature"] += delta["signature"]
            case "input_json_delta":
                argued += delta["partial_json"]
            case kind:
                raise AssertionError(kind)
    assert not is_open
    return message | ending["delta"] | {"usage": ending["usage"]}


def reply_of(message: Json) -> tuple[Reply, Usage]:
    """A message as the values that it was made of."""
    reply = Reply(reason=REASONS[message["stop_reason"]], stop=message["stop_sequence"])
    for block in message["content"]:
        match block["type"]:
            case "thinking":
                reply.thought += block["thinking"]
            case "text":
                reply.said += block["text"]
            case "tool_use":
                reply.calls.append(Call(block["id"], block["name"], json.dumps(block["input"])))
    usage = message["usage"]
    cached = usage["cache_read_input_tokens"]
    thoughts = usage["output_tokens_details"]["thinking_tokens"]
    return reply, Usage(usage["input_tokens"] + cached, usage["output_tokens"], cached, thoughts)
