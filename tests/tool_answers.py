"""Answers as models write them, by format: from the published chat templates, and heard from engines here."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable
from typing import Any

import msgspec

from openmaas.dialects.conversation import Tool
from openmaas.dialects.pieces import Argued, Called, Said, Thought
from openmaas.dialects.tools.formats import Format, parser
from openmaas.dialects.tools.parsing import CallEnded, Malformed, Parser, Piece, joined

SCHEMAS: dict[str, dict[str, Any]] = {
    "get_weather": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "units": {"enum": ["c", "f"]},
            "at": {"$ref": "#/$defs/Place"},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        },
        "$defs": {"Place": {"type": "object", "properties": {"lat": {"type": "number"}}}},
    },
    "write_file": {"type": "object", "properties": {"path": {"type": "string"}, "content": {"type": "string"}}},
    "now": {"type": "object", "properties": {}},
}

FORMATS: tuple[Format, ...] = ("glm", "hermes", "json", "glm4")

ANSWERS: dict[Format, list[str]] = {
    "glm": [
        "\n<think>call it</think>\n<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n"
        "<arg_key>days</arg_key>\n<arg_value>2</arg_value>\n</tool_call>",
        "\n<think></think>\nHello",
        "</think>Two calls.<tool_call>get_weather<arg_key>city</arg_key><arg_value>北京</arg_value></tool_call>"
        "<tool_call>now</tool_call>",
        "<think>\nA file.\n</think>\nI write it.\n<tool_call>write_file\n<arg_key>path</arg_key>\n<arg_value>a.py"
        '</arg_value>\n<arg_key>content</arg_key>\n<arg_value>def f():\n    return "<tool_call>"\n</arg_value>\n'
        "</tool_call>\nDone.",
        '<tool_call>get_weather\n<arg_key>at</arg_key>\n<arg_value>{"lat": 48.8}</arg_value>\n<arg_key>note</arg_key>\n'
        "<arg_value>null</arg_value>\n<arg_key>units</arg_key>\n<arg_value>c</arg_value>\n</tool_call>",
    ],
    "hermes": [
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris", "days": 2}}\n</tool_call>',
        '<think>\n\n</think>\n\nLet me look.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n'
        '</tool_call>\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>',
        '<tool_call>\n{{"name": "get_weather", "arguments": {"city": "Paris"}}}\n</tool_call>',
        '<tool_call>\n{"arguments": {"path": "a", "content": "say \\"}\\" and </tool_call>"}, "name": "write_file"}',
    ],
    "json": [
        '{"name": "get_weather", "parameters": {"city": "Paris"}}',
        '{"name": "now", "parameters": {}}; {"name": "get_weather", "parameters": {"city": "Oslo"}}',
        '```json\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n```',
        'I call:\n\n```json\n[\n  {"name": "get_weather", "arguments": {"city": "Rome"}},\n  {"name": "now", '
        '"arguments": {}}\n]\n```\nThat is all.',
        '{"type": "function", "name": "write_file", "arguments": "{\\"path\\": \\"a\\"}"}',
        'As JSON:\n{"city": "Paris", "name": "get_weather"}\nNo call.',
    ],
    "glm4": [
        'get_weather\n{"city": "Paris", "days": 2}',
        'Let me see.\nget_weather\n{"city": "北京"}\nThere it is.',
        'now\n{}\nwrite_file\n{"path": "a", "content": "}\\n{"}',
        "get_weather is the tool for that.",
    ],
}


def tool(name: str, parameters: dict[str, Any], description: str = "") -> Tool:
    """A tool as a dialect reads it."""
    return Tool(name, description, msgspec.Raw(msgspec.json.encode(parameters)))


def fresh(form: Format, *, thinking: bool = False) -> Parser:
    """A parser that numbers its calls."""
    count = itertools.count()
    return parser(form, SCHEMAS, lambda: f"call_{next(count)}", thinking=thinking)


def parsed(form: Format, parts: Iterable[str], *, thinking: bool = False) -> list[Piece]:
    """What an answer that comes in ``parts`` turns out to be."""
    reading = fresh(form, thinking=thinking)
    pieces = [piece for part in parts for piece in reading.feed(part)]
    return joined([*pieces, *reading.finish()])


def calls_of(pieces: list[Piece]) -> list[tuple[str, Any]]:
    """Names and arguments of the calls that are whole. Fails when pieces are out of order."""
    names: dict[int, str] = {}
    arguments: dict[int, str] = {}
    calls: list[tuple[str, Any]] = []
    running: int | None = None
    for piece in pieces:
        match piece:
            case Called():
                assert running is None
                assert piece.index == len(names)
                running, names[piece.index] = piece.index, piece.name
            case Argued():
                assert piece.index == running
                arguments[piece.index] = arguments.get(piece.index, "") + piece.text
            case CallEnded():
                assert piece.index == running
                calls.append((names[piece.index], json.loads(arguments[piece.index])))
                running = None
            case Malformed() if running is not None:
                assert piece.index == running
                running = None
            case Said() | Thought():
                assert running is None
    assert running is None, "a call that neither ended nor broke"
    return calls


def told(pieces: list[Piece]) -> str:
    """All text that was given out, in order."""
    parts: list[str] = []
    for piece in pieces:
        match piece:
            case Said() | Thought() | Malformed() | Argued():
                parts.append(piece.text)
            case Called():
                parts.append(piece.name)
    return "\0".join(parts)


def words(text: str) -> list[str]:
    """The words of ``text`` that tests put there."""
    return re.findall(r"w\d+w", text)
