"""What a caller demands of an answer's calls: ``tool_choice``, ``parallel_tool_calls`` and the tools, as one value; and
the JSON schema that forces such a call out of an engine whose ``tool_choice`` cannot be trusted.

The schema goes to the engine as ``response_format: json_schema`` in place of tools and tool_choice, ``note`` into the
system message; ``honour.py`` reads what comes back. https://platform.openai.com/docs/guides/function-calling
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from openmaas.core.bounds import TOOL_CALLS_MAX
from openmaas.core.errors import FieldInvalid
from openmaas.dialects.conversation import Allowed, Named, Tool
from openmaas.dialects.tools.narrow import Narrowed
from openmaas.dialects.tools.typed import Schema, Schemas

_NOTHING: Schema = {"properties": {}}


Choice = Literal["auto", "none", "required"] | Named | Allowed


class Demand(msgspec.Struct, frozen=True):
    """``tools`` may be called. ``forced``: one must be. ``many``: whether more than one may be (None: nobody said)."""

    tools: tuple[Tool, ...]
    forced: bool = False
    many: bool | None = None

    @property
    def names(self) -> frozenset[str]:
        """The names of the tools."""
        return frozenset(tool.name for tool in self.tools)

    def schemas(self) -> Schemas:
        """What the parsers need to know."""
        return {tool.name: parameters(tool) for tool in self.tools}


def parameters(tool: Tool) -> Schema | None:
    """A tool's schema, decoded; None when it takes nothing. What is no object says nothing, and allows any object."""
    schema = None if tool.parameters is None else msgspec.json.decode(tool.parameters)
    return schema if schema is None or isinstance(schema, dict) else {}


def demand(tools: tuple[Tool, ...], choice: Choice | None, parallel: bool | None = None) -> Demand:
    """What ``choice`` makes of ``tools``. Raises ``FieldInvalid`` for one that cannot be kept."""
    if choice == "none":
        return Demand(())
    names: tuple[str, ...] = tuple(tool.name for tool in tools)
    if isinstance(choice, Named):
        names = (choice.name,)
    elif isinstance(choice, Allowed):
        names = choice.names
    strangers = {*names} - {tool.name for tool in tools}
    forced = isinstance(choice, Named) or choice == "required"
    forced = forced or (isinstance(choice, Allowed) and choice.mode == "required")
    if strangers or (forced and not names):
        said = f" ({sorted(strangers)[0]})" if strangers else ""
        raise FieldInvalid(f"tool_choice demands a tool that tools does not have{said}", field="tool_choice")
    chosen = {tool.name: tool for tool in tools if tool.name in names}  # a name that is there twice is one tool
    return Demand(tuple(chosen.values()), forced, parallel)


def schema_of(wanted: Demand) -> dict[str, Any]:
    """The JSON schema that forces what is wanted: one call as ``{"name", "arguments"}``, or, where several were allowed
    in so many words, a list of up to ``TOOL_CALLS_MAX``. Small models fill a list, so nobody's silence makes one."""
    assert wanted.forced
    shapes: list[dict[str, Any]] = []
    defs: dict[str, Any] = {}
    for number, tool in enumerate(wanted.tools):
        given = parameters(tool)
        narrowed = Narrowed(_NOTHING if given is None else {"type": "object", **given}, str(number))
        defs |= narrowed.defs
        shapes.append(
            {
                "type": "object",
                "properties": {"name": {"const": tool.name}, "arguments": narrowed.schema},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    call = shapes[0] if len(shapes) == 1 else {"anyOf": shapes}
    schema: dict[str, Any] = call
    if wanted.many:
        schema = {"type": "array", "items": call, "minItems": 1, "maxItems": TOOL_CALLS_MAX}
    return {**schema, "$defs": defs} if defs else schema


def note(wanted: Demand) -> str:
    """What the system message must say, because the engine is not told of the tools: a schema binds, and explains
    nothing."""
    told = [{"name": t.name, "description": t.description, "parameters": parameters(t) or {}} for t in wanted.tools]
    form = "as a JSON list of calls with name and arguments" if wanted.many else "as JSON with name and arguments"
    return f"Answer by calling one of these functions, {form}: {msgspec.json.encode(told).decode()}"
