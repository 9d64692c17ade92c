"""A demanded call, compiled to a schema, asked of the real embedded engine: it comes, whatever the question was."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from installation import Installation
from openmaas.dialects.conversation import Named, Tool
from openmaas.dialects.tools.demand import Allowed, Choice, Demand, demand, note, schema_of
from openmaas.dialects.tools.honour import compiled_reader
from openmaas.dialects.tools.parsing import NotHonoured, Piece, joined
from tool_answers import calls_of, tool

TOOLS = (
    tool(
        "get_weather",
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 20},
                "days": {"type": "integer", "exclusiveMinimum": 0, "maximum": 14},
            },
            "required": ["city", "days"],
        },
        "The weather of a city",
    ),
    tool(
        "send_mail",
        {
            "type": "object",
            "properties": {"to": {"$ref": "#/$defs/Address"}},
            "required": ["to"],
            "$defs": {"Address": {"type": "object", "properties": {"at": {"type": "string", "maxLength": 20}}}},
        },
        "Send an e-mail",
    ),
    Tool("get_time", "The time now"),
)
#: What an engine refuses or mistakes when it is told as it is.
HARD: dict[str, Any] = {
    "properties": {
        "anything": True,
        "nothing": False,
        "odd": {"type": "date"},
        "none": {"enum": []},
        "far": {"$ref": "https://example.com/schema.json"},
        "lost": {"$ref": "#/$defs/lost"},
        "broken": {"type": "string", "pattern": "^[a$", "maxLength": 3},
        "huge": {"type": "integer", "minimum": -1e300, "maximum": 1e300},
        "self": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
        "pair": {"type": "array", "items": [{"type": "boolean"}]},
        "even": {"type": "integer", "multipleOf": 2, "not": {"const": 0}, "minimum": 1, "maximum": 9},
    },
    "required": ["even"],
    "anyOf": [{"required": ["even"]}, {"required": ["odd"]}],
    "dependentRequired": {"even": ["odd"]},
}


def answer(smol: Installation, question: str, system: str, schema: dict[str, Any], tokens: int) -> tuple[int, Any]:
    body = {
        "model": "smollm2-135m",
        "messages": [{"role": "system", "content": system}, {"role": "user", "content": question}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "call", "schema": schema}},
        "max_tokens": tokens,
        "temperature": 0,
    }
    status, _, said = smol.ask("POST", "/v1/chat/completions", body)
    return status, json.loads(said)


def asked(smol: Installation, question: str, wanted: Demand) -> list[Piece]:
    status, told = answer(smol, question, note(wanted), schema_of(wanted), 200)
    assert status == 200, told
    count = itertools.count()
    reader = compiled_reader(wanted, lambda: f"call_{next(count)}")
    return joined([*reader.feed(told["choices"][0]["message"]["content"]), *reader.finish()])


@pytest.mark.parametrize("question", ["What is the weather in Paris?", "Tell me a joke.", "现在几点?"])
@pytest.mark.parametrize("choice", ["required", Named("get_time"), Allowed("required", ("get_weather", "send_mail"))])
def test_a_demanded_call_comes(smol: Installation, question: str, choice: Choice) -> None:
    wanted = demand(TOOLS, choice)
    pieces = asked(smol, question, wanted)
    ((name, arguments),) = calls_of(pieces)
    assert name in wanted.names
    assert not any(isinstance(piece, NotHonoured) for piece in pieces)
    if name == "get_weather":
        assert 0 < arguments["days"] <= 14
    if name == "get_time":
        assert arguments == {}


def test_several_calls_may_come_when_they_are_allowed(smol: Installation) -> None:
    wanted = demand(TOOLS, Named("get_weather"), parallel=True)
    assert calls_of(asked(smol, "The weather in Paris and in Rome?", wanted))


@pytest.mark.parametrize("member", sorted(HARD["properties"]))
def test_a_schema_that_the_engine_might_refuse_is_narrowed_until_it_does_not(smol: Installation, member: str) -> None:
    hard = {**HARD, "properties": {"even": HARD["properties"]["even"], member: HARD["properties"][member]}}
    wanted = demand((tool("hard", hard),), "required")
    status, told = answer(smol, "Call it.", note(wanted), schema_of(wanted), 8)
    assert status == 200, told


@pytest.mark.parametrize("member", ["anything", "odd", "none", "far", "lost", "broken", "huge"])
def test_the_engine_refuses_the_same_schema_as_it_came(smol: Installation, member: str) -> None:
    # When one of these passes, the engine has learnt something, and narrow.py may forget a rule.
    schema = {"type": "object", "properties": {member: HARD["properties"][member]}}
    status, _ = answer(smol, "Call it.", "", schema, 8)
    assert status == 400


def test_a_schema_with_definitions_can_be_demanded_in_every_dialect(smol: Installation) -> None:
    """As pydantic writes them for a model within a model."""
    schema = {
        "type": "object",
        "properties": {"to": {"$ref": "#/$defs/Address"}},
        "required": ["to"],
        "$defs": {"Address": {"type": "object", "properties": {"city": {"enum": ["Rome"]}}, "required": ["city"]}},
    }
    hi, function = [{"role": "user", "content": "Send it."}], {"name": "send", "parameters": schema}
    again = {"type": "function", "function": {**function, "name": "send_again"}}
    chat = {"messages": hi, "tools": [{"type": "function", "function": function}, again], "tool_choice": "required"}
    tools = {"tools": [{"name": "send", "input_schema": schema}], "tool_choice": {"type": "any"}}
    asked: dict[str, dict[str, Any]] = {
        "/v1/chat/completions": chat,
        "/api/paas/v4/chat/completions": chat,
        "/api/anthropic/v1/messages": {"messages": hi, "max_tokens": 80, **tools},
        "/v1/responses": {"input": "Send it.", "tools": [{"type": "function", **function}], "tool_choice": "required"},
    }
    for path, fields in asked.items():
        status, _, told = smol.ask("POST", path, {"model": "smollm2-135m", "temperature": 0, **fields})
        assert status == 200, told
        assert b"Rome" in told
        assert b'"send' in told
