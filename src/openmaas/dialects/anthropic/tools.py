"""Tools of the Anthropic wire: those that a request declares, what its conversation adds and takes away, which to call.

Tools that are the caller's own (``custom``) become tools of a conversation. What only Anthropic's servers run is
refused by name, but for the search among tools, which does nothing: all that are declared are offered anyhow.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from openmaas.core.errors import FieldInvalid
from openmaas.dialects.conversation import Json, Named, Tool

_NULL = msgspec.Raw(b"null")
_HARMLESS = ("tool_search_tool_",)
_CHOICES: dict[str, Literal["auto", "none", "required"]] = {"auto": "auto", "any": "required", "none": "none"}


class Declared(msgspec.Struct):
    """An entry of ``tools``."""

    type: str | None = None
    name: str = ""
    description: str | None = None
    input_schema: Json = _NULL
    strict: bool | None = None


class Change(msgspec.Struct):
    """What a ``tool_addition`` or ``tool_removal`` speaks of: a tool by its name, or defined on the spot."""

    type: str
    name: str = ""
    definition: Declared | None = None


class Choice(msgspec.Struct):
    """``tool_choice``."""

    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


def offered(declared: Iterable[Declared], changes: Iterable[tuple[str, Change, str]]) -> tuple[Tool, ...]:
    """The tools that the model has now. ``changes`` are the kind, the change and the place of each, in their order.
    Raises ``FieldInvalid``."""
    found = {tool.name: tool for at, told in enumerate(declared) if (tool := _tool(told, f"tools.{at}"))}
    gone: set[str] = set()
    for kind, change, where in changes:
        name = change.definition.name if change.definition else change.name
        if kind == "tool_removal":
            gone.add(name)
            continue
        gone.discard(name)
        if change.definition is not None and (tool := _tool(change.definition, f"{where}.tool.definition")):
            found[name] = tool
    return tuple(tool for name, tool in found.items() if name not in gone)


def _tool(told: Declared, where: str) -> Tool | None:
    if told.type in (None, "custom"):
        if not told.name:
            raise FieldInvalid(f"{where}.name: it is required", field=f"{where}.name")
        schema = None if told.input_schema == _NULL else told.input_schema
        return Tool(told.name, told.description or "", schema, told.strict)
    if (told.type or "").startswith(_HARMLESS):
        return None
    said = f"{where}.type: {told.type!r} is a tool of Anthropic's own and not offered here; declare one of type custom"
    raise FieldInvalid(said, field=f"{where}.type")


def chosen(choice: Choice | None) -> Literal["auto", "none", "required"] | Named | None:
    """Which to call. Raises ``FieldInvalid``."""
    if choice is None:
        return None
    if choice.type == "tool":
        if not choice.name:
            raise FieldInvalid("tool_choice.name: it is required", field="tool_choice.name")
        return Named(choice.name)
    if choice.type not in _CHOICES:
        raise FieldInvalid("tool_choice.type: it must be auto, any, tool or none", field="tool_choice.type")
    return _CHOICES[choice.type]
