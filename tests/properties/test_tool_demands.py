"""A demanded call as a JSON schema, and the answer read back: what is asked for comes, or is said not to have come."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmaas.core.bounds import TOOL_CALLS_MAX, TOOL_SAID_MAX
from openmaas.core.errors import FieldInvalid
from openmaas.dialects.conversation import Conversation, Named, Tool
from openmaas.dialects.dialect import Manner
from openmaas.dialects.engine.heed import reader as reader_of
from openmaas.dialects.pieces import Called, Said, Thought
from openmaas.dialects.tools.demand import Allowed, Choice, demand, note, schema_of
from openmaas.dialects.tools.glm import Glm
from openmaas.dialects.tools.honour import Honour, compiled_reader
from openmaas.dialects.tools.narrow import DROPPED, Narrowed
from openmaas.dialects.tools.parsing import CallEnded, NotHonoured, Piece, joined
from tool_answers import tool

WEATHER = tool("weather", {"type": "object", "properties": {"city": {"type": "string"}}}, "Tells it.")
MAIL = tool("mail", {"properties": {"to": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "string"}}})
NOW = Tool("now")
ALL = (WEATHER, MAIL, NOW)


def read(text: str, choice: Choice, parallel: bool | None = None) -> list[Piece]:
    count = itertools.count()
    reader = compiled_reader(demand(ALL, choice, parallel), lambda: f"c{next(count)}")
    return joined([*reader.feed(text), *reader.finish()])


def say(name: str, **arguments: Any) -> str:
    return json.dumps({"name": name, "arguments": arguments})


# ── tool_choice ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("choice", "names", "forced"),
    [
        (None, {"weather", "mail", "now"}, False),
        ("auto", {"weather", "mail", "now"}, False),
        ("none", set(), False),
        ("required", {"weather", "mail", "now"}, True),
        (Named("now"), {"now"}, True),
        (Allowed("auto", ("now", "mail")), {"now", "mail"}, False),
        (Allowed("required", ("now", "mail")), {"now", "mail"}, True),
    ],
)
def test_every_choice_says_which_tools_and_whether_one_must_be_called(
    choice: Choice | None, names: set[str], forced: bool
) -> None:
    wanted = demand(ALL, choice)
    assert {*wanted.names} == names
    assert wanted.forced == forced


@pytest.mark.parametrize(
    ("tools", "choice"),
    [
        ((), "required"),
        (ALL, Named("stranger")),
        (ALL, Allowed("auto", ("now", "stranger"))),
        (ALL, Allowed("required", ())),
    ],
)
def test_a_choice_that_cannot_be_kept_is_refused_by_its_field(tools: tuple[Tool, ...], choice: Choice) -> None:
    with pytest.raises(FieldInvalid) as refused:
        demand(tools, choice)
    assert refused.value.field == "tool_choice"


# ── the schema ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_named_call_is_one_object_with_its_name_first() -> None:
    schema = schema_of(demand(ALL, Named("now")))
    assert [*schema["properties"]] == ["name", "arguments"]
    assert schema["properties"]["name"] == {"const": "now"}
    assert schema["properties"]["arguments"] == {
        "type": "object",
        "properties": {},
        "required": [],
        "additionalProperties": False,
    }


def test_a_required_call_is_any_of_them_and_a_list_only_when_several_were_allowed() -> None:
    assert len(schema_of(demand(ALL, "required"))["anyOf"]) == 3
    assert "anyOf" in schema_of(demand(ALL, "required", parallel=False))
    several = schema_of(demand(ALL, "required", parallel=True))
    assert (several["type"], several["minItems"], several["maxItems"]) == ("array", 1, TOOL_CALLS_MAX)


def test_what_references_point_to_is_hoisted_to_the_root_once() -> None:
    twice = tool("mail2", {"properties": {"a": {"$ref": "#/$defs/A"}, "b": {"$ref": "#/$defs/A"}}, **_defs()})
    schema = schema_of(demand((MAIL, twice), "required"))
    assert schema["$defs"] == {"0-0": {"type": "string"}, "1-0": {"type": "string"}}
    assert schema["anyOf"][1]["properties"]["arguments"]["properties"]["b"] == {"$ref": "#/$defs/1-0"}


def _defs() -> dict[str, Any]:
    return {"$defs": {"A": {"type": "string"}}}


def test_the_note_tells_what_the_schema_cannot() -> None:
    assert "Tells it." in note(demand(ALL, "required"))
    assert "list" in note(demand(ALL, "required", parallel=True))


@pytest.mark.parametrize(
    ("schema", "meant"),
    [
        ({"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 9.5}, {"minimum": 1, "maximum": 9}),
        ({"type": "integer", "minimum": 3, "exclusiveMinimum": True}, {"minimum": 4}),
        ({"type": "integer", "minimum": 1.5}, {"minimum": 2}),
        ({"type": "integer", "maximum": 1e300}, {}),
        ({"type": "integer", "minimum": 5, "maximum": 1}, {}),
        ({"type": "number", "exclusiveMinimum": 0}, {"minimum": 0}),
    ],
)
def test_bounds_are_said_as_every_decoder_takes_them(schema: dict[str, Any], meant: dict[str, Any]) -> None:
    assert Narrowed(schema, "0").schema == {"type": schema["type"], **meant}


@pytest.mark.parametrize(
    ("schema", "meant"),
    [
        (True, {}),
        ({"type": "any"}, {}),
        ({"type": ["string", "date"]}, {"type": "string"}),
        ({"type": "integer", "nullable": True}, {"type": ["integer", "null"]}),
        ({"enum": []}, {}),
        ({"const": 1, "type": "integer"}, {"const": 1}),
        ({"type": "string", "pattern": "^[a-c]+$", "maxLength": 3}, {"type": "string", "pattern": "^[a-c]+$"}),
        ({"type": "string", "pattern": "[a-c]", "maxLength": 3}, {"type": "string", "maxLength": 3}),
        ({"type": "string", "pattern": "^[a-c$"}, {"type": "string"}),
        ({"type": "string", "pattern": "^(?!x)a$"}, {"type": "string"}),
        ({"type": "string", "format": "uuid"}, {"type": "string", "format": "uuid"}),
        ({"type": "string", "format": "email"}, {"type": "string"}),
        ({"$ref": "http://example.com/x.json"}, {}),
        ({"$ref": "#/$defs/nowhere"}, {}),
        ({"$ref": "#/$defs/loop", "$defs": {"loop": {"$ref": "#/$defs/loop"}}}, {}),
        ({"oneOf": [{"type": "integer"}, {"type": "null"}]}, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        ({"anyOf": [{"type": "integer"}, {}], "type": "integer"}, {"type": "integer"}),
        ({"items": [{"type": "integer"}]}, {"type": "array", "prefixItems": [{"type": "integer"}]}),
        (
            {"prefixItems": [{"const": 1}], "items": False, "type": "array"},
            {"type": "array", "prefixItems": [{"const": 1}], "maxItems": 1},
        ),
        ({"type": "object"}, {"type": "object"}),
        (
            {"type": "object", "additionalProperties": {"type": "integer"}},
            {"type": "object", "additionalProperties": {"type": "integer"}},
        ),
    ],
)
def test_what_decoders_refuse_or_mistake_is_said_plainly(schema: Any, meant: dict[str, Any]) -> None:
    assert Narrowed(schema, "0").schema == meant


def test_an_object_keeps_its_properties_and_has_no_others_unless_it_says_so() -> None:
    members = {"a": {"type": "integer"}, "b": False, "c": True}
    told = Narrowed({"properties": members, "required": ["a", "z"], "anyOf": [{"required": ["a"]}]}, "0").schema
    kept = {"a": {"type": "integer"}, "c": {}}
    assert told == {"type": "object", "properties": kept, "required": ["a"], "additionalProperties": False}
    assert Narrowed({"properties": {}, "additionalProperties": True}, "0").schema["additionalProperties"] is True


def test_objects_of_an_all_of_become_one() -> None:
    base = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    more = {"properties": {"b": {"type": "string"}}}
    narrowed = Narrowed({"allOf": [{"$ref": "#/$defs/Base"}, more], "$defs": {"Base": base}}, "0")
    assert [*narrowed.schema["properties"]] == ["b", "a"]
    assert narrowed.schema["required"] == ["a"]


def test_conditions_beside_properties_do_not_take_the_properties_away() -> None:
    schema = {"properties": {"a": {"const": 1}}, "required": ["a"], "allOf": [{"if": {}, "then": {"required": ["a"]}}]}
    assert [*Narrowed(schema, "0").schema["properties"]] == ["a"]
    assert Narrowed({"type": "string", "allOf": [{"not": {}}]}, "0").schema == {"type": "string"}


def test_a_schema_that_refers_to_itself_ends() -> None:
    node = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}}
    narrowed = Narrowed(node, "0")
    reference = {"$ref": "#/$defs/0-0"}
    assert narrowed.schema["properties"]["next"]["anyOf"][0] == reference
    assert narrowed.defs["0-0"]["properties"]["next"]["anyOf"][0] == reference


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
keywords = st.sampled_from(
    [
        *sorted(DROPPED),
        *("type", "properties", "required", "additionalProperties", "items", "prefixItems", "enum", "const", "anyOf"),
        *(
            "oneOf",
            "allOf",
            "$ref",
            "$defs",
            "pattern",
            "format",
            "minimum",
            "exclusiveMaximum",
            "minItems",
            "nullable",
        ),
    ]
)
values = st.recursive(
    st.one_of(scalars, st.sampled_from(["object", "array", "string", "integer", "#", "#/$defs/a", "#/properties/a/0"])),
    lambda part: st.one_of(
        st.lists(part, max_size=3), st.dictionaries(st.one_of(keywords, st.just("a")), part, max_size=4)
    ),
    max_leaves=15,
)


@settings(max_examples=500, deadline=None)
@given(schema=st.dictionaries(keywords, values, max_size=5))
def test_any_schema_becomes_one_without_dropped_words_or_loose_ends(schema: dict[str, Any]) -> None:
    told = schema_of(demand((tool("f", schema),), "required"))
    names = {*told.get("$defs", {})}
    for part in _schemas(told):
        assert not {*part} & DROPPED
        assert "$ref" not in part or re.sub("^#/[$]defs/", "", part["$ref"]) in names


def _schemas(schema: Any) -> list[dict[str, Any]]:
    """A schema and all schemas inside it."""
    if not isinstance(schema, dict):
        return []
    inner = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values()]
    inner += [part for word in ("anyOf", "allOf", "prefixItems") for part in schema.get(word, [])]
    inner += [schema[word] for word in ("items", "additionalProperties") if word in schema]
    return [schema, *(found for part in inner for found in _schemas(part))]


# ── the answer ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_answer_to_the_schema_is_the_call() -> None:
    pieces = read(say("weather", city="Paris"), "required")
    assert [type(piece).__name__ for piece in pieces] == ["Called", "Argued", "CallEnded"]


def test_a_list_is_several_calls() -> None:
    text = f"[{say('weather', city='Paris')}, {say('now')}]"
    assert sum(isinstance(piece, CallEnded) for piece in read(text, "required", parallel=True)) == 2


@pytest.mark.parametrize(
    ("text", "choice", "parallel"),
    [
        ("It is sunny.", "required", None),
        ("", "required", None),
        ('{"name": "weather", "arguments": {"city": "Par', "required", None),
        (say("weather", city="Paris"), Named("now"), None),
        (say("weather", city="Paris"), Allowed("required", ("now",)), None),
        (f"[{say('now')}, {say('now')}]", "required", False),
    ],
)
def test_a_choice_that_was_not_honoured_is_said_last(text: str, choice: Choice, parallel: bool | None) -> None:
    pieces = read(text, choice, parallel)
    assert isinstance(pieces[-1], NotHonoured)
    assert pieces[-1].why
    assert not any(isinstance(piece, Said) for piece in pieces)


def test_what_came_instead_of_a_call_is_in_the_value() -> None:
    assert read("It is sunny.", "required") == [NotHonoured("the answer has no whole call", "It is sunny.")]


def test_without_a_forced_choice_an_answer_passes() -> None:
    assert read("It is sunny.", "auto") == [Said("It is sunny.")]


def test_an_engine_with_a_form_of_its_own_is_watched_as_well() -> None:
    wanted = demand(ALL, Named("now"))

    def heard(text: str) -> list[Piece]:
        watched = Honour(Glm(wanted.schemas(), lambda: "c"), wanted)
        return joined([*watched.feed(text), *watched.finish()])

    good = heard("I look.<tool_call>now</tool_call>")
    assert good[:2] == [Said("I look."), Called(0, "c", "now")]
    assert not isinstance(good[-1], NotHonoured)
    assert [type(piece) for piece in heard("<tool_call>mail</tool_call>")] == [NotHonoured]


def test_words_before_a_demanded_call_are_held_back_up_to_a_bound() -> None:
    reader = compiled_reader(demand(ALL, "required"), lambda: "c")
    assert reader.feed("a" * TOOL_SAID_MAX) == []
    assert reader.feed("b") == [Said("a" * TOOL_SAID_MAX + "b")]
    assert isinstance(reader.finish()[-1], NotHonoured)


@pytest.mark.parametrize(("calls", "written"), [("glm47", "<tool_call>now</tool_call>"), ("glmz1", "now\n{}")])
def test_where_the_prompt_opened_the_thought_an_answer_begins_inside(calls: str, written: str) -> None:
    reader = reader_of(Conversation(model="m", messages=(), tools=(NOW,)), Manner(calls=calls), lambda: "c")()
    found = joined([*reader.feed(f"Hm.</think>\n{written}"), *reader.finish()])
    assert found[0] == Thought("Hm.")
    assert [piece.name for piece in found if isinstance(piece, Called)] == ["now"]
    assert not any(isinstance(piece, Said) for piece in found)
