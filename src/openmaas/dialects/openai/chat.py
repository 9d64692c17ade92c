"""A chat completion request of the OpenAI wire as a conversation, for when its bytes cannot pass as they are.

Liberal in what it takes, as clients need it: null stands for absent, content is a string or parts, a picture's address
stands alone or in an object, arguments are text or an object, ``developer`` is ``system``, and the functions of 2023
are tools. A member that it does not know passes to the engine as it came.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from openmaas.core.bounds import CHOICES_MAX
from openmaas.core.errors import FieldInvalid, FieldMissing
from openmaas.dialects.conversation import (
    Allowed,
    Call,
    Conversation,
    Format,
    Json,
    Media,
    Message,
    Named,
    Part,
    Result,
    Role,
    Text,
    Thought,
    Tool,
)
from openmaas.dialects.members import checked

#: Members of single engines that would lift the cap on what is generated.
NOT_FORWARDED = frozenset(
    {
        "n_predict",
        "n_cmpl",  # llama.cpp's other name of n: choices that nobody set money aside for
        "id_slot",  # would let one customer choose, and crowd, the seat of another
        "lora",
        "max_new_tokens",
        "return_progress",
        "timings_per_token",
    }
)
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_MEDIA: dict[str, Literal["image", "video", "file"]] = {
    "image_url": "image",
    "video_url": "video",
    "file_url": "file",
}
#: Pictures that come as bare base64 (Zhipu's SDK takes the head of a ``data:`` URI off): told by their first bytes.
_BARE = {"iVBOR": "image/png", "/9j/": "image/jpeg", "R0lGOD": "image/gif", "UklGR": "image/webp"}
_NULL = msgspec.Raw(b"null")


class _Address(msgspec.Struct):
    url: str
    detail: str | None = None


class _Sound(msgspec.Struct):
    data: str
    format: str = "wav"


class _Part(msgspec.Struct):
    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: _Address | str | None = None
    video_url: _Address | str | None = None
    file_url: _Address | str | None = None
    input_audio: _Sound | None = None


class _Function(msgspec.Struct):
    name: str
    arguments: Json = msgspec.Raw(b'""')


class _Call(msgspec.Struct):
    function: _Function
    id: str | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_Call] | None = None
    function_call: _Function | None = None
    tool_call_id: str | None = None
    name: str | None = None


class _Declared(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: Json = _NULL  # a union with null would not take it as it came
    strict: bool | None = None


class _Tool(msgspec.Struct):
    type: str = "function"
    function: _Declared | None = None


class _Allowed(msgspec.Struct):
    mode: Literal["auto", "required"] = "auto"
    tools: list[_Tool] = []


class _Choice(msgspec.Struct):
    function: _Declared | None = None
    name: str | None = None
    allowed_tools: _Allowed | None = None


class _Schema(msgspec.Struct):
    name: str = "answer"
    schema: Json = _NULL
    strict: bool | None = None


class _Format(msgspec.Struct):
    type: str
    json_schema: _Schema | None = None


class _Shaped(msgspec.Struct):
    response_format: _Format | None = None


_formats = msgspec.json.Decoder(_Shaped)


class Chat(msgspec.Struct):
    """The members that mean something to us."""

    model: str
    messages: list[_Message]
    stream: bool | None = None
    n: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    tools: list[_Tool] | None = None
    functions: list[_Declared] | None = None
    tool_choice: str | _Choice | None = None
    function_call: str | _Choice | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    response_format: _Format | None = None
    stop: str | list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None


_decoder = msgspec.json.Decoder(Chat, strict=False)
_OWN = frozenset(Chat.__struct_fields__) | {"stream_options"}


def conversation(members: dict[str, Json]) -> Conversation:
    """What the members of a chat completion ask for. Raises ``FieldInvalid`` that names the field."""
    told = {name: value for name, value in members.items() if value != _NULL}
    asked = checked(_decoder, {name: told[name] for name in _OWN if name in told})
    for name in ("n", "max_tokens", "max_completion_tokens"):
        if (number := getattr(asked, name)) is not None and number < 1:
            raise FieldInvalid(f"{name} must be at least 1", field=name)
    if (asked.n or 1) > CHOICES_MAX:
        raise FieldInvalid(f"n must be at most {CHOICES_MAX}", field="n")
    return Conversation(
        model=asked.model,
        messages=tuple(_message(message, at) for at, message in enumerate(asked.messages)),
        stream=bool(asked.stream),
        choices=asked.n or 1,
        output_tokens=asked.max_completion_tokens or asked.max_tokens,
        tools=_tools(asked),
        tool_choice=_tool_choice(asked),
        parallel=asked.parallel_tool_calls,
        effort=asked.reasoning_effort,
        format=_format(asked.response_format),
        stop=(asked.stop,) if isinstance(asked.stop, str) else tuple(asked.stop or ()),
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=asked.top_k,
        seed=asked.seed,
        presence_penalty=asked.presence_penalty,
        frequency_penalty=asked.frequency_penalty,
        others={name: value for name, value in told.items() if name not in _OWN | NOT_FORWARDED},
    )


def _message(message: _Message, at: int) -> Message:
    role = _ROLES.get(message.role)
    if role is None:
        known = ", ".join(_ROLES)
        raise FieldInvalid(f"messages[{at}].role must be one of {known}", field=f"messages[{at}].role")
    content = _content(message.content, at)
    if role == "tool":
        return Message(role, (Result(message.tool_call_id or message.name or "", content),))
    parts: list[Part] = [*content]
    if role == "assistant":
        thought = message.reasoning_content or message.reasoning
        if thought:
            parts.insert(0, Thought(thought))
        old = [_Call(message.function_call, message.function_call.name)] if message.function_call else []
        parts += [
            Call(call.id or f"call_{at}_{number}", call.function.name, _arguments(call.function.arguments))
            for number, call in enumerate((message.tool_calls or []) + old)
        ]
    return Message(role, tuple(parts))


def _arguments(told: Json) -> str:
    """As text, however they came."""
    value = msgspec.json.decode(told)
    return value if isinstance(value, str) else bytes(told).decode()


def _content(content: str | list[_Part] | None, at: int) -> tuple[Text | Media, ...]:
    if content is None or isinstance(content, str):
        return (Text(content),) if content else ()
    return tuple(_part(part, f"messages[{at}].content[{number}]") for number, part in enumerate(content))


def _part(part: _Part, where: str) -> Text | Media:
    if part.type in ("text", "input_text", "output_text", "refusal"):
        return Text(part.text or part.refusal or "")
    if part.type == "input_audio" and part.input_audio is not None:
        return Media("audio", f"data:audio/{part.input_audio.format};base64,{part.input_audio.data}")
    address: Any = getattr(part, part.type) if part.type in _MEDIA else None
    if address is None:
        raise FieldInvalid(f"{where}.type {part.type!r} is not one this server reads", field=f"{where}.type")
    if isinstance(address, str):
        address = _Address(address)
    return Media(_MEDIA[part.type], _whole_address(address.url), address.detail)


def _whole_address(url: str) -> str:
    """Bare base64 gets its head back."""
    kind = next((kind for begin, kind in _BARE.items() if url.startswith(begin)), None)
    return url if kind is None else f"data:{kind};base64,{url}"


def _tools(asked: Chat) -> tuple[Tool, ...]:
    declared = [tool.function for tool in asked.tools or [] if tool.function is not None] + (asked.functions or [])
    return tuple(Tool(each.name, each.description or "", _given(each.parameters), each.strict) for each in declared)


def _tool_choice(asked: Chat) -> Literal["auto", "none", "required"] | Named | Allowed | None:
    choice = asked.tool_choice if asked.tool_choice is not None else asked.function_call
    if choice is None or isinstance(choice, str):
        if choice not in (None, "auto", "none", "required"):
            raise FieldInvalid("tool_choice must be auto, none, required or name a function", field="tool_choice")
        return choice  # type: ignore[return-value]  # one of the three, or None
    if choice.allowed_tools is not None:
        names = [tool.function.name for tool in choice.allowed_tools.tools if tool.function is not None]
        return Allowed(choice.allowed_tools.mode, tuple(names))
    name = choice.function.name if choice.function is not None else choice.name
    if not name:
        raise FieldInvalid("tool_choice must name a function", field="tool_choice.function.name")
    return Named(name)


def check_format(raw: Json) -> None:
    """Raises ``FieldInvalid`` for a ``response_format`` that is none; vLLM's ``structural_tag`` passes."""
    told = checked(_formats, {"response_format": raw}).response_format
    if told is not None and told.type != "structural_tag":
        _format(told)


def _format(told: _Format | None) -> Format | None:
    if told is None or told.type == "text":
        return None
    if told.type == "json_object":
        return Format()
    if told.type != "json_schema":
        said = "response_format.type must be text, json_object or json_schema"
        raise FieldInvalid(said, field="response_format.type")
    schema = told.json_schema
    if schema is None:
        raise FieldMissing("json_schema is required with this type", field="response_format.json_schema")
    return Format(schema.name, _given(schema.schema), schema.strict)


def _given(value: Json) -> Json | None:
    """None for null."""
    return None if value == _NULL else value
