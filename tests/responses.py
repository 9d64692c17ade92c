"""Both ends of the Responses wire as a client has them: a request of a conversation, and a strict reader of events."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from official import document, faults
from openmaas.dialects.conversation import Call, Conversation, Media, Message, Named, Result, Text, Thought
from openmaas.dialects.dialect import Signet

Json = dict[str, Any]
#: What the deltas of an event add up to, in its ``done``.
WHOLES = {
    "response.output_text": "text",
    "response.reasoning_text": "text",
    "response.reasoning_summary_text": "text",
    "response.function_call_arguments": "arguments",
    "response.custom_tool_call_input": "input",
}
ENDS = ("response.completed", "response.incomplete", "response.failed")


def request(asked: Conversation, signet: Signet, **members: Any) -> bytes:
    """A body that asks for what ``asked`` says, as far as this wire can."""
    told: Json = {"model": asked.model, "input": [item for each in asked.messages for item in _items(each, signet)]}
    told |= {"stream": asked.stream, "max_output_tokens": asked.output_tokens, "reasoning": {"effort": asked.effort}}
    told |= {"temperature": asked.temperature, "top_p": asked.top_p, "parallel_tool_calls": asked.parallel}
    told["tools"] = [
        {
            "type": "function",
            "name": tool.name,
            "description": tool.description,
            "parameters": msgspec.json.decode(tool.parameters or b"null"),
            "strict": tool.strict,
        }
        for tool in asked.tools
    ]
    choice = asked.tool_choice
    told["tool_choice"] = {"type": "function", "name": choice.name} if isinstance(choice, Named) else choice
    if asked.format is not None:
        schema = asked.format.schema
        told["text"] = {"format": {"type": "json_object"}}
        if schema is not None:
            named = {"name": asked.format.name, "schema": json.loads(bytes(schema)), "strict": asked.format.strict}
            told["text"] = {"format": {"type": "json_schema", **named}}
    return json.dumps(told | members, separators=(",", ":")).encode()


def _items(message: Message, signet: Signet) -> list[Json]:
    found: list[Json] = []
    said: list[Json] = []
    for part in message.parts:
        match part:
            case Thought():
                found.append(
                    {"type": "reasoning", "summary": [], "encrypted_content": signet.seal(part.text, "reasoning")}
                )
            case Text():
                said.append({"type": "output_text" if message.role == "assistant" else "input_text", "text": part.text})
            case Media():
                said.append({"type": "input_image", "image_url": part.url, "detail": part.detail})
            case Call():
                call = {"call_id": part.id, "name": part.name, "arguments": part.arguments}
                found.append({"type": "function_call", **call})
            case Result():
                output = [{"type": "input_text", "text": each.text} for each in part.content if isinstance(each, Text)]
                found.append({"type": "function_call_output", "call_id": part.call_id, "output": output})
    if said:
        role = "developer" if message.role == "system" else message.role
        found.insert(bool(found and found[0]["type"] == "reasoning"), {"role": role, "content": said})
    return found


def events(stream: bytes) -> list[Json]:
    """The events of a whole stream; each has its line, and the two agree."""
    found = []
    for event in stream.decode().split("\n\n")[:-1]:
        line, data = event.split("\n")
        told = json.loads(data.removeprefix("data: "))
        assert line == f"event: {told['type']}"
        found.append(told)
    return found


def event_faults(event: Json) -> list[str]:
    """What OpenAI's document says is wrong with an event."""
    schemas = document("openai")["components"]["schemas"]
    kinds = {told["$ref"].rpartition("/")[2] for told in schemas["ResponseStreamEvent"]["anyOf"]}
    (name,) = [kind for kind in kinds if schemas[kind]["properties"]["type"].get("enum") == [event["type"]]]
    return faults("openai", name, event)


def read(stream: bytes) -> Json:
    """The response that a stream ends with. Asserts the order, the numbers, and that what the events said in pieces is
    what they said whole."""
    told = events(stream)
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    assert [event["type"] for event in told[:2]] == ["response.created", "response.in_progress"]
    assert told[-1]["type"] in ENDS
    assert not any(event["type"] in ENDS for event in told[:-1])
    output: list[Json] = []
    item: Json = {}  # the one that is open
    deltas: list[str] = []
    whole = ""
    for event in told[2:-1]:
        kind, _, verb = event["type"].rpartition(".")
        assert event["output_index"] == len(output)
        if kind == "response.output_item":
            assert bool(item) == (verb == "done")
            if verb == "added":
                item, deltas, whole = event["item"], [], ""
                assert item["status"] == "in_progress"
                continue
            assert event["item"]["id"] == item["id"]
            assert whole in _said(event["item"])
            output.append(event["item"])
            item = {}
            continue
        assert event["item_id"] == item["id"]
        if verb == "delta":
            assert event["delta"]
            deltas.append(event["delta"])
        elif kind in WHOLES:
            whole = event[WHOLES[kind]]
            assert whole == "".join(deltas)
        elif kind.endswith("_part"):
            assert event["part"]["text"] == (whole if verb == "done" else "")
            assert event.get("content_index", event.get("summary_index")) == 0
    assert not item
    response: Json = told[-1]["response"]
    assert response["output"] == output
    assert response["status"] == told[-1]["type"].removeprefix("response.")
    return response


def _said(item: Json) -> list[str]:
    """All words of an item."""
    parts = [part["text"] for part in (*item.get("content", ()), *item.get("summary", ()))]
    return [*parts, item.get("arguments", ""), item.get("input", "")]
