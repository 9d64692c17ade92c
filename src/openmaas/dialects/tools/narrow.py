"""A tool's JSON schema as constrained decoders take it: what they refuse is dropped, what they mistake is said plainly.

What is left allows what the tool allows, or less where that helps (an object with ``properties`` and no word about
others has no others), or more where a keyword is dropped: a tool still checks what it is given. Measured on llama.cpp
(xllamacpp 2026.10): it answers 400 to boolean schemas, unknown types, empty enums, foreign, dangling and bare ``#``
references, broken patterns and integers beyond 64 bits; beside ``anyOf`` it forgets ``properties``; a ``pattern`` makes
it forget lengths; bounds of ``number`` it does not keep. xgrammar, as vLLM uses it, refuses ``multipleOf``,
``uniqueItems``, ``contains``, ``patternProperties``, ``propertyNames`` and formats that it does not know
(``vllm/v1/structured_output/backend_xgrammar.py``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from openmaas.core.bounds import TOOL_SCHEMA_DEPTH_MAX, TOOL_SCHEMA_PARTS_MAX
from openmaas.dialects.tools.typed import Schema, pointed

#: Keywords without an equal in the decoders; with them goes what only annotates (title, default, examples, x-…).
DROPPED = frozenset(
    (
        *("$schema", "$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$comment", "$vocabulary"),
        *("not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies"),
        *("patternProperties", "propertyNames", "minProperties", "maxProperties", "unevaluatedProperties"),
        *("unevaluatedItems", "additionalItems", "contains", "minContains", "maxContains", "uniqueItems"),
        *("multipleOf", "contentEncoding", "contentMediaType", "contentSchema"),
    )
)
#: Formats that both decoders enforce; others are any string.
FORMATS = frozenset(("date", "time", "date-time", "uuid"))
_TYPES = frozenset(("string", "number", "integer", "boolean", "array", "object", "null"))
_PATTERN = re.compile(r"\^(?:[^\\(]|\((?!\?)|\\[^\dbBkpP])*\$", re.DOTALL)
_LEAST, _MOST = -(2**63), 2**63 - 1  # what decoders count with
_OBJECT_ONLY = DROPPED | {"type", "properties", "required", "title", "description", "default", "examples"}


class Narrowed:
    """The schema of one tool, narrowed. ``defs`` has what its references point to, each once, named for ``prefix``."""

    def __init__(self, schema: Schema, prefix: str) -> None:
        self.defs: dict[str, Any] = {}
        self._root = schema
        self._prefix = prefix
        self._names: dict[str, str] = {}
        self._parts = 0
        self.schema: dict[str, Any] = self._narrow(schema) or {}

    def _narrow(self, schema: Any, depth: int = 0) -> dict[str, Any] | None:
        """A part of it; None for one that allows nothing."""
        if schema is False:
            return None
        self._parts += 1  # an allOf that holds itself would double for ever
        if not isinstance(schema, Mapping) or depth > TOOL_SCHEMA_DEPTH_MAX or self._parts > TOOL_SCHEMA_PARTS_MAX:
            return {}
        if isinstance(schema.get("$ref"), str):
            return self._refer(schema["$ref"], depth)
        if isinstance(schema.get("allOf"), list):
            return self._all(schema, schema["allOf"], depth)
        either = schema.get("anyOf") or schema.get("oneOf")
        if isinstance(either, list) and "properties" not in schema:
            parts = [part for part in (self._narrow(one, depth + 1) for one in either) if part is not None]
            if parts and all(parts):
                return {"anyOf": parts}
        return self._simple(schema, depth)

    def _refer(self, ref: str, depth: int) -> dict[str, Any] | None:
        passed = {ref}
        found = pointed(self._root, ref)
        while isinstance(found, Mapping) and isinstance(found.get("$ref"), str):
            ref = found["$ref"]
            if ref in passed:
                return {}
            passed.add(ref)
            found = pointed(self._root, ref)
        if not isinstance(found, Mapping):
            return None if found is False else {}
        if ref not in self._names:
            name = self._names[ref] = f"{self._prefix}-{len(self._names)}"
            self.defs[name] = {}  # keeps the order; what refers to itself finds the name
            self.defs[name] = self._narrow(found, depth + 1) or {}
        return {"$ref": f"#/$defs/{self._names[ref]}"}

    def _all(self, schema: Schema, parts: list[Any], depth: int) -> dict[str, Any] | None:
        """Objects are made one object; beside ``properties`` other parts are dropped; one part is itself."""
        whole = [self._followed(part) for part in parts]
        rest = {key: value for key, value in schema.items() if key != "allOf"}
        if all(isinstance(part, Mapping) and {*part} <= _OBJECT_ONLY and "properties" in part for part in [*whole]):
            members = [*whole, *([rest] if "properties" in rest else [])]
            required = [name for part in members for name in _names(part.get("required"))]
            properties: dict[str, Any] = {}
            for part in members:
                if isinstance(part["properties"], Mapping):
                    properties = {**part["properties"], **properties}
            return self._simple({"type": "object", "properties": properties, "required": required}, depth + 1)
        if "properties" in rest:
            return self._simple(rest, depth)
        narrowed = [self._narrow(part, depth + 1) for part in parts]
        if None in narrowed:
            return None
        telling = [part for part in narrowed if part]
        return {"allOf": telling} if len(telling) > 1 else telling[0] if telling else self._simple(rest, depth)

    def _followed(self, part: Any) -> Any:
        return pointed(self._root, part["$ref"]) if isinstance(part, Mapping) and _text(part.get("$ref")) else part

    def _simple(self, schema: Schema, depth: int) -> dict[str, Any]:
        if "const" in schema:
            return {"const": schema["const"]}
        if isinstance(schema.get("enum"), list) and schema["enum"]:
            return {"enum": [*schema["enum"]]}
        types = _types(schema)
        narrowed: dict[str, Any] = {}
        if types:
            narrowed["type"] = types[0] if len(types) == 1 else types
        if "object" in types:
            narrowed |= self._object(schema, depth)
        if "array" in types:
            narrowed |= self._array(schema, depth)
        if "string" in types:
            narrowed |= _string(schema)
        if "integer" in types or "number" in types:
            narrowed |= _bounds(schema, whole="number" not in types)
        return narrowed

    def _object(self, schema: Schema, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        members = schema.get("properties")
        if isinstance(members, Mapping):
            each = {name: self._narrow(one, depth + 1) for name, one in members.items()}
            found["properties"] = {name: one for name, one in each.items() if one is not None}
            found["required"] = [name for name in _names(schema.get("required")) if name in found["properties"]]
            found["additionalProperties"] = False
        others = schema.get("additionalProperties")
        if others is not None:
            narrowed = self._narrow(others, depth + 1)
            found["additionalProperties"] = False if narrowed is None else narrowed or True
        return found

    def _array(self, schema: Schema, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        first, items = schema.get("prefixItems"), schema.get("items")
        if isinstance(items, list):  # draft 4
            first, items = items, None
        if isinstance(first, list) and first:
            found["prefixItems"] = [self._narrow(one, depth + 1) or {} for one in first]
            if items is False:
                found["maxItems"] = len(first)
        elif isinstance(items, Mapping):
            found["items"] = self._narrow(items, depth + 1) or {}
        return {**_sizes(schema, "minItems", "maxItems"), **found}


def _types(schema: Schema) -> list[str]:
    said = schema.get("type")
    types = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    types = [kind for kind in types if isinstance(kind, str) and kind in _TYPES]
    if not types:
        types = ["object"] if "properties" in schema else ["array"] if "items" in schema else []
    if types and schema.get("nullable") is True and "null" not in types:
        types = [*types, "null"]
    return types


def _string(schema: Schema) -> dict[str, Any]:
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and _PATTERN.fullmatch(pattern) and _compiles(pattern):
        return {"pattern": pattern}
    form = schema.get("format")
    if isinstance(form, str) and form in FORMATS:
        return {"format": form}
    return _sizes(schema, "minLength", "maxLength")


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return False
    return True


def _sizes(schema: Schema, least: str, most: str) -> dict[str, int]:
    found = {name: schema[name] for name in (least, most) if type(schema.get(name)) is int and schema[name] >= 0}
    return {} if found.get(least, 0) > found.get(most, math.inf) else found


def _bounds(schema: Schema, *, whole: bool) -> dict[str, Any]:
    """``minimum`` and ``maximum``; of integers also what is exclusive, as draft 4 and later drafts spell it."""
    found: dict[str, Any] = {}
    for name, beyond, step in (("minimum", "exclusiveMinimum", 1), ("maximum", "exclusiveMaximum", -1)):
        bound, other = _number(schema.get(name)), _number(schema.get(beyond))
        other = bound if schema.get(beyond) is True else other
        if whole:
            each = [] if bound is None else [math.ceil(bound) if step > 0 else math.floor(bound)]
            each += [] if other is None else [(math.floor(other) if step > 0 else math.ceil(other)) + step]
            tightest = (max(each) if step > 0 else min(each)) if each else None
            if tightest is not None and _LEAST <= tightest <= _MOST:
                found[name] = tightest
        elif bound is not None:
            found[name] = bound
        elif other is not None:
            found[name] = other
    return {} if found.get("minimum", -math.inf) > found.get("maximum", math.inf) else found


def _number(value: Any) -> int | float | None:
    return value if type(value) in (int, float) and math.isfinite(value) else None


def _names(value: Any) -> list[str]:
    return [*dict.fromkeys(name for name in value if isinstance(name, str))] if isinstance(value, list) else []


def _text(value: Any) -> bool:
    return isinstance(value, str)
