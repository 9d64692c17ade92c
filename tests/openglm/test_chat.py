"""Conversations are written byte for byte as the published templates write them, and the relay reads them back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openglm.chat.render import Family, lessons, render
from openmaas.dialects.pieces import Argued, Called
from openmaas.dialects.tools.formats import parser

PUBLISHED = json.loads((Path(__file__).parent / "published_chats.json").read_text())
THOUGHTS = PUBLISHED["cases"]["thoughts"]["messages"]


@pytest.mark.parametrize("told", PUBLISHED["renderings"], ids=lambda told: f"{told['family']} {told['case']}")
def test_a_conversation_is_written_as_by_the_published_template(told: dict[str, Any]) -> None:
    case = PUBLISHED["cases"][told["case"]]
    text = render(
        case["messages"],
        told["family"],
        tools=case["tools"],
        prompt=told["prompt"],
        thinking=told["thinking"],
        keep_thoughts=told["keep_thoughts"],
    )
    assert text == told["text"]


@pytest.mark.parametrize("family", ["glm-4.5", "glm-4.7"])
def test_only_what_the_assistant_says_is_learned_and_it_ends_by_handing_over(family: Family) -> None:
    case = PUBLISHED["cases"]["two calls"]
    calls, answer = lessons(case["messages"], family, case["tools"])
    assert [piece.learned for piece in calls] == [False, True]
    assert calls[1].text.endswith("</tool_call><|observation|>")
    assert answer[1].text.endswith("It is 20.<|user|>")
    assert "北京" in answer[0].text
    assert "北京" not in answer[1].text


def test_each_answer_is_learned_with_its_own_thought_and_without_those_of_earlier_turns() -> None:
    first, second = lessons(THOUGHTS, "glm-4.7")
    assert first[0].text + first[1].text == "[gMASK]<sop><|user|>Hi<|assistant|><think>a</think>b<|user|>"
    assert second[0].text == "[gMASK]<sop><|user|>Hi<|assistant|></think>b<|user|>c<|assistant|><think>"
    assert second[1].text == "d</think>e<|user|>"


def test_an_answer_without_weight_is_seen_and_not_learned() -> None:
    (only,) = lessons([*THOUGHTS[:1], {**THOUGHTS[1], "weight": 0}, *THOUGHTS[2:]], "glm-4.5")
    assert only[1].text == "\n<think>d</think>\ne<|user|>"


VALUES = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="<", exclude_categories=["Cs", "Cc"]), max_size=8).map(
        str.strip
    ),
    st.integers(-9, 9),
    st.booleans(),
    st.lists(st.integers(0, 9), max_size=3),
)


@given(
    arguments=st.dictionaries(st.from_regex(r"[a-z]{1,6}", fullmatch=True), VALUES, max_size=4),
    family=st.sampled_from(["glm-4.5", "glm-4.7"]),
)
def test_a_call_that_is_written_is_read_again(arguments: dict[str, Any], family: Family) -> None:
    messages = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "", "tool_calls": [{"name": "weather", "arguments": arguments}]},
    ]
    ((_, said),) = lessons(messages, family)
    kinds = {str: "string", int: "integer", bool: "boolean", list: "array"}
    schema = {
        "type": "object",
        "properties": {key: {"type": kinds[type(value)]} for key, value in arguments.items()},
    }
    reading = parser("glm", {"weather": schema}, lambda: "call_1")
    found = [*reading.feed(said.text.removesuffix("<|observation|>")), *reading.finish()]
    assert [piece.name for piece in found if isinstance(piece, Called)] == ["weather"]
    assert json.loads("".join(piece.text for piece in found if isinstance(piece, Argued))) == arguments
