"""An agent's prompt has its callers' words in their places, as words: nothing that they say is read as a template."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmaas.catalog.agents import Agent, Variable
from openmaas.catalog.shipped import shipped
from openmaas.core import errors as e
from openmaas.core.bounds import AGENT_VALUE_LENGTH_MAX
from openmaas.dialects.zhipu.agents import Telling

words = st.text(max_size=20) | st.sampled_from(["{a}", "{value}", "{a.b}", "{", "}"])


def agent(prompt: str, *variables: Variable) -> Agent:
    """An agent with this prompt."""
    return Agent("x", "m", "", prompt, variables, {}, later=False, created_ms=0)


@given(words, words)
def test_values_stand_in_their_places_as_they_are(a: str, b: str) -> None:
    made = agent("<{a}|{a.b}|{other}>", Variable("a", default="d"), Variable("a.b"))
    values = {"a": a, "a.b": b}
    assert made.system(values, {}) == f"<{a}|{b}|{{other}}>"


@given(words.filter(bool))
def test_the_sentence_around_a_value_is_there_when_the_value_is(value: str) -> None:
    made = agent("[{a}]", Variable("a", said="say {value}."))
    assert made.system({"a": value}, {}) == f"[say {value}.]"
    assert made.system({"a": ""}, {}) == "[]"


def test_a_value_is_found_by_its_path_or_is_the_default() -> None:
    made = agent("", Variable("a.b.c", default="d"), Variable("n"))
    for told, found in (
        ({}, "d"),
        ({"a": None}, "d"),
        ({"a": {"b": {"c": None}}}, "d"),
        ({"a": {"b": {"c": "v"}}, "else": 1}, "v"),
    ):
        assert made.values(told)["a.b.c"] == found
    assert made.values({"n": 3})["n"] == "3"
    for wrong in ({"a": "x"}, {"a": {"b": {"c": ["v"]}}}, {"a": {"b": {"c": "x" * (AGENT_VALUE_LENGTH_MAX + 1)}}}):
        with pytest.raises(e.FieldInvalid) as refused:
            made.values(wrong)
        assert refused.value.field == "custom_variables.a.b.c"


def test_every_strategy_of_the_translator_gives_another_prompt_without_an_empty_place() -> None:
    translator = shipped("m", 0)["general_translation"]
    (strategy,) = [each for each in translator.variables if each.name == "strategy"]
    prompts = {translator.system(translator.values({"strategy": each}), {}) for each in strategy.words}
    assert len(prompts) == len(strategy.words) == 6
    assert not [each for each in prompts if "{" in each]


@given(st.lists(st.text(min_size=1, max_size=5), max_size=5), st.lists(st.integers(0, 3000), max_size=5))
def test_a_stream_says_the_same_however_it_is_cut_and_its_last_chunk_waits(said: list[str], at: list[int]) -> None:
    def chunk(delta: Any, **more: Any) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": more.pop("ends", None)}
        return {"id": "req_1", "choices": [choice], **more}

    chunks = [chunk({"role": "assistant", "reasoning_content": "hm"}), *(chunk({"content": each}) for each in said)]
    chunks.append(chunk({}, ends="stop", usage={"total_tokens": 1}))
    stream = b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in chunks) + b"data: [DONE]\n\n"
    cuts = sorted({0, len(stream), *(each % len(stream) for each in at)})
    telling = Telling("x")
    before = b"".join(telling.feed(stream[start:end]) for start, end in itertools.pairwise(cuts))
    assert (telling.text, telling.whole) == ("".join(said), True)
    *told, last, done = [each.removeprefix(b"data: ") for each in (before + telling.end(a="b")).split(b"\n\n")[:-1]]
    assert done == b"[DONE]"
    assert [json.loads(each)["choices"][0]["delta"]["content"]["text"] for each in told] == said
    assert (json.loads(last)["a"], json.loads(last)["status"]) == ("b", "success")
