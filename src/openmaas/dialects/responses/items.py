"""Items of the Responses wire as messages of a conversation.

Items stand one after the other; a conversation has turns. What the model thought, said and called up to the next result
or question is one turn. An item that cannot be said to an engine is refused by its type: leaving it out would change
what was asked. https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

import msgspec

from openmaas.core.errors import FieldInvalid
from openmaas.dialects.conversation import Call, Json, Media, Message, Part, Result, Role, Text, Thought
from openmaas.dialects.dialect import Signet
from openmaas.dialects.responses.tools import custom_arguments, flat_name

#: What a thought is sealed for.
PURPOSE = "reasoning"
_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
#: Traces of tools that ran on somebody else's servers: they say nothing that the conversation does not say itself.
_TRACES = frozenset({"web_search_call", "tool_search_call", "tool_search_output", "compaction_trigger"})
_WORDS = frozenset({"input_text", "output_text", "text", "refusal", "summary_text", "reasoning_text"})
_LATER = "send the item itself; a reference is not looked up here"


class _Sound(msgspec.Struct):
    data: str
    format: str = "wav"


class _Address(msgspec.Struct):
    url: str


class Piece(msgspec.Struct):
    """Any part of an item's content."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | _Address | None = None
    detail: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    file_id: str | None = None
    input_audio: _Sound | None = None


Content = str | list[Piece] | None


class Item(msgspec.Struct):
    """Any item: the members of all of those that are read."""

    type: str | None = None
    role: str | None = None
    content: Content = None
    summary: list[Piece] | None = None
    encrypted_content: str | None = None
    call_id: str | None = None
    namespace: str | None = None
    name: str | None = None
    arguments: Json = msgspec.Raw(b'""')
    input: str | None = None
    output: Content = None


def messages(items: list[Item], signet: Signet) -> list[Message]:
    """The turns that ``items`` make. Raises ``FieldInvalid`` that names the item."""
    found: list[Message] = []
    for at, item in enumerate(items):
        for message in _read(item, f"input[{at}]", signet):
            last = found[-1] if found else None
            if last is not None and last.role == message.role and message.role in ("assistant", "system"):
                found[-1] = Message(last.role, _ordered(last.parts + message.parts))
            else:
                found.append(message)
    return found


def _ordered(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Thoughts first, then words, then calls: the one order in which engines take a turn."""
    return tuple(sorted(parts, key=lambda part: 0 if isinstance(part, Thought) else 1 + isinstance(part, Call)))


def _read(item: Item, where: str, signet: Signet) -> list[Message]:
    kind = item.type or "message"
    match kind:
        case "message":
            role = _ROLES.get(item.role or "")
            if role is None:
                raise FieldInvalid(f"{where}.role must be one of {', '.join(_ROLES)}", field=f"{where}.role")
            parts: tuple[Part, ...] = shown(item.content, f"{where}.content")
            return [Message(role, parts)] if parts or role == "user" else []
        case "reasoning":
            thought = _thought(item, signet)
            return [Message("assistant", (Thought(thought),))] if thought else []
        case "function_call" | "custom_tool_call":
            name = flat_name(item.namespace, _needed(item.name, where, "name"))
            told = custom_arguments(item.input or "") if kind == "custom_tool_call" else _arguments(item.arguments)
            return [Message("assistant", (Call(_needed(item.call_id, where, "call_id"), name, told),))]
        case "function_call_output" | "custom_tool_call_output":
            content = shown(item.output, f"{where}.output")
            return [Message("tool", (Result(_needed(item.call_id, where, "call_id"), content),))]
    if kind in _TRACES:
        return []
    hint = f": {_LATER}" if kind == "item_reference" else ""
    raise FieldInvalid(f"{where}.type {kind!r} is not an item this server reads{hint}", field=f"{where}.type")


def shown(content: Content, where: str) -> tuple[Text | Media, ...]:
    """What a person, the model or a tool says. Raises ``FieldInvalid``."""
    if content is None or isinstance(content, str):
        return (Text(content),) if content else ()
    return tuple(_part(piece, f"{where}[{at}]") for at, piece in enumerate(content))


def _part(piece: Piece, where: str) -> Text | Media:
    if piece.type in _WORDS:
        return Text(piece.text or piece.refusal or "")
    if piece.file_id:
        raise FieldInvalid(f"{where}.file_id: send the content itself, files are not looked up here", field=where)
    if piece.type == "input_image" and piece.image_url is not None:
        url = piece.image_url if isinstance(piece.image_url, str) else piece.image_url.url
        return Media("image", url, piece.detail)
    if piece.type == "input_file" and (address := piece.file_data or piece.file_url):
        return Media("file", address)
    if piece.type == "input_audio" and piece.input_audio is not None:
        return Media("audio", f"data:audio/{piece.input_audio.format};base64,{piece.input_audio.data}")
    raise FieldInvalid(f"{where}.type {piece.type!r} is not content this server reads", field=f"{where}.type")


def _thought(item: Item, signet: Signet) -> str:
    """What is sealed in it, by whichever relay; else what it shows. One sealed by somebody else cannot be read."""
    sealed = signet.open(item.encrypted_content, PURPOSE) if item.encrypted_content else None
    if sealed is not None:
        return sealed
    pieces = item.content if isinstance(item.content, list) and item.content else item.summary
    return "".join(piece.text or "" for piece in pieces or ())


def _arguments(told: Json) -> str:
    """As text, however they came."""
    value = msgspec.json.decode(told)
    return value if isinstance(value, str) else bytes(told).decode()


def _needed(value: str | None, where: str, name: str) -> str:
    if not value:
        raise FieldInvalid(f"{where}.{name} is required", field=f"{where}.{name}")
    return value
