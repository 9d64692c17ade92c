"""Calls in a model's text: any split gives the same, nothing is lost, nothing raises, what was rendered comes back."""

from __future__ import annotations

import json
import random
import re
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmaas.core.bounds import TOOL_NAME_MAX, TOOL_SPACE_MAX, TOOL_VALUE_MAX
from openmaas.dialects.pieces import Argued, Called, Said, Thought
from openmaas.dialects.tools.formats import Format
from openmaas.dialects.tools.parsing import CallEnded, Malformed
from tool_answers import ANSWERS, FORMATS, SCHEMAS, calls_of, fresh, parsed, told, words

EVERY = pytest.mark.parametrize("form", FORMATS)
TOKENS = (
    *("<think>", "</think>", "<tool_call>", "</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
    *("get_weather", "now", "write_file", "city", "days", "content", "\n", "\n\n", " ", "```", "```json\n", "<", "</"),
    *('{"name": "now", "arguments": {}}', '{"name": "', '"', '", "arguments": {"city": "', '"}}', "{", "}", "[", "]"),
    *(",", ":", ";", "\\", '"parameters": ', "{{", "2", "null", "是", "\u3000"),
)
junk = st.lists(st.one_of(st.sampled_from(TOKENS), st.integers(0, 99).map("w{}w".format)), max_size=25).map("".join)
cuts = st.lists(st.integers(0, 400), max_size=12)


def split(text: str, places: list[int]) -> list[str]:
    ends = sorted({place % (len(text) + 1) for place in places})
    return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]


# ── any text ──────────────────────────────────────────────────────────────────────────────────────────────────────


@EVERY
@settings(max_examples=400, deadline=None)
@given(text=junk, places=cuts, thinking=st.booleans())
def test_any_split_gives_the_same_pieces(form: Format, text: str, places: list[int], thinking: bool) -> None:
    whole = parsed(form, [text], thinking=thinking)
    assert parsed(form, split(text, places), thinking=thinking) == whole
    assert parsed(form, text, thinking=thinking) == whole  # character by character


@EVERY
@settings(max_examples=400, deadline=None)
@given(text=junk)
def test_every_word_is_given_out_once_and_in_order(form: Format, text: str) -> None:
    number = iter(range(10_000))
    text = re.sub(r"w\d+w", lambda _: f"w{next(number)}w", text)
    pieces = parsed(form, [text])
    calls_of(pieces)  # in order, and each call ends or breaks
    assert words(told(pieces)) == words(text)


@EVERY
@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=200), places=cuts)
def test_an_answer_without_a_call_passes_letter_by_letter(form: Format, text: str, places: list[int]) -> None:
    text = text.replace("<", "")
    assert parsed(form, split(text, places)) == ([Said(text)] if text else [])


@EVERY
def test_thousands_of_damaged_answers_lose_nothing_and_raise_nothing(form: Format) -> None:
    chance = random.Random(7)
    for _ in range(2_000):
        text = chance.choice(ANSWERS[form])
        for _ in range(chance.randint(1, 4)):
            start = chance.randrange(len(text))
            end = min(len(text), start + chance.randint(1, 12))
            other = chance.choice(ANSWERS[chance.choice(FORMATS)])
            place = chance.randrange(len(other))
            text = chance.choice(
                (
                    text[:start] + text[end:] or " ",
                    text[:start] + text[start:end] * 2 + text[end:],
                    text[:start] + other[place : place + 20] + text[start:],
                    text[:end] or " ",
                    text[:start] + chance.choice(TOKENS) + text[end:] or " ",
                )
            )
        whole = parsed(form, [text])
        calls_of(whole)
        assert parsed(form, split(text, [chance.randrange(400) for _ in range(5)])) == whole, text
        said = told(whole)
        for word in re.findall(r"Paris|Oslo|Rome|Hello|return|look|file|北京|There|That|path|lat", text):
            assert word in said, (word, text)


# ── what was rendered comes back ──────────────────────────────────────────────────────────────────────────────────

strings = st.text(max_size=20).filter(lambda text: "</arg_value>" not in text)
arguments = st.fixed_dictionaries(
    {"city": strings},
    optional={
        "days": st.integers(),
        "at": st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False, allow_infinity=False), max_size=2),
        "note": st.none(),
        "content": st.lists(st.one_of(st.booleans(), strings), max_size=2),
    },
)
call: st.SearchStrategy[tuple[str, dict[str, Any]]] = st.one_of(
    st.tuples(st.just("get_weather"), arguments), st.just(("now", {}))
)


def rendered(form: Format, calls: list[tuple[str, dict[str, Any]]]) -> str:
    """The calls as the model's chat template writes them."""
    match form:
        case "glm":
            return "".join(
                f"\n<tool_call>{name}\n"
                + "".join(
                    f"<arg_key>{key}</arg_key>\n<arg_value>"
                    f"{value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}</arg_value>\n"
                    for key, value in given_.items()
                )
                + "</tool_call>"
                for name, given_ in calls
            )
        case "hermes":
            return "".join(
                f"\n<tool_call>\n{json.dumps({'name': name, 'arguments': given_})}\n</tool_call>"
                for name, given_ in calls
            )
        case "json":
            said = [json.dumps({"name": name, "parameters": given_}, ensure_ascii=False) for name, given_ in calls]
            return "\n" + (said[0] if len(said) == 1 else f"[{', '.join(said)}]")
        case "glm4":
            return "".join(f"\n{name}\n{json.dumps(given_)}" for name, given_ in calls)


@EVERY
@settings(max_examples=150, deadline=None)
@given(calls=st.lists(call, min_size=1, max_size=3), before=st.sampled_from(["", "I look:"]), places=cuts)
def test_what_a_template_writes_is_read_back(
    form: Format, calls: list[tuple[str, dict[str, Any]]], before: str, places: list[int]
) -> None:
    pieces = parsed(form, split(before + rendered(form, calls), places))
    assert calls_of(pieces) == calls
    assert [piece for piece in pieces if isinstance(piece, Said)] == ([Said(before)] if before else [])
    assert not any(isinstance(piece, Malformed) for piece in pieces)


# ── worked examples ───────────────────────────────────────────────────────────────────────────────────────────────


def test_glm_4_6_thinks_and_calls_with_typed_arguments() -> None:
    assert parsed("glm", [ANSWERS["glm"][0]]) == [
        Thought("call it"),
        Called(0, "call_0", "get_weather"),
        Argued(0, '{"city": "Paris", "days": 2}'),
        CallEnded(0),
    ]


def test_glm_4_7_begins_inside_its_thought_and_needs_no_newlines() -> None:
    text = "I call.</think><tool_call>now</tool_call>"
    pieces = parsed("glm", [text], thinking=True)
    assert pieces == [Thought("I call."), Called(0, "call_0", "now"), Argued(0, "{}"), CallEnded(0)]


@pytest.mark.parametrize(
    ("key", "raw", "meant"),
    [
        ("city", "2", "2"),
        ("city", '"quoted"', '"quoted"'),
        ("city", " spaced\n", " spaced\n"),
        ("days", " 2\n", 2),
        ("days", "two", "two"),
        ("note", "null", None),
        ("note", "2", "2"),
        ("units", "c", "c"),
        ("at", '{"lat": 1e3}', {"lat": 1000.0}),
        ("stranger", "true", True),
        ("stranger", "plain", "plain"),
    ],
)
def test_the_schema_says_whether_an_argument_is_text(key: str, raw: str, meant: Any) -> None:
    text = f"<tool_call>get_weather\n<arg_key>{key}</arg_key>\n<arg_value>{raw}</arg_value>\n</tool_call>"
    assert calls_of(parsed("glm", [text])) == [("get_weather", {key: meant})]


@EVERY
def test_published_answers_are_read_whole(form: Format) -> None:
    for text in ANSWERS[form]:
        pieces = parsed(form, [text])
        assert not any(isinstance(piece, Malformed) for piece in pieces), pieces
        mentioned = sum(text.count(mark) for mark in ("<tool_call>g", "<tool_call>n", "<tool_call>w"))
        assert form != "glm" or len(calls_of(pieces)) == mentioned
    heard = [len(calls_of(parsed(form, [text]))) for text in ANSWERS[form]]
    expected = {"glm": [1, 0, 2, 1, 1], "hermes": [1, 2, 1, 1], "json": [1, 2, 1, 2, 1, 0], "glm4": [1, 1, 2, 0]}
    assert heard == expected[form]


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("glm", "Put <tool_call> around it."),
        ("glm", "<tool_call></tool_call>"),
        ("hermes", "Put <tool_call> around it."),
        ("json", '{"name": "stranger", "arguments": {}}'),
        ("json", '{"name": "now"}'),
        ("json", 'In a line {"name": "now", "arguments": {}}'),
        ("json", '{"answer": 42}'),
        ("json", "[1, 2]"),
        ("json", "```python\nprint(1)\n```"),
        ("glm4", "now is the time"),
        ("glm4", "stranger\n{}"),
    ],
)
def test_what_only_looks_like_a_call_is_text(form: Format, text: str) -> None:
    assert parsed(form, [text]) == [Said(text)]


@pytest.mark.parametrize(
    ("form", "text", "index"),
    [
        ("glm", "<tool_call>now<arg_key>a</arg_key>", 0),
        ("glm", "<tool_call>get_weather<arg_key>city</arg_key><arg_value>Pa", 0),
        ("glm", "<tool_call>now<arg_key>a</arg_key>oops</tool_call>", 0),
        ("hermes", '<tool_call>{"name": "now", "arguments": {"a": ', 0),
        ("hermes", '<tool_call>{"name": "now", "arguments": {a: 1}}</tool_call>', 0),
        ("hermes", '<tool_call>{"nam": "now"}</tool_call>', None),
        ("json", '{"name": "now", "arguments": {"a": ', 0),
        ("json", '[{"name": "now", "arguments": {}}, {"name": "stranger"}]', None),
        ("glm4", 'now\n{"a": ', 0),
    ],
)
def test_a_broken_call_says_so_and_which_it_breaks(form: Format, text: str, index: int | None) -> None:
    (broken,) = [piece for piece in parsed(form, [text]) if isinstance(piece, Malformed)]
    assert broken.index == index
    assert broken.why


def test_a_call_after_a_broken_one_is_read() -> None:
    pieces = parsed("glm", ["<tool_call>now<arg_key>a</arg_key>oops</tool_call>\n<tool_call>now</tool_call>"])
    assert calls_of(pieces) == [("now", {})]


# ── what is held back, and how long ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("form", ["glm", "hermes"])
def test_only_half_a_tag_is_held_back(form: Format) -> None:
    reading = fresh(form)
    assert reading.feed("a <tool") == [Said("a")]
    assert reading.feed("box> b") == [Said(" <toolbox> b")]


def test_a_long_string_is_passed_on_while_it_grows() -> None:
    reading = fresh("glm")
    reading.feed("<tool_call>write_file\n<arg_key>content</arg_key>\n<arg_value>")
    assert reading.feed('one "line"\n') == [Argued(0, 'one \\"line\\"\\n')]


def test_json_arguments_are_passed_on_once_the_name_is_known() -> None:
    reading = fresh("hermes")
    assert reading.feed('<tool_call>{"name": "now", "arguments": {"a') == [Called(0, "call_0", "now"), Argued(0, '{"a')]
    assert reading.feed('": 1') == [Argued(0, '": 1')]


def test_json_that_is_no_call_is_let_go_at_its_first_foreign_key() -> None:
    assert fresh("json").feed('{"answer":') == [Said('{"answer":')]


def test_a_model_that_runs_on_into_blank_lines_is_not_waited_for() -> None:
    reading = fresh("glm")
    reading.feed("a")
    assert reading.feed("\n" * (TOOL_SPACE_MAX + 1)) == [Said("\n" * (TOOL_SPACE_MAX + 1))]
    assert reading.feed("\n") == [Said("\n")]


def test_what_is_held_back_has_a_bound() -> None:
    assert parsed("glm", ["<tool_call>" + "a" * (TOOL_NAME_MAX + 1)])[0] == Said(
        "<tool_call>" + "a" * (TOOL_NAME_MAX + 1)
    )
    digits = "1" * (TOOL_VALUE_MAX + 1)
    reading = fresh("glm")
    reading.feed("<tool_call>get_weather<arg_key>days</arg_key><arg_value>")
    assert reading.feed(digits) == [Malformed(digits, "an argument is too long", 0)]
    said = fresh("hermes").feed('<tool_call>{"arguments": {"a": "' + digits)
    assert any(isinstance(piece, Malformed) for piece in said)


@EVERY
@pytest.mark.parametrize(
    "part", ["\n", "{", "[", "<tool_call>", '{"name": "now", "arguments": {', "<arg_key>", "now\n", "```\n"]
)
def test_a_hostile_answer_costs_time_in_proportion(form: Format, part: str) -> None:
    since = time.process_time()
    parsed(form, [part * (200_000 // len(part))])
    assert time.process_time() - since < 5  # 0.1 s here; by the square it would be minutes


def test_a_tag_in_the_middle_of_a_thought_is_a_word_and_at_the_beginning_of_a_line_a_call() -> None:
    assert parsed("glm", ["<think>say <tool_call> now</think>yes"]) == [Thought("say <tool_call> now"), Said("yes")]
    assert calls_of(parsed("glm", ["<think>I call\n<tool_call>now</tool_call>"])) == [("now", {})]


def test_every_schema_of_these_tests_is_used() -> None:
    assert {name for texts in ANSWERS.values() for name in SCHEMAS if any(name in text for text in texts)} == {*SCHEMAS}
