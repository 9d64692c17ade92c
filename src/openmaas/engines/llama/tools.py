"""Tool calls that small models can keep: llama.cpp neither enforces a demanded call nor finds one in plain text.

A demanded call (``tool_choice`` required, or a named function) becomes a JSON schema that the sampler must follow. An
answer that is a call in all but form (bare JSON, a fenced block, ``<tool_call>``) is given the form.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from openmaas.core.errors import FieldInvalid

_FENCE = re.compile(r"\A\s*(?:```(?:json|xml)?\s*|<tool_call>\s*)?(\{.*\})\s*(?:```|</tool_call>)?\s*\Z", re.DOTALL)
#: How an answer begins that may be a call: it is held back until that is known.
OPENINGS = ("{", "```", "<tool_call>")
_members = msgspec.json.Decoder(dict[str, Any])


class ForcedTool(msgspec.Struct, frozen=True):
    """A demanded call; ``names`` are the functions it may be."""

    names: tuple[str, ...]


def forced_tool(members: dict[str, msgspec.Raw], tools: Any) -> ForcedTool | None:
    """Rewrite a request that demands a call into one that the sampler enforces. Raises ``FieldInvalid``."""
    raw = members.get("tool_choice")
    choice = None if raw is None else msgspec.json.decode(raw)
    if choice in (None, "auto", "none"):
        return None
    functions = [tool.get("function", {}) for tool in tools or [] if isinstance(tool, dict)]
    if isinstance(choice, dict):
        name = choice.get("function", {}).get("name")
        functions = [function for function in functions if function.get("name") == name]
    elif choice != "required":
        raise FieldInvalid("tool_choice must be auto, none, required or a function", field="tool_choice")
    if not functions:
        raise FieldInvalid("tool_choice demands a tool that tools does not have", field="tool_choice")
    shapes = [
        {
            "type": "object",
            "properties": {
                "name": {"const": function["name"]},
                "arguments": {"$ref": f"#/$defs/{number}"},
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for number, function in enumerate(functions)
    ]
    schema: dict[str, Any] = {
        **(shapes[0] if len(shapes) == 1 else {"anyOf": shapes}),
        "$defs": {
            str(number): _moved(function.get("parameters") or {"type": "object"}, f"#/$defs/{number}")
            for number, function in enumerate(functions)
        },
    }
    members.pop("tools", None)
    members.pop("tool_choice", None)
    members["response_format"] = msgspec.Raw(
        msgspec.json.encode({"type": "json_schema", "json_schema": {"name": "call", "schema": schema}})
    )
    messages = msgspec.json.decode(members.get("messages", b"[]"))
    told = "Answer by calling one of these functions, as JSON with name and arguments: "
    note = {"role": "system", "content": told + msgspec.json.encode(functions).decode()}
    members["messages"] = msgspec.Raw(msgspec.json.encode([note, *messages]))
    return ForcedTool(tuple(function["name"] for function in functions))


def _moved(schema: Any, place: str) -> Any:
    """``schema`` as it must be when its root stands at ``place``: its references to itself begin there."""
    if isinstance(schema, list):
        return [_moved(each, place) for each in schema]
    if not isinstance(schema, dict):
        return schema
    moved = {name: _moved(value, place) for name, value in schema.items()}
    target = schema.get("$ref")
    if isinstance(target, str) and target.startswith("#"):
        moved["$ref"] = place + target[1:]
    return moved


def _object(text: str) -> dict[str, Any] | None:
    """The JSON object that ``text`` is, also in doubled braces, as a template may have shown it.

    Their ends need not agree: ``{{"name": "f", "arguments": {}}}}`` is said as well.
    """
    try:
        if not text.startswith("{{"):
            return _members.decode(text)
        found, end = json.JSONDecoder().raw_decode(text, 1)
    except (ValueError, RecursionError):  # of which msgspec's errors are kinds
        return None
    return found if isinstance(found, dict) and not text[end:].strip("} \n") else None


def find_call(text: str, names: tuple[str, ...], request_id: str, index: int) -> dict[str, Any] | None:
    """The tool call that ``text`` is, or None when it is none of ``names``."""
    found = _FENCE.match(text)
    if found is None:
        return None
    call = _object(found.group(1))
    if call is None:
        return None
    arguments = call.get("arguments", call.get("parameters"))
    if call.get("name") not in names or not isinstance(arguments, dict):
        return None
    return {
        "id": f"call_{request_id[-12:]}_{index}",
        "type": "function",
        "function": {"name": call["name"], "arguments": msgspec.json.encode(arguments).decode()},
    }
