"""What is found for a chat stands in its question and beside its answer, and nothing else of either changes."""

from __future__ import annotations

import itertools
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmaas.core import errors as e
from openmaas.core.bounds import FOUND_LENGTH_MAX, SEARCHED_LENGTH_MAX
from openmaas.core.clock import Clock
from openmaas.dialects.dialect import COMPOSED
from openmaas.dialects.engine.hear import Events
from openmaas.dialects.zhipu.composed import (
    SEARCH_PROMPT,
    Composed,
    Telling,
    beside,
    filled,
    known_to_model,
    results_of,
    shown_to_model,
)
from openmaas.dialects.zhipu.dialect import Zhipu

ZHIPU = Zhipu(Clock(), keep_thoughts=False)
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
words = st.text(max_size=20)
messages = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": words}), max_size=4
)


def search(**told: Any) -> dict[str, Any]:
    """The tool, as a caller sends it."""
    return {"type": "web_search", "web_search": told}


def bodied(told: list[dict[str, Any]], tools: list[Any], **more: Any) -> bytes:
    """A request."""
    return json.dumps({"model": "m", "messages": told, "tools": tools, **more}).encode()


@given(messages, st.text(min_size=1, max_size=20).filter(str.strip), messages, words)
def test_only_the_last_question_changes(
    before: list[dict[str, Any]], question: str, after: list[dict[str, Any]], found: str
) -> None:
    later = [each for each in after if each["role"] != "user"]
    sent = [*before, {"role": "user", "content": question}, *later]
    asked = Composed(bodied(sent, [search(), FUNCTION], temperature=0.5, seed=2**60))
    assert asked.question == question
    told = json.loads(asked.body((SEARCH_PROMPT, {"search_result": found})))
    changed = told["messages"].pop(len(before))
    assert changed["content"].endswith(question)
    assert found in changed["content"]
    assert told["messages"] == before + later
    assert {name: told[name] for name in ("model", "tools", "temperature", "seed")} == {
        "model": "m",
        "tools": [FUNCTION],
        "temperature": 0.5,
        "seed": 2**60,
    }
    assert ZHIPU.ask("chat", json.dumps({**told, "messages": sent}).encode()).kind == "chat"


def test_a_picture_stays_beside_the_question() -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://a/b.png"}}
    asked = Composed(bodied([{"role": "user", "content": [picture, {"type": "text", "text": "who?"}]}], [search()]))
    (message,) = json.loads(asked.body(("{question} {search_result}", {"search_result": "found"})))["messages"]
    assert message["content"] == [{"type": "text", "text": "who? found"}, picture]


def test_what_was_searched_and_what_was_retrieved_stand_in_one_question() -> None:
    template = "K {{knowledge}} {{question}}"
    retrieval = {"type": "retrieval", "retrieval": {"knowledge_id": "kb", "prompt_template": template}}
    asked = Composed(bodied([{"role": "user", "content": "q"}], [search(), retrieval]))
    assert asked.retrieval is not None
    findings = ("S {search_result} {knowledge}", {"search_result": "s"}), (template, {"knowledge": "k"})
    (message,) = json.loads(asked.body(*findings))["messages"]
    assert message["content"] == "K k S s {knowledge}\n\nq"


@given(words, words, st.sampled_from(["{%s}", "{{%s}}"]))
def test_a_template_has_its_values_in_their_places_and_what_has_no_place_follows(a: str, b: str, form: str) -> None:
    both = f"x {form % 'search_result'} y {form % 'question'} z"
    assert filled(both, {"search_result": a, "question": b}) == f"x {a} y {b} z"
    assert filled("x", {"search_result": a, "question": b}) == f"x\n\n{a}\n\n{b}"
    assert filled("{a} {}{{b}}", {}) == "{a} {}{{b}}"


def test_values_are_not_read_as_templates() -> None:
    assert filled("{search_result}/{question}", {"search_result": "{question}", "question": "q"}) == "{question}/q"


@pytest.mark.parametrize(
    ("tools", "composed"),
    [
        ([FUNCTION], False),
        ([search()], True),
        ([search(enable="True", count="5", search_result="True")], True),
        ([{"type": "web_search"}], True),
        ([search(enable=False), FUNCTION], False),
        ([search(enable="False")], False),
        ([{"type": "retrieval", "retrieval": {"knowledge_id": "kb"}}], True),
    ],
)
def test_a_chat_is_composed_when_a_search_is_not_switched_off(tools: list[Any], composed: bool) -> None:
    asked = ZHIPU.ask("chat", bodied([{"role": "user", "content": "hi"}], tools, tool_choice="auto"))
    assert asked.kind == (COMPOSED if composed else "chat")


@pytest.mark.parametrize(
    ("told", "field"),
    [
        (bodied([{"role": "user", "content": "hi"}], [search(), search()]), "tools[1]"),
        (bodied([{"role": "user", "content": "hi"}], [search(result_sequence="between")]), None),
        (bodied([{"role": "user", "content": "hi"}], [search(count="many")]), None),
        (bodied([{"role": "user", "content": "hi"}], [{"type": "retrieval"}]), "tools[0].retrieval.knowledge_id"),
        (bodied([{"role": "system", "content": "hi"}], [search()]), "messages"),
        (bodied([{"role": "user", "content": " "}], [search()]), "messages"),
        (bodied([{"role": "user", "content": {"a": 1}}], [search()]), "messages"),
        (json.dumps({"model": "m", "tools": [search()]}).encode(), "messages"),
    ],
)
def test_what_cannot_be_searched_for_is_refused_by_its_field(told: bytes, field: str | None) -> None:
    with pytest.raises(e.FieldInvalid) as refused:
        Composed(told)
    assert field in (None, refused.value.field)
    assert refused.value.field


def test_a_search_is_told_what_its_caller_wants_and_no_more() -> None:
    wish = {"search_engine": "search_pro", "count": "5", "content_size": "high", "search_prompt": "p", "enable": True}
    asked = Composed(bodied([{"role": "user", "content": "q" * 100}], [search(**wish)], user_id="u"))
    assert asked.search is not None
    assert json.loads(asked.search.body(asked.question, asked.user_id)) == {
        "search_engine": "search_pro",
        "search_query": "q" * SEARCHED_LENGTH_MAX,
        "count": 5,
        "content_size": "high",
        "user_id": "u",
    }
    plain = Composed(bodied([{"role": "user", "content": "q"}], [search(search_query="mine")]))
    assert plain.search is not None
    assert json.loads(plain.search.body("q", None)) == {"search_engine": "search_std", "search_query": "mine"}


def test_what_is_found_is_cut_between_two_results() -> None:
    hits = [{"title": f"t{at}", "link": "l", "content": "x" * 30_000, "refer": f"ref_{at}"} for at in range(9)]
    text = shown_to_model(results_of(json.dumps({"search_result": hits}).encode()))
    assert len(text) <= FOUND_LENGTH_MAX
    assert [f"[ref_{at}]" in text for at in range(9)] == [True] * 3 + [False] * 6
    assert shown_to_model(results_of(b'{"search_result": null}')) == known_to_model([])
    assert known_to_model([("a.txt", "y" * 60_000), ("b.txt", "y" * 60_000)]).count("y") == 60_000
    for wrong in (b"[]", b'{"search_result": 1}', b"<html>"):
        with pytest.raises(e.EngineFailed):
            results_of(wrong)


@given(st.lists(words, max_size=5), st.booleans(), st.lists(st.integers(0, 2000), max_size=5))
def test_a_stream_has_what_was_found_once_and_is_else_the_same_however_it_is_cut(
    said: list[str], first: bool, at: list[int]
) -> None:
    chunks: list[Any] = [{"choices": [{"delta": {"content": each + '"usage":{'}}]} for each in said]
    chunks.append({"choices": [], "usage": {"total_tokens": 3}})
    encoded = [msgspec.json.encode(each) for each in chunks]
    stream = b"".join(b"data: %b\n\n" % each for each in [*encoded, b"[DONE]"])
    found = msgspec.Raw(b'[{"title":"t"}]')
    telling, events = Telling(found, first=first), Events()
    cuts = sorted({0, len(stream), *(each % len(stream) for each in at)})
    blocks = [stream[start:end] for start, end in itertools.pairwise(cuts)]
    told = [data for block in blocks for data in events.feed(telling.feed(block))]
    assert told.pop() == b"[DONE]"
    place = 0 if first else len(chunks) - 1
    assert [json.loads(each) for each in told] == [
        each | ({"web_search": [{"title": "t"}]} if number == place else {}) for number, each in enumerate(chunks)
    ]


def test_a_whole_answer_has_what_was_found_beside_it() -> None:
    assert json.loads(beside(b'{"id":"1"}', msgspec.Raw(b"[]"))) == {"id": "1", "web_search": []}
