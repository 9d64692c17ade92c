"""Tool calls that small models can keep: the engines neither enforce a demanded call nor find one in plain text.

A demanded call (``tool_choice`` required, or a named function) becomes a JSON schema that the sampler must follow. An
answer that is a call in all but form (bare JSON, a fenced block, ``<tool_call>``, GLM-4's name and JSON) is given the
form.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from openmaas.core.errors import FieldInvalid

_FENCE = re.compile(r"\A\s*(?:```(?:json|xml)?\s*|<tool_call>\s*)?(\{.*\})\s*(?:```|</tool_call>)?\s*\Z", re.DOTALL)
_OPENINGS = ("{", "```", "<tool_call>")
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


def writes_names(template: str) -> bool:
    """Whether a model of this chat template calls as GLM-4 does: a name on a line, JSON on the next, no mark."""
    return "<|observation|>" in template and "<tool_call>" not in template


def forbid(members: dict[str, msgspec.Raw]) -> None:
    """Without the tools when no call is wanted: a small model calls what it sees, whatever it was told."""
    if msgspec.json.decode(members.get("tool_choice", b"null")) == "none":
        members.pop("tools", None)
        members.pop("tool_choice")


def tell_template(members: dict[str, msgspec.Raw], **told: Any) -> None:
    """Tell the chat template more than the caller did, or other than that. Raises ``FieldInvalid``."""
    kwargs = msgspec.json.decode(members.get("chat_template_kwargs", b"{}"))
    if not isinstance(kwargs, dict):
        raise FieldInvalid("chat_template_kwargs must be an object", field="chat_template_kwargs")
    members["chat_template_kwargs"] = msgspec.Raw(msgspec.json.encode({**kwargs, **told}))


def may_call(text: str, names: tuple[str, ...]) -> bool:
    """Whether an answer that begins so may be a call: it is held back until that is known."""
    openings = (*_OPENINGS, *(f"{name}\n" for name in names))
    return any(text.startswith(opening) or opening.startswith(text) for opening in openings)


def find_call(text: str, names: tuple[str, ...], request_id: str, index: int) -> dict[str, Any] | None:
    """The tool call that ``text`` is, or None when it is none of ``names``."""
    name, line, rest = text.strip().partition("\n")
    if line and name in names:
        call: dict[str, Any] | None = {"name": name, "arguments": _object(rest)}
    elif found := _FENCE.match(text):
        call = _object(found.group(1))
    else:
        return None
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
