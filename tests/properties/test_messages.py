"""What the Anthropic dialect can say survives: requests as values, answers as messages, however they are cut."""

from __future__ import annotations

import itertools
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from messages import message_of, reply_of, said
from openmaas.core import errors as e
from openmaas.core.errors import EngineFailed, FieldInvalid, OpenmaasError
from openmaas.core.usage import Usage
from openmaas.dialects.anthropic.dialect import Anthropic
from openmaas.dialects.anthropic.errors import render
from openmaas.dialects.anthropic.write import MessageVoice
from openmaas.dialects.conversation import Call, Conversation, Format, Message, Result, Text, Thought
from openmaas.dialects.dialect import Ticket
from openmaas.dialects.openai.chat_answer import ChatVoice
from openmaas.dialects.pieces import Argued, Called, Counted, Ended, Reply, Said
from openmaas.dialects.pieces import Thought as Thinks
from openmaas.dialects.translated import Translated
from openmaas.identity.seal import MasterKeys
from openmaas.identity.signet import Signet
from speech import answers, conversations, in_pieces

TICKET = Ticket("req_1", 1_700_000_000_000, "the-model")


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Signet, Signet]:
    """Two nodes with the same master keys, and nothing else in common."""
    path = tmp_path_factory.mktemp("keys") / "master.json"
    return Signet(MasterKeys(path)), Signet(MasterKeys(path))


def read(signet: Signet, body: bytes | dict[str, Any]) -> Conversation:
    return Anthropic(signet).ask("chat", body if isinstance(body, bytes) else json.dumps(body).encode()).conversation


def same(call: Any) -> Any:
    """Arguments are JSON: the same values, however they are spaced."""
    if isinstance(call, Message):
        return Message(call.role, tuple(same(part) for part in call.parts))
    if hasattr(call, "arguments"):
        return msgspec.structs.replace(call, arguments=json.dumps(json.loads(call.arguments)))
    return call


@given(asked=conversations(), thinks=st.booleans())
def test_a_request_is_read_as_what_was_said(nodes: tuple[Signet, Signet], asked: Conversation, thinks: bool) -> None:
    one, two = nodes
    asked = msgspec.structs.replace(
        asked,
        thinking=thinks,
        seed=None,  # this wire has no word for it
        format=None if asked.format is None else Format(schema=msgspec.Raw(b'{"type":"object"}')),
        tool_choice=asked.tool_choice or ("auto" if asked.parallel is not None else None),
    )
    found = read(two, said(asked, one))
    assert [*map(same, found.messages)] == [*map(same, asked.messages)]
    for name in set(Conversation.__struct_fields__) - {"messages", "format", "tools"}:
        assert getattr(found, name) == getattr(asked, name), name
    assert (found.format is None) == (asked.format is None)
    assert [(tool.name, tool.description) for tool in found.tools] == [(t.name, t.description) for t in asked.tools]


@given(st.data(), answers(), st.sampled_from(["shown", "omitted", "no"]), st.lists(st.integers(0, 4000), max_size=5))
def test_an_answer_in_events_is_the_message_that_it_is_whole(
    nodes: tuple[Signet, Signet], data: st.DataObject, answer: tuple[Reply, Usage], thinks: Any, at: list[int]
) -> None:
    reply, usage = answer
    voice = MessageVoice(signet=nodes[0], thinks=thinks)
    engine = ChatVoice(usage="extra").writer(TICKET)
    wire = b"".join(engine.say(piece) for piece in data.draw(in_pieces(reply, usage))) + engine.end()
    reading = Translated(voice.writer(TICKET), "req_1")
    cuts = [0, *sorted(min(each, len(wire)) for each in at), len(wire)]
    stream = b"".join(reading.feed(wire[a:b]) for a, b in itertools.pairwise(cuts)) + reading.finish()
    streamed, whole = message_of(stream), json.loads(voice.whole([reply], usage, TICKET))
    expected = msgspec.structs.replace(reply, thought=reply.thought if thinks == "shown" else "")
    for message in (streamed, whole):
        found, counted = reply_of(message)
        assert (*map(same, found.calls),) == (*map(same, expected.calls),)
        assert (found.thought, found.said, found.reason, counted) == (
            expected.thought,
            expected.said,
            expected.reason,
            usage,
        )
        assert (message["id"], message["model"], message["role"]) == ("msg_1", "the-model", "assistant")
        assert message["usage"]["input_tokens"] == usage.prompt_tokens - usage.cached_tokens
        kinds = [block["type"] for block in message["content"]]
        assert ("thinking" in kinds) == (bool(reply.thought) and thinks != "no")
    assert streamed.keys() == whole.keys()


@given(st.text(min_size=1))
def test_a_thought_comes_back_to_another_node_and_whoever_wants_it_omitted_carries_it_sealed(
    nodes: tuple[Signet, Signet], text: str
) -> None:
    one, two = nodes
    for thinks in ("shown", "omitted"):
        reply = Reply(thought=text, said="so")
        message = json.loads(MessageVoice(signet=one, thinks=thinks).whole([reply], Usage(), TICKET))
        asked = {"model": "m", "max_tokens": 1, "messages": [{"role": "assistant", "content": message["content"]}]}
        assert read(two, asked).messages == (Message("assistant", (Thought(text), Text("so"))),)


def test_a_thought_of_somebody_else_is_left_out_and_never_refused(nodes: tuple[Signet, Signet]) -> None:
    foreign = [
        {"type": "thinking", "thinking": "theirs", "signature": "EqoBCkgIARABGAIiQL8"},
        {"type": "thinking", "thinking": "unsigned", "signature": ""},
        {"type": "thinking", "thinking": "bare"},
        {"type": "thinking", "thinking": "", "signature": "EqoB"},
        {"type": "redacted_thinking", "data": "EmwKAhgB"},
        {"type": "text", "text": "so"},
    ]
    asked = {"model": "m", "messages": [{"role": "assistant", "content": foreign}]}
    assert read(nodes[0], asked).messages == (Message("assistant", (Text("so"),)),)


def test_thoughts_of_the_turn_that_runs_are_kept_and_older_ones_are_not(nodes: tuple[Signet, Signet]) -> None:
    one, _ = nodes

    def thinks(text: str, name: str) -> dict[str, Any]:
        thought = {"type": "thinking", "thinking": text, "signature": one.sign(text, "thought")}
        return {"role": "assistant", "content": [thought, {"type": "tool_use", "id": name, "name": "f", "input": {}}]}

    def results(name: str, *more: dict[str, Any]) -> dict[str, Any]:
        return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": name, "content": "1"}, *more]}

    reminder = {"type": "text", "text": "remember"}  # coding tools put such beside a result; it is no new question
    turns = [
        {"role": "user", "content": "first"},
        thinks("old", "a"),
        results("a"),
        {"role": "assistant", "content": "done"},
        {"role": "user", "content": "second"},
        thinks("new", "b"),
        results("b", reminder),
        thinks("newer", "c"),
        results("c"),
    ]
    asked: dict[str, Any] = {"model": "m", "thinking": {"type": "adaptive"}, "messages": turns}

    def kept() -> list[str]:
        parts = [part for message in read(one, asked).messages for part in message.parts]
        return [part.text for part in parts if isinstance(part, Thought)]

    assert kept() == ["new", "newer"]
    asked["context_management"] = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}
    assert kept() == ["old", "new", "newer"]


def test_everything_that_claude_code_says_is_taken(nodes: tuple[Signet, Signet]) -> None:
    ephemeral = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    found = read(
        nodes[0],
        {
            "model": "claude-sonnet-5[1m]",
            "max_tokens": 32000,
            "system": [
                {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.197; cch=0f3a1;"},
                {"type": "text", "text": "You are Claude Code.", **ephemeral},
            ],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "hi", **ephemeral}]},
                {"role": "system", "content": "The date has changed."},
                {"role": "system", "content": [{"type": "text", "text": "again"}]},
            ],
            "tools": [
                {"name": "f", "input_schema": {"$schema": "https://json-schema.org/draft/2020-12/schema"}},
                {"name": "g", "type": "custom", "input_schema": {"type": "object"}, "defer_loading": True},
                {"name": "s", "type": "tool_search_tool_regex_20251119"},
            ],
            "tool_choice": None,
            "thinking": {"type": "adaptive", "display": None},
            "output_config": {"effort": "medium", "task_budget": None},
            "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
            "metadata": {"user_id": '{"device_id":"1"}'},
            "mcp_servers": [],
            "container": None,
            "service_tier": "auto",
            "speed": "standard",
            "unheard_of": {"x": 1},
            "temperature": 1,
            "stream": True,
        },
    )
    assert found.messages[0] == Message("system", (Text("You are Claude Code."),))
    assert [message.role for message in found.messages] == ["system", "user", "system", "system"]
    assert [tool.name for tool in found.tools] == ["f", "g"]
    assert (found.thinking, found.effort, found.output_tokens) == (True, "medium", 32000)
    assert found.others == {"user": msgspec.Raw(json.dumps('{"device_id":"1"}').encode())}


def test_a_conversation_changes_its_tools_and_what_is_told_for_one_turn_is_told_for_no_other(
    nodes: tuple[Signet, Signet],
) -> None:
    def change(kind: str, **tool: Any) -> dict[str, Any]:
        return {"type": kind, "tool": tool}

    text = {"type": "text", "text": "for ever"}
    turns = [
        {"role": "user", "content": "first"},
        {"role": "system", "content": "for now", "clear_at": "next_user_message"},
        {"role": "system", "output_config": {"effort": "max"}},
        {"role": "system", "content": [text, change("tool_removal", type="tool_reference", name="f")]},
        {"role": "assistant", "content": "done"},
        {"role": "user", "content": "second"},
        {"role": "system", "content": "for this", "clear_at": "next_user_message"},
        {
            "role": "system",
            "output_config": {"effort": "low"},
            "content": [
                change("tool_addition", type="tool_definition", definition={"name": "h", "input_schema": {}}),
                change("tool_addition", type="tool_reference", name="g"),
                change("tool_removal", type="tool_reference", name="e"),
                change("tool_addition", type="tool_reference", name="e"),
            ],
        },
    ]
    tools = [{"name": name, "input_schema": {}} for name in "efg"]
    found = read(nodes[0], {"model": "m", "messages": turns, "tools": tools, "output_config": {"effort": "high"}})
    told = [part.text for each in found.messages for part in each.parts if isinstance(part, Text)]
    assert told == ["first", "for ever", "done", "second", "for this"]
    assert [tool.name for tool in found.tools] == ["e", "g", "h"]
    assert found.effort == "low"


def test_results_come_before_what_is_said_with_them_and_have_pictures_and_failures(
    nodes: tuple[Signet, Signet],
) -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    failed = {"type": "tool_result", "tool_use_id": "a", "is_error": True, "content": [picture]}
    asked = {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "see"}, failed]}]}
    first, second = read(nodes[0], asked).messages
    assert (first.role, second) == ("tool", Message("user", (Text("see"),)))
    (result,) = first.parts
    assert isinstance(result, Result)
    assert (result.failed, result.content[0].url) == (True, "data:image/png;base64,AAAA")  # type: ignore[union-attr]


def test_documents_of_words_are_read(nodes: tuple[Signet, Signet]) -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "the words"}
    blocks = [
        {"type": "document", "title": "T", "context": "C", "source": source, "citations": {"enabled": True}},
        {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "inner"}]}},
        {"type": "search_result", "source": "u", "title": "t", "content": [{"type": "text", "text": "found"}]},
    ]
    (message,) = read(nodes[0], {"model": "m", "messages": [{"role": "user", "content": blocks}]}).messages
    words = [part.text for part in message.parts if isinstance(part, Text)]
    assert words == ["T", "C", "the words", "inner", "t\nu\nfound"]


#: What is refused, and the path of the field that is to blame.
MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"model": None}, "model"),
    ({"model": ""}, "model"),
    ({"messages": None}, "messages"),
    ({"messages": [{"role": "alien", "content": "x"}]}, "messages.0.role"),
    ({"messages": [{"role": "user", "content": [{"type": "hologram"}]}]}, "messages.0.content.0.type"),
    ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages.0.content.0"),
    (
        {"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "base64"}}]}]},
        "messages.0.content.0.source.type",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}]},
        "messages.0.content.0.source.type",
    ),
    ({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, "messages.0.content.0.tool_use_id"),
    ({"messages": [{"role": "assistant", "content": [{"type": "server_tool_use"}]}]}, "messages.0.content.0.type"),
    ({"system": [{"type": "image"}]}, "system.0.source.type"),
    ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools.0.type"),
    ({"tools": [{"input_schema": {}}]}, "tools.0.name"),
    ({"tool_choice": {"type": "maybe"}}, "tool_choice.type"),
    ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
    ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type"),
    ({"mcp_servers": [{"url": "https://x"}]}, "mcp_servers"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"temperature": "hot"}, "temperature"),
]


@pytest.mark.parametrize(("fields", "field"), MISTAKES, ids=lambda value: str(value)[:60])
def test_a_mistake_is_refused_by_the_path_of_its_field(
    nodes: tuple[Signet, Signet], fields: dict[str, Any], field: str
) -> None:
    asked = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}], **fields}
    with pytest.raises(FieldInvalid) as found:
        read(nodes[0], asked)
    assert found.value.field == field
    assert field in found.value.message


def test_a_cache_that_is_warmed_with_no_token_asks_for_one_and_shows_none(nodes: tuple[Signet, Signet]) -> None:
    ask = Anthropic(nodes[0]).ask("chat", b'{"model":"m","max_tokens":0,"messages":[]}')
    assert ask.output_tokens_max(500, 1000) == 1
    wire = ChatVoice().whole([Reply(said="x")], Usage(5, 1), TICKET)
    message = json.loads(ask.whole(wire, "m", TICKET))
    assert (message["content"], message["stop_reason"], message["usage"]["output_tokens"]) == ([], "max_tokens", 1)


def test_a_stop_sequence_is_told_when_the_engine_tells_it(nodes: tuple[Signet, Signet]) -> None:
    voice = MessageVoice(signet=nodes[0])
    writer = voice.writer(TICKET)
    stream = b"".join(map(writer.say, [Said("a"), Ended("stop", stop="END"), Counted(Usage(1, 1))])) + writer.end()
    whole = json.loads(voice.whole([Reply(said="a", stop="END")], Usage(1, 1), TICKET))
    for message in (message_of(stream), whole):
        assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "END")


def test_arguments_that_are_no_json_are_not_passed_off_as_none(nodes: tuple[Signet, Signet]) -> None:
    reply = Reply(reason="length")
    reply.calls = [msgspec.convert({"type": "call", "id": "a", "name": "f", "arguments": '{"x": [1, '}, Call)]
    message = json.loads(MessageVoice(signet=nodes[0]).whole([reply], Usage(), TICKET))
    assert message["content"][0]["input"] == {"INVALID_JSON": '{"x": [1, '}


def test_calls_that_an_engine_mixes_are_its_failure_and_not_a_wrong_call(nodes: tuple[Signet, Signet]) -> None:
    writer = MessageVoice(signet=nodes[0]).writer(TICKET)
    for piece in (Called(0, "a", "f"), Argued(0, "{"), Called(1, "b", "f"), Thinks("unasked")):
        writer.say(piece)
    with pytest.raises(EngineFailed):
        writer.say(Argued(0, "}"))


def test_half_an_answer_is_not_taken_for_one(nodes: tuple[Signet, Signet]) -> None:
    """A body that ends with its connection looks whole where it is cut."""
    reading = Translated(MessageVoice(signet=nodes[0]).writer(TICKET), "req_1")
    assert b"text_delta" in reading.feed(b'data: {"choices":[{"index":0,"delta":{"content":"Half"}}]}\n\n')
    with pytest.raises(EngineFailed):
        reading.finish()


@pytest.mark.parametrize(
    ("error", "status", "kind", "message"),
    [
        (e.ContextExceeded("x").counted(250_000, 200_000), 400, "invalid_request_error", "prompt is too long: 250000 "),
        (
            e.ContextExceeded("x").counted(150, 200, 90),
            400,
            "invalid_request_error",
            "input length and `max_tokens` exc",
        ),
        (
            e.ContextExceeded("x").counted(250, 200, 90),
            400,
            "invalid_request_error",
            "prompt is too long: 250 tokens > 2",
        ),
        (e.InsufficientFunds(), 402, "billing_error", "The balance"),
        (e.BudgetExceeded(), 402, "billing_error", "The budget"),
        (e.PlanExhausted(retry_after_s=60), 429, "rate_limit_error", "The plan"),
        (e.LimitReached(retry_after_s=2), 429, "rate_limit_error", "A rate limit"),
        (e.KeyUnknown(), 401, "authentication_error", "The API key"),
        (e.ModelNotAllowed(), 403, "permission_error", "The key may not"),
        (e.ModelUnknown(), 404, "not_found_error", "The model"),
        (e.TooLarge(), 413, "request_too_large", "The request"),
        (e.NoReplica(), 529, "overloaded_error", "No replica"),
        (e.Internal(), 500, "api_error", "The server"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, OpenmaasError) else "",
)
def test_an_error_has_anthropic_s_status_type_and_words(
    error: OpenmaasError, status: int, kind: str, message: str
) -> None:
    found, headers, body = render(error, "req_1")
    told = json.loads(body)
    assert (found, told["type"], told["error"]["type"], told["request_id"]) == (status, "error", kind, "req_1")
    assert told["error"]["message"].startswith(message)
    hopeless = isinstance(error, e.InsufficientFunds | e.NotRecognised | e.NotAllowed)
    assert (b"x-should-retry: false" in headers) == hopeless
