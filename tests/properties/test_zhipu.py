"""What Zhipu's dialect can say survives the way to an engine and back, and what clients really send is read."""

from __future__ import annotations

import contextlib
import itertools
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmaas.core import errors as e
from openmaas.core.clock import Clock
from openmaas.core.usage import Usage
from openmaas.dialects.conversation import Conversation, Media, Message, Text, Thought
from openmaas.dialects.dialect import Manner, Ticket, language_of
from openmaas.dialects.engine.hear import Events, Hearing
from openmaas.dialects.engine.say import body
from openmaas.dialects.openai.chat_answer import ChatVoice
from openmaas.dialects.pieces import Argued, Called, Counted, Ended, Reply, Said, gathered
from openmaas.dialects.pieces import Thought as Thinks
from openmaas.dialects.translated import Translated
from openmaas.dialects.zhipu.answer import ZhipuVoice
from openmaas.dialects.zhipu.dialect import Zhipu
from openmaas.dialects.zhipu.read import read
from speech import answers, conversations, in_pieces, words

TICKET = Ticket("req_1", 1_700_000_000_000)
ZHIPU = Zhipu(Clock(), keep_thoughts=False)
HI = [{"role": "user", "content": "hi"}]


def asked(keep_thoughts: bool = False, **members: Any) -> Conversation:
    """What the body of a request asks for."""
    told = {"model": "glm-4.6", "messages": HI, **members}
    return read(json.dumps(told).encode(), keep_thoughts=keep_thoughts)[0]


def merged(messages: tuple[Message, ...]) -> list[Message]:
    """Results of one turn may stand in one message or in several."""
    return [Message(each.role, (part,)) for each in messages for part in each.parts]


@given(conversations())
def test_a_conversation_in_zhipu_s_words_is_the_same_when_it_is_read(told: Conversation) -> None:
    said = body(told, "model", told.output_tokens or 1, Manner(thinking="zhipu"))
    found, _, _ = read(said, keep_thoughts=True)
    assert merged(found.messages) == merged(told.messages)
    for name in set(Conversation.__struct_fields__) - {"messages", "temperature"}:
        assert getattr(found, name) == (None if name == "top_p" and told.temperature == 0 else getattr(told, name)), (
            name
        )
    assert found.temperature == told.temperature


@given(st.data(), answers(), st.booleans(), st.booleans(), st.lists(st.integers(0, 4000), max_size=5))
def test_an_answer_in_chunks_is_the_same_however_they_are_cut(
    data: st.DataObject, answer: tuple[Reply, Usage], whole_calls: bool, extra: bool, at: list[int]
) -> None:
    voice = ZhipuVoice(usage="extra" if extra else "last", whole_calls=whole_calls, request_id="mine")
    writer = ChatVoice(usage="extra").writer(TICKET)
    engine = b"".join(writer.say(piece) for piece in data.draw(in_pieces(*answer))) + writer.end()
    reading = Translated(voice.writer(TICKET), "req_1")
    cuts = [0, *sorted(min(each, len(engine)) for each in at), len(engine)]
    said = b"".join(reading.feed(engine[a:b]) for a, b in itertools.pairwise(cuts)) + reading.finish()
    events, hearing = Events(), Hearing("req_1")
    *chunks, done = events.feed(said)
    assert done == b"[DONE]"
    assert gathered(piece for each in chunks for piece in hearing.hear(each)) == ([answer[0]], answer[1])
    told = [json.loads(each) for each in chunks]
    assert [bool(each.get("usage")) for each in told] == [False] * (len(told) - 1) + [True]
    assert (told[-1]["choices"] == []) == extra
    assert {each["request_id"] for each in told} == {"mine"}


@given(answers())
def test_a_whole_answer_is_the_same_when_it_is_heard(answer: tuple[Reply, Usage]) -> None:
    said = ZhipuVoice(usage="last").whole([answer[0]], answer[1], TICKET)
    assert gathered(Hearing("req_1").hear(said)) == ([answer[0]], answer[1])


def test_an_answer_ends_for_the_reasons_that_zhipu_has() -> None:
    voice = ZhipuVoice()
    for ended, word in (
        (Ended("stop"), "stop"),
        (Ended("length"), "length"),
        (Ended("length", full=True), "model_context_window_exceeded"),
        (Ended("refused"), "sensitive"),
        (Ended("calls"), "tool_calls"),
    ):
        writer = voice.writer(TICKET)
        stream = writer.say(Said("x")) + writer.say(ended) + writer.say(Counted(Usage(1, 1))) + writer.end()
        assert json.loads(Events().feed(stream)[-2])["choices"][0]["finish_reason"] == word
        whole = json.loads(voice.whole(*gathered([Said("x"), ended]), TICKET))
        assert whole["choices"][0]["finish_reason"] == word
    last = b'{"choices":[{"index":0,"delta":{},"finish_reason":"model_context_window_exceeded"}]}'
    assert [*Hearing("req_1").hear(last)] == [Ended("length", full=True)]


def test_trap_2_a_picture_without_the_head_of_its_uri_is_a_picture() -> None:
    for url in ("iVBORw0KGgo=", "data:image/png;base64,iVBORw0KGgo="):
        for address in ({"url": url}, url):
            told = [{"role": "user", "content": [{"type": "image_url", "image_url": address}]}]
            (message,) = asked(messages=told).messages
            assert message.parts == (Media("image", "data:image/png;base64,iVBORw0KGgo="),)


def test_trap_4_no_event_has_a_name_or_lacks_data() -> None:
    voice = ZhipuVoice(usage="last")
    writer = voice.writer(TICKET)
    pieces = (Said("a"), Called(0, "c", "f"), Argued(0, "{}"), Ended("calls"), Counted(Usage(1, 1)))
    stream = b"".join(map(writer.say, pieces)) + writer.end()
    stream += ZHIPU.broken(e.EngineFailed("x"), "", "req_1")
    assert all(event.startswith(b"data: ") for event in stream.removesuffix(b"\n\n").split(b"\n\n"))


def test_trap_6_a_call_comes_in_one_chunk_unless_it_is_asked_for_in_pieces() -> None:
    pieces = [Called(0, "call_1", "f"), Argued(0, '{"a"'), Argued(0, ":1}"), Ended("calls")]
    for tool_stream, chunks in ((None, 1), (False, 1), (True, 3)):
        told = json.dumps({"model": "m", "messages": HI, "stream": True, "tool_stream": tool_stream})
        writer = read(told.encode(), keep_thoughts=False)[1].writer(TICKET)
        stream = b"".join(map(writer.say, pieces)) + writer.end()
        deltas = [json.loads(each)["choices"][0]["delta"] for each in Events().feed(stream)[:-1]]
        calls = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
        assert len(calls) == chunks
        assert [call.get("id") for call in calls] == ["call_1"] + [None] * (chunks - 1)
        assert "".join(call["function"]["arguments"] for call in calls) == '{"a":1}'


def test_trap_7_what_only_openai_documents_is_understood_here_too() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    for choice in ("required", "none", "auto", {"type": "function", "function": {"name": "f"}}):
        assert asked(tools=tools, tool_choice=choice).tool_choice is not None
    schema = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
    assert asked(response_format=schema).format is not None
    assert asked(response_format={"type": "json_object"}).format is not None
    assert asked(messages=[{"role": "developer", "content": "x"}, *HI]).messages[0].role == "system"


@pytest.mark.parametrize("stream", [False, True])
def test_thoughts_that_were_declined_are_not_shown_though_the_engine_thinks_all_the_same(stream: bool) -> None:
    pieces = [Thinks("hm"), Said("a"), Ended("stop"), Counted(Usage(1, 2, reasoning_tokens=1))]
    for thinking, shown in ((None, True), ({"type": "enabled"}, True), ({"type": "disabled"}, False)):
        told = json.dumps({"model": "m", "messages": HI, "stream": stream, "thinking": thinking})
        voice = read(told.encode(), keep_thoughts=False)[1]
        writer = voice.writer(TICKET)
        said = b"".join(map(writer.say, pieces)) + writer.end() if stream else voice.whole(*gathered(pieces), TICKET)
        assert (b'"reasoning_content"' in said, b'"content":"a"' in said) == (shown, True)
        assert b'"reasoning_tokens":1' in said  # they were generated, and cost what they cost


@pytest.mark.parametrize(
    ("wanted", "language"),
    [
        ("", ""),
        ("*", ""),
        ("fr, *;q=0.5", ""),
        ("zh", "zh"),
        ("zh-Hans-CN", "zh"),
        ("en-US,en", "en"),
        ("en;q=0.1, zh;q=0.9", "zh"),
        ("zh;q=0.1, en;q=0.9", "en"),
        ("en;q=0.5, zh;q=0.5", "en"),
        ("fr, zh", "zh"),
        ("fr, zh;q=0.2, en;q=0.8", "en"),
        ("ZH ; Q=1.0", "zh"),
        ("fr", "en"),
        ("zhx", "en"),
        ("zh;q=0", "en"),
        ("en;q=0", ""),
        ("zh;q=0, *", "en"),
        ("en;q=x, zh", "zh"),
    ],
)
def test_the_language_is_what_the_caller_likes_best_of_what_is_spoken(wanted: str, language: str) -> None:
    assert language_of({b"accept-language": wanted.encode()} if wanted else {}) == language


def test_trap_20_null_is_absent_and_a_moment_is_a_request_id() -> None:
    names = "response_format thinking request_id user_id tools tool_choice stream do_sample meta extra stop n top_p"
    assert asked(**dict.fromkeys(names.split())) == asked()
    voice = read(json.dumps({"model": "m", "messages": HI, "request_id": 17.25}).encode(), keep_thoughts=False)[1]
    assert voice.request_id == "17.25"
    with pytest.raises(e.FieldInvalid) as refused:
        asked(request_id=["x"])
    assert refused.value.field == "request_id"


@pytest.mark.parametrize(
    ("thinking", "coding", "thinks", "keeps"),
    [
        (None, False, None, False),
        (None, True, None, True),
        ({"type": "enabled"}, True, True, True),
        ({"type": "disabled"}, False, False, False),
        ({"type": "enabled", "clear_thinking": False}, False, True, True),
        ({"clear_thinking": True}, True, None, False),
        ({"type": None, "clear_thinking": None}, True, None, True),
    ],
)
def test_thoughts_of_earlier_turns_are_kept_on_the_coding_base_and_where_it_is_asked(
    thinking: Any, coding: bool, thinks: bool | None, keeps: bool
) -> None:
    found = asked(coding, thinking=thinking)
    assert (found.thinking, found.keep_thoughts) == (thinks, keeps)


def test_a_thought_of_the_turn_that_runs_is_kept_in_any_case() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns = [
        *HI,
        {"role": "assistant", "content": "old", "reasoning_content": "before"},
        *HI,
        {"role": "assistant", "content": "", "reasoning_content": "now", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "42"},
    ]
    found = asked(messages=turns, thinking={"type": "enabled", "clear_thinking": True})
    said = json.loads(body(found, "m", 1, Manner()))["messages"]
    assert [each.get("reasoning_content") for each in said] == [None, None, None, "now", None]
    assert Thought("before") in asked(messages=turns).messages[1].parts


@pytest.mark.parametrize(
    ("told", "temperature", "top_p"),
    [
        ({}, None, None),
        ({"temperature": 0.01, "do_sample": False, "top_p": 0.5}, 0.0, None),
        ({"temperature": 0, "top_p": 0.9}, 0.0, None),
        ({"temperature": -1}, 0.0, None),
        ({"temperature": 1.7, "top_p": 0}, 1.0, 0.01),
        ({"temperature": 0.5, "top_p": 1.5, "do_sample": True}, 0.5, 1.0),
    ],
)
def test_sampling_is_moved_to_what_zhipu_has(told: dict[str, Any], temperature: object, top_p: object) -> None:
    found = asked(**told)
    assert (found.temperature, found.top_p) == (temperature, top_p)


def test_a_character_is_the_system_message() -> None:
    meta = {"user_info": "学生", "bot_info": "苏东坡", "bot_name": "苏轼", "user_name": "小明"}
    first, second = asked(meta=meta).messages
    assert first.role == "system"
    assert all(word in str(first.parts) for word in meta.values())
    assert second.parts == (Text("hi"),)


def test_code_with_a_gap_is_a_question() -> None:
    target = {"path": "a.py", "language": "Python", "code_prefix": "def f(", "code_suffix": "  return x"}
    extra = {"target": target, "contexts": [{"path": "b.py", "code": "y = 1"}]}
    told = {"model": "codegeex-4", "extra": extra}
    (message,) = read(json.dumps(told).encode(), keep_thoughts=False)[0].messages
    assert "def f(<|fill|>  return x" in str(message.parts[0])
    assert "y = 1" in str(message.parts[0])


@pytest.mark.parametrize("kind", ["mcp", "drawing_tool"])
def test_a_tool_that_this_server_does_not_run_is_refused_by_name(kind: str) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}, {"type": kind, kind: {}}]
    with pytest.raises(e.FieldInvalid) as refused:
        asked(tools=tools)
    assert refused.value.field == "tools[1].type"


def test_what_only_zhipu_knows_does_not_reach_an_engine_and_nothing_lifts_its_cap() -> None:
    own = {"sensitive_word_check": {"type": "ALL", "status": "DISABLE"}, "watermark_enabled": True, "n_cmpl": 9}
    found = asked(request_id="r", user_id="somebody", tool_stream=True, do_sample=True, lora=[1], **own)
    said = json.loads(body(found, "m", 7, Manner()))
    assert said == {"model": "m", "messages": HI, "max_tokens": 7, "user": "somebody"}
    with pytest.raises(e.FieldInvalid):
        asked(n=129)


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(words, inner)
)
NAMES = ["thinking", "meta", "extra", "tools", "stop", "messages", "request_id", "stream_options", "model"]


@given(anything)
def test_whatever_stands_in_a_member_is_read_or_refused(value: Any) -> None:
    for name in NAMES:
        told = msgspec.json.encode({"model": "m", "messages": HI, name: value})
        with contextlib.suppress(e.BadRequest):
            ZHIPU.ask("chat", told)
    for kind in ("embeddings", "rerank"):
        asks = {"model": "m", "query": value, "documents": value, "input": value}
        with contextlib.suppress(e.BadRequest):
            ZHIPU.ask(kind, msgspec.json.encode(asks))
