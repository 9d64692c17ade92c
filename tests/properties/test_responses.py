"""What the Responses wire can say survives the way to an engine and back, and its answers are as documented."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from official import faults
from openmaas.core import errors as e
from openmaas.core.errors import OpenmaasError
from openmaas.core.usage import Usage
from openmaas.dialects.conversation import Call, Conversation, Message, Result, Text, Thought
from openmaas.dialects.dialect import Ticket
from openmaas.dialects.openai.chat_answer import ChatVoice
from openmaas.dialects.pieces import Argued, Called, Ended, Reply, Said
from openmaas.dialects.responses.dialect import ResponseAsk, Responses
from openmaas.dialects.responses.kept import listed
from openmaas.identity.seal import MasterKeys
from openmaas.identity.signet import Signet
from responses import event_faults, events, read, request
from speech import answers, conversations, in_pieces

TICKET = Ticket("req_01JB", 1_700_000_000_000)
#: What this wire has no word for.
UNSAID = {"messages", "keep_thoughts", "stop", "seed"}
NOTE = {"type": "function", "name": "add", "parameters": {}, "strict": False, "description": ""}
TOOLS = [
    {"type": "custom", "name": "patch", "description": "Change files.", "format": {"type": "text"}},
    {"type": "namespace", "name": "mcp__notes__", "description": "Notes", "tools": [NOTE]},
    {"type": "web_search", "external_web_access": False},
]


@pytest.fixture(scope="module")
def signet(tmp_path_factory: pytest.TempPathFactory) -> Signet:
    return Signet(MasterKeys(Path(tmp_path_factory.mktemp("keys")) / "master"))


def asked(signet: Signet, **members: Any) -> ResponseAsk:
    return ResponseAsk(json.dumps({"model": "m", "input": "hi", **members}).encode(), signet)


def turns(messages: tuple[Message, ...]) -> list[Message]:
    """One result a message."""
    split = [[Message("tool", (part,)) for part in each.parts] if each.role == "tool" else [each] for each in messages]
    return [message for each in split for message in each]


@given(conversations())
def test_a_request_is_read_as_what_it_asks_for(signet: Signet, told: Conversation) -> None:
    found = ResponseAsk(request(told, signet), signet).conversation
    assert turns(found.messages) == turns(told.messages)
    for name in set(Conversation.__struct_fields__) - UNSAID:
        assert getattr(found, name) == getattr(told, name), name


def reply_of(response: dict[str, Any], signet: Signet) -> Reply:
    """The answer that an object tells, its thought from the seal."""
    found = Reply(
        reason={"max_output_tokens": "length", "content_filter": "refused"}.get(
            (response["incomplete_details"] or {}).get("reason", ""), "stop"
        )
    )  # type: ignore[arg-type]
    for item in response["output"]:
        if item["type"] == "reasoning":
            found.thought += signet.open(item["encrypted_content"], "reasoning") or ""
        elif item["type"] == "message":
            found.said += "".join(part["text"] for part in item["content"])
        else:
            found.calls.append(Call(item["call_id"], item["name"], item["arguments"]))
            found.reason = "calls"
    return found


@given(st.data(), answers(), st.sampled_from([None, "auto"]))
@settings(deadline=None)
def test_an_answer_is_the_same_in_events_and_whole_and_both_are_as_documented(
    signet: Signet, data: st.DataObject, answer: tuple[Reply, Usage], summary: str | None
) -> None:
    fields = {"include": ["reasoning.encrypted_content"], "reasoning": {"summary": summary}}
    pieces = data.draw(in_pieces(*answer))
    engine = ChatVoice(usage="extra").writer(TICKET)
    said = b"".join(map(engine.say, pieces)) + engine.end()
    reading = asked(signet, stream=True, **fields).reading("m", TICKET)
    stream = b"".join(reading.feed(said[at : at + 50]) for at in range(0, len(said), 50)) + reading.finish()
    streamed = read(stream)
    ask = asked(signet, **fields)
    whole = json.loads(ask.whole(ChatVoice().whole([answer[0]], answer[1], TICKET), "m", TICKET))
    for response in (streamed, whole):
        assert reply_of(response, signet) == answer[0]
        assert response["usage"]["input_tokens_details"]["cached_tokens"] == answer[1].cached_tokens
        assert response["usage"]["total_tokens"] == answer[1].prompt_tokens + answer[1].completion_tokens
        assert not faults("openai", "Response", response)
    for event in events(stream):
        assert not event_faults(event), event


@given(answers())
@settings(deadline=None)
def test_an_answer_that_comes_back_is_the_turn_that_it_was(signet: Signet, answer: tuple[Reply, Usage]) -> None:
    """Another relay reads the seal: it only has the same master key."""
    said = ChatVoice().whole([answer[0]], answer[1], TICKET)
    output = json.loads(asked(signet, include=["reasoning.encrypted_content"]).whole(said, "m", TICKET))["output"]
    for item in output:
        if item["type"] == "reasoning":
            item["content"] = []
    results = [{"type": "function_call_output", "call_id": call.id, "output": "ok"} for call in answer[0].calls]
    found = asked(signet, input=[{"role": "user", "content": "hi"}, *output, *results]).conversation.messages[1]
    reply = answer[0]
    words = [Text(reply.said)] if reply.said else []
    assert found.parts == (*([Thought(reply.thought)] if reply.thought else []), *words, *reply.calls)


@pytest.mark.parametrize("error", [e.ContextExceeded(), e.InsufficientFunds(), e.LimitReached(), e.EngineFailed("x")])
def test_a_stream_that_breaks_off_ends_with_a_failed_response(signet: Signet, error: OpenmaasError) -> None:
    reading = asked(signet, stream=True).reading("m", TICKET)
    engine = ChatVoice().writer(TICKET)
    said = engine.say(Said("half"))
    stream = reading.feed(said) + (reading.broken(error) or b"")
    response = read(stream)
    assert response["status"] == "failed"
    assert response["output"][0]["status"] == "incomplete"
    at_once = read(Responses(signet).broken(error, "", "req_1"))
    assert at_once["error"] == response["error"]
    code = {e.EngineFailed: "server_error", e.LimitReached: "rate_limit_exceeded"}.get(type(error), error.code)
    assert response["error"]["code"] == code
    if code == "rate_limit_exceeded":
        assert "try again in 1s" in response["error"]["message"]  # what codex reads


def test_custom_tools_and_namespaces_are_functions_to_an_engine_and_themselves_to_the_caller(signet: Signet) -> None:
    calls = [Call("c1", "patch", '{"input":"*** Begin"}'), Call("c2", "mcp__notes__add", "{}")]
    said = ChatVoice().whole([Reply(calls=calls, reason="calls")], Usage(), TICKET)
    ask = asked(signet, tools=TOOLS)
    assert [tool.name for tool in ask.conversation.tools] == ["patch", "mcp__notes__add"]
    custom, spaced = json.loads(ask.whole(said, "m", TICKET))["output"]
    assert (custom["type"], custom["name"], custom["input"]) == ("custom_tool_call", "patch", "*** Begin")
    assert (spaced["type"], spaced["namespace"], spaced["name"]) == ("function_call", "mcp__notes__", "add")
    back = asked(
        signet,
        tools=TOOLS,
        input=[
            {"role": "user", "content": "hi"},
            custom,
            spaced,
            {"type": "custom_tool_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "done"}]},
            {"type": "function_call_output", "call_id": "c2", "output": "added"},
        ],
    ).conversation.messages
    assert back[1] == Message("assistant", tuple(calls))
    assert back[2:] == (
        Message("tool", (Result("c1", (Text("done"),)),)),
        Message("tool", (Result("c2", (Text("added"),)),)),
    )
    reading = asked(signet, tools=TOOLS, stream=True).reading("m", TICKET)
    engine = ChatVoice(usage="extra").writer(TICKET)
    pieces = [Called(0, "c1", "patch"), Argued(0, '{"input":"*** '), Argued(0, 'Begin"}'), Ended("calls")]
    stream = reading.feed(b"".join(map(engine.say, pieces)) + engine.end())
    assert read(stream)["output"][0]["input"] == "*** Begin"
    for event in events(stream):
        assert not event_faults(event), event


def test_only_allowed_tools_are_offered(signet: Signet) -> None:
    tools = [{"type": "function", "name": name, "parameters": {}} for name in ("a", "b", "c")]
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "b"}]}
    found = asked(signet, tools=tools, tool_choice=allowed).conversation
    assert ([tool.name for tool in found.tools], found.tool_choice) == (["b"], "required")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"input": None}, "input"),
    ({"input": [{"type": "computer_call"}]}, "input[0].type"),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
    ({"input": [{"role": "alien", "content": "x"}]}, "input[0].role"),
    ({"input": [{"role": "user", "content": [{"type": "input_video"}]}]}, "input[0].content[0].type"),
    ({"input": [{"type": "function_call", "name": "x", "arguments": "{}"}]}, "input[0].call_id"),
    ({"tools": [{"type": "code_interpreter"}]}, "tools[0].type"),
    ({"tools": [{"type": "mcp", "server_label": "x"}]}, "tools[0].type"),
    ({"tool_choice": {"type": "file_search"}}, "tool_choice.type"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tool_choice": "required", "tools": [{"type": "web_search"}]}, "tool_choice"),  # which is passed over
    (
        {"tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "x"}]}},
        "tool_choice",
    ),
    ({"tool_choice": {"type": "function", "name": "x"}}, "tool_choice.name"),
    ({"background": True}, "background"),
    ({"conversation": "conv_1"}, "conversation"),
    ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"temperature": "hot"}, "temperature"),
    ({"text": {"format": {"type": "xml"}}}, "text.format"),
    ({"include": ["message.output_text.logprobs"]}, "top_logprobs"),
    ({"model": ""}, "model"),
]


@pytest.mark.parametrize(("members", "field"), REFUSED, ids=lambda value: str(value)[:50])
def test_what_is_not_offered_is_refused_by_name(signet: Signet, members: dict[str, Any], field: str) -> None:
    with pytest.raises(e.FieldInvalid) as found:
        asked(signet, **members)
    assert found.value.field == field


def test_unknown_members_and_nulls_are_no_mistake(signet: Signet) -> None:
    nulls = dict.fromkeys(["tools", "tool_choice", "reasoning", "text", "include", "metadata", "store", "stream"])
    found = asked(signet, client_metadata={"x": 1}, truncation="auto", service_tier="flex", **nulls)
    assert found.conversation.messages == (Message("user", (Text("hi"),)),)


def test_kept_input_is_listed_as_documented(signet: Signet) -> None:
    items = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "yes?"},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "ok"},
    ]
    memory = asked(signet, input=items, store=True).memory
    shown = listed(memory.asked, "resp_1")
    for item in shown:
        assert not faults("openai", "ItemResource", item), item
    assert len({item["id"] for item in shown}) == len(items)


def test_what_an_engine_says_of_messages_is_told_of_the_input(signet: Signet) -> None:
    """Every engine reads messages; who asks for a response has sent none."""
    dialect = Responses(signet)
    for field, told in (("messages", "input"), ("messages[3].content", "input"), ("tools", "tools"), (None, None)):
        status, _, body = dialect.refusal(e.ContextExceeded("x", field=field), "", "req_1")
        assert (status, json.loads(body)["error"]["param"]) == (400, told)
