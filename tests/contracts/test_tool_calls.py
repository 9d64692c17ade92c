"""Calls that small models make in all but form, and the chat templates that stand in for wrong ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lone_engine import chats
from openmaas.engines.tools import find_call, may_call
from openmaas.engines.weights import catalogue, locate

WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
TURNS: list[dict[str, Any]] = [
    {"role": "user", "content": "Weather in Paris?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
        ],
    },
    {"role": "tool", "tool_call_id": "c", "content": '{"temp_c": 21}'},
]


@pytest.mark.parametrize(
    "said",
    [
        '{"name": "weather", "arguments": {"city": "Paris"}}',
        '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>',
        '```json\n{"name": "weather", "parameters": {"city": "Paris"}}\n```',
        '{{"name": "weather", "arguments": {"city": "Paris"}}}',
        '{{"name": "weather", "arguments": {"city": "Paris"}}}}',
        '<tool_call>\n{{"name": "weather", "arguments": {"city": "Paris"}}}\n</tool_call>',
        '\nweather\n{"city": "Paris"}',
    ],
)
def test_a_call_is_found_in_what_a_small_model_says(said: str) -> None:
    call = find_call(said, ("weather",), "req_0123456789abcdef", 0)
    assert call is not None
    assert call["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}


@pytest.mark.parametrize(
    "said",
    [
        "{{",
        "{{}}",
        '{{"name": "weather"}}',
        '{{"name": "other", "arguments": {}}}',
        '{{"name": "weather", "arguments": {}}} is how to call it }',
        '{"name": "weather", "arguments": {}}}',
        "{{" * 5_000 + "}}",
        "weather",
        'other\n{"city": "Paris"}',
        'weather\n{"city": "Paris"} it is',
        'Let me see.\nweather\n{"city": "Paris"}',
    ],
)
def test_what_is_no_call_stays_text(said: str) -> None:
    assert find_call(said, ("weather",), "req_0123456789abcdef", 0) is None


def test_an_answer_is_held_back_as_long_as_it_may_be_a_call() -> None:
    held = ("", "{", "``", "<tool", "we", "weather", 'weather\n{"city":')
    assert [may_call(text, ("weather",)) for text in held] == [True] * len(held)
    for text in ("weather is fine", "wet", "Let me see.\nweather\n{"):
        assert not may_call(text, ("weather",))


def prompt_tokens(tmp_path: Path, weights: Path, template: str) -> int:
    """How many tokens an engine with ``template`` makes of the turns above."""
    body = {"messages": TURNS, "tools": [WEATHER], "max_tokens": 1}
    (told,) = chats(tmp_path, weights, body, context=2048, template=template)
    return int(told["usage"]["prompt_tokens"])


def test_a_template_stands_in_for_the_one_of_the_weights(tmp_path: Path, smol_gguf: Path) -> None:
    own = prompt_tokens(tmp_path, smol_gguf, "")
    short = prompt_tokens(tmp_path, smol_gguf, "{{ messages[0]['content'] }}")
    assert short < 10 < own


@pytest.mark.parametrize("name", sorted({entry.template for entry in catalogue()} - {""}))
def test_every_template_of_the_catalogue_can_be_used(tmp_path: Path, smol_gguf: Path, name: str) -> None:
    entry = next(entry for entry in catalogue() if entry.template == name)
    (tmp_path / entry.name).mkdir()
    (tmp_path / entry.name / entry.file).touch()
    template = locate(entry.name, tmp_path).template
    assert '{{\\"name' not in template  # the fault that it is there to mend
    assert prompt_tokens(tmp_path, smol_gguf, template) > 100
