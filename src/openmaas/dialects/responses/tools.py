"""Tools of the Responses wire: what they are to an engine, and back.

An engine knows functions. A custom tool, which takes text, becomes a function with one string; the tools of a namespace
become functions that bear its name. Kinds that a coding tool declares whether they are there or not are left out, for
it works without them; any other kind runs on OpenAI's servers and is refused by name.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from openmaas.core.errors import FieldInvalid
from openmaas.dialects.conversation import Json, Named, Tool

_encode = msgspec.json.Encoder().encode
_NULL = msgspec.Raw(b"null")
#: Declared by codex and left out.
LEFT_OUT = frozenset({"tool_search", "web_search", "web_search_preview", "local_shell"})
_TEXT_IN = msgspec.Raw(
    b'{"type":"object","properties":{"input":{"type":"string"}},"required":["input"],"additionalProperties":false}'
)


class Grammar(msgspec.Struct):
    """What the text of a custom tool must be."""

    type: str = "text"
    syntax: str | None = None
    definition: str | None = None


class Declared(msgspec.Struct):
    """Any declared tool: the members of those that are read."""

    type: str
    name: str | None = None
    description: str | None = None
    parameters: Json = _NULL
    strict: bool | None = None
    format: Grammar | None = None
    tools: list[Declared] | None = None


class Chosen(msgspec.Struct):
    """A ``tool_choice`` that is more than a word."""

    type: str
    name: str | None = None
    namespace: str | None = None
    mode: str | None = None
    tools: list[Chosen] | None = None


class Names(msgspec.Struct, frozen=True):
    """How what an engine calls is named to the caller: which names are ``custom`` tools, and which belong to a
    namespace, as (namespace, name)."""

    custom: frozenset[str] = frozenset()
    spaced: dict[str, tuple[str, str]] = {}


def flat_name(namespace: str | None, name: str) -> str:
    """The one name that an engine has for a tool of a namespace."""
    if not namespace:
        return name
    return f"{namespace}{name}" if namespace.endswith("__") else f"{namespace}__{name}"


def custom_arguments(text: str) -> str:
    """A custom tool's text as the arguments of its function."""
    return _encode({"input": text}).decode()


def custom_input(arguments: str) -> str:
    """And back; arguments that are no such object are taken for the text itself."""
    try:
        return msgspec.json.decode(arguments, type=dict[str, str])["input"]
    except (msgspec.MsgspecError, KeyError):
        return arguments


def declared(told: list[Declared]) -> tuple[tuple[Tool, ...], Names]:
    """The functions that an engine is told of. Raises ``FieldInvalid`` that names the kind."""
    tools: list[Tool] = []
    custom: set[str] = set()
    spaced: dict[str, tuple[str, str]] = {}
    for at, tool in enumerate(told):
        space = tool.name if tool.type == "namespace" else None
        for each, where in _spread(tool, f"tools[{at}]"):
            if each.type in LEFT_OUT:
                continue
            if each.type not in ("function", "custom"):
                said = f"{where}.type {each.type!r} is not offered here; declare a function or a custom tool"
                raise FieldInvalid(said, field=f"{where}.type")
            if not each.name:
                raise FieldInvalid(f"{where}.name is required", field=f"{where}.name")
            name = flat_name(space, each.name)
            if space:
                spaced[name] = space, each.name
            if each.type == "custom":
                custom.add(name)
            tools.append(_custom(name, each) if each.type == "custom" else _function(name, each))
    return tuple(tools), Names(frozenset(custom), spaced)


def _spread(tool: Declared, where: str) -> list[tuple[Declared, str]]:
    if tool.type != "namespace":
        return [(tool, where)]
    return [(each, f"{where}.tools[{at}]") for at, each in enumerate(tool.tools or ())]


def _function(name: str, tool: Declared) -> Tool:
    parameters = None if tool.parameters == _NULL else tool.parameters
    return Tool(name, tool.description or "", parameters, tool.strict)


def _custom(name: str, tool: Declared) -> Tool:
    said = tool.description or ""
    if tool.format is not None and tool.format.definition:
        said += f"\n\n`input` must follow this {tool.format.syntax or ''} grammar:\n{tool.format.definition}"
    return Tool(name, said.strip(), _TEXT_IN)


Choice = Literal["auto", "none", "required"] | Named | None


def chosen(choice: str | Chosen | None, tools: tuple[Tool, ...]) -> tuple[tuple[Tool, ...], Choice]:
    """The tools that may be called, and how they are to be. Raises ``FieldInvalid``."""
    if choice is None or isinstance(choice, str):
        if choice not in (None, "auto", "none", "required"):
            raise FieldInvalid("tool_choice must be auto, none, required or an object", field="tool_choice")
        if choice == "required":
            _callable(tools)
        return tools, choice  # type: ignore[return-value]  # one of the three, or None
    if choice.type == "allowed_tools":
        allowed = {flat_name(each.namespace, each.name or "") for each in choice.tools or ()}
        if choice.mode not in (None, "auto", "required"):
            raise FieldInvalid("tool_choice.mode must be auto or required", field="tool_choice.mode")
        left = tuple(tool for tool in tools if tool.name in allowed)
        if choice.mode == "required":
            _callable(left)
        return left, ("required" if choice.mode == "required" else "auto")
    if choice.type not in ("function", "custom"):
        said = f"tool_choice.type {choice.type!r} is not offered here"
        raise FieldInvalid(said, field="tool_choice.type")
    name = flat_name(choice.namespace, choice.name or "")
    if name not in {tool.name for tool in tools}:
        raise FieldInvalid(f"tool_choice names {name!r}, which is not among the tools", field="tool_choice.name")
    return tools, Named(name)


def _callable(tools: tuple[Tool, ...]) -> None:
    """A forced choice never fails silently: what was left out of the tools cannot be called."""
    if not tools:
        said = "tool_choice demands a call, and none of the tools can be called here; declare a function"
        raise FieldInvalid(said, field="tool_choice")


def echoed(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tools as an answer lists them: a function has all its members."""
    filled = {"strict": None, "parameters": None}
    return [filled | tool if tool.get("type") == "function" else tool for tool in told]
