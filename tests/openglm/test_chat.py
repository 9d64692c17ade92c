"""Conversations are written byte for byte as the published templates write them, and the relay reads them back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openglm.chat.known import family_of
from openglm.chat.render import FAMILIES, Family, lessons, render, template
from openmaas.dialects.pieces import Argued, Called, Said, Thought
from openmaas.dialects.tools.formats import Format, parser

PUBLISHED = json.loads((Path(__file__).parent / "published_chats.json").read_text())
THOUGHTS = PUBLISHED["cases"]["thoughts"]["messages"]
FORMS: dict[Family, Format] = {family: "glm" if family in ("glm-4.5", "glm-4.7") else "glm4" for family in FAMILIES}
#: What GLM-4-0414's template writes of system, user and assistant, written otherwise; line breaks after tags are lost.
OTHERWISE = """[gMASK]<sop>{% if tools %}<|system|>
# 可用工具
{% for tool in tools %}

## {{ tool.function.name }}

{{ tool.function | tojson(indent=4) }}
在调用上述函数时，请使用 Json 格式表示调用的参数。
{%- endfor %}
{%- endif %}
{%- for message in messages %}<|{{ message.role }}|>
{{ message.content }}{% endfor %}
{%- if add_generation_prompt %}<|assistant|>{% endif %}"""


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


@pytest.mark.parametrize("family", ["glm-4", "glm-4-0414"])
def test_glm_4_learns_a_call_as_a_name_and_a_line_of_json(family: Family) -> None:
    case = PUBLISHED["cases"]["two calls"]
    calls, answer = lessons(case["messages"], family, case["tools"])
    assert calls[0].text.endswith("<|user|>\nW?<|assistant|>")
    first = '<|assistant|>get_weather\n{"city": "北京", "days": [1, {"a": null}]}'
    assert calls[1].text == f"\nLet me see.\n{first}<|assistant|>now\n{{}}<|observation|>"
    assert answer[0].text.endswith("<|observation|>\n12:00<|assistant|>")
    assert answer[1].text == "\nIt is 20.<|user|>"


def test_glm_z1_learns_its_thought_and_sees_no_earlier_one() -> None:
    first, second = lessons(THOUGHTS, "glm-z1")
    assert first[1].text == "a</think>\nb<|user|>"
    assert second[0].text == "[gMASK]<sop><|user|>\nHi<|assistant|>\nb<|user|>\nc<|assistant|>\n<think>"
    assert second[1].text == "d</think>\ne<|user|>"
    ((before, said),) = lessons([THOUGHTS[0], {"role": "assistant", "content": "b"}], "glm-z1")
    assert before.text.endswith("<|assistant|>\n<think></think>")
    assert said.text == "\nb<|user|>"


def test_an_answer_that_the_template_leaves_out_is_no_lesson() -> None:
    empty = [THOUGHTS[0], {"role": "assistant", "content": ""}]
    with pytest.raises(ValueError, match="an answer is empty"):
        list(lessons(empty, "glm-4"))
    ((_, said),) = lessons(empty, "glm-4-0414")
    assert said.text == "\n<|user|>"


def test_a_template_is_known_by_what_it_writes() -> None:
    assert [family_of(template(family)) for family in FAMILIES] == list(FAMILIES)
    assert family_of(OTHERWISE) == "glm-4-0414"
    for other in (OTHERWISE.replace("Json", "JSON"), "", "{% if %}", "{{ messages.nothing.more }}", "{{ 1 / 0 }}"):
        assert family_of(other) is None


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
    family=st.sampled_from(list(FORMS)),
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
    reading = parser(FORMS[family], {"weather": schema}, lambda: "call_1")
    found = [*reading.feed(said.text.removesuffix("<|observation|>")), *reading.finish()]
    assert [piece.name for piece in found if isinstance(piece, Called)] == ["weather"]
    assert json.loads("".join(piece.text for piece in found if isinstance(piece, Argued))) == arguments


@pytest.mark.parametrize("family", ["glm-4", "glm-4-0414", "glm-z1"])
def test_words_and_calls_of_glm_4_are_told_apart_where_an_engine_shows_no_marks(family: Family) -> None:
    calls = [{"name": "weather", "arguments": {"city": "北\n京"}}, {"name": "now", "arguments": {}}]
    told = {"role": "assistant", "reasoning_content": "hm", "content": "Let me see.", "tool_calls": calls}
    ((_, said),) = lessons([{"role": "user", "content": "?"}, told], family)
    ids = iter(["call_1", "call_2"])
    reading = parser("glm4", {"weather": {}, "now": {}}, lambda: next(ids), thinking=family == "glm-z1")
    shown = said.text.removesuffix("<|observation|>").replace("<|assistant|>", "")
    found = [*reading.feed(shown), *reading.finish()]
    assert "".join(piece.text for piece in found if isinstance(piece, Said)).strip() == "Let me see."
    assert [piece.name for piece in found if isinstance(piece, Called)] == ["weather", "now"]
    assert [json.loads(piece.text) for piece in found if isinstance(piece, Argued)] == [{"city": "北\n京"}, {}]
    assert [piece.text for piece in found if isinstance(piece, Thought)] == (["hm"] if family == "glm-z1" else [])
