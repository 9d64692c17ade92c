"""What the text of an argument means. GLM writes strings raw and all else as JSON, so that ``2`` may be either: the
tool's schema decides. Without one, what is JSON is taken for JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from openmaas.core.bounds import TOOL_SCHEMA_DEPTH_MAX
from openmaas.dialects.tools.pen import SPACE

#: A JSON schema, decoded; ``True`` and ``{}`` allow anything.
Schema = Mapping[str, Any]
#: The parameters of each tool by its name; None for a tool that takes nothing.
Schemas = Mapping[str, Schema | None]
STRING = frozenset({"string"})
_NAMES: dict[type, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
    type(None): "null",
}


def kinds(schema: Any, root: Schema) -> frozenset[str]:
    """The JSON types that ``schema`` allows, empty when it does not say. ``root`` is what its ``$ref`` points into."""
    return _kinds(schema, root, {}, 0)


def _kinds(schema: Any, root: Schema, known: dict[str, frozenset[str]], depth: int) -> frozenset[str]:
    if not isinstance(schema, Mapping) or depth > TOOL_SCHEMA_DEPTH_MAX:
        return frozenset()
    said = schema.get("type")
    many = said if isinstance(said, list) else []
    found = {said} if isinstance(said, str) else {kind for kind in many if isinstance(kind, str)}
    if not found and isinstance(schema.get("enum"), list):
        found = {_NAMES[type(value)] for value in schema["enum"]}
    if not found and "const" in schema:
        found = {_NAMES[type(schema["const"])]}
    if not found and "properties" in schema:
        found = {"object"}
    if not found and "items" in schema:
        found = {"array"}
    ref = schema.get("$ref")
    if not found and isinstance(ref, str):
        if ref not in known:
            known[ref] = frozenset()  # for what refers to itself
            known[ref] = _kinds(pointed(root, ref), root, known, depth + 1)
        return known[ref]
    for word in () if found else ("anyOf", "oneOf", "allOf"):
        parts = schema.get(word)
        each = [_kinds(part, root, known, depth + 1) for part in parts] if isinstance(parts, list) else []
        if word == "allOf":
            each = [part for part in each if part]  # what says nothing takes nothing away
        if each and all(each):
            found |= set().union(*each)
    if found and schema.get("nullable") is True:
        found.add("null")
    return frozenset(found)


def pointed(root: Any, ref: str) -> Any:
    """What a local ``$ref`` points to (RFC 6901), or None."""
    if ref != "#" and not ref.startswith("#/"):
        return None
    for part in ref.split("/")[1:]:
        token = part.replace("~1", "/").replace("~0", "~")
        if isinstance(root, Mapping) and token in root:
            root = root[token]
        elif isinstance(root, list) and token.isdecimal() and int(token) < len(root):
            root = root[int(token)]
        else:
            return None
    return root


def as_json(text: str, allowed: frozenset[str]) -> str:
    """The argument ``text`` as JSON, given the types that are ``allowed`` for it (empty: not known)."""
    if allowed == STRING:
        return quoted(text)
    try:
        value = msgspec.json.decode(text)
    except (ValueError, RecursionError):  # of which msgspec's errors are kinds
        return quoted(text)
    kind = _NAMES[type(value)]
    if "string" in allowed and kind not in allowed - STRING and not (kind == "integer" and "number" in allowed):
        return quoted(text)
    return text.strip(SPACE)


def quoted(text: str) -> str:
    """``text`` as a JSON string."""
    return json.dumps(text, ensure_ascii=False)


def inside(text: str) -> str:
    """A part of a JSON string, without its quotes."""
    return quoted(text)[1:-1]


def is_object(text: str) -> bool:
    """Whether ``text`` is one JSON object."""
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except (ValueError, RecursionError):
        return False
