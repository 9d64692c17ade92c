"""A chat completion of Zhipu's as a conversation: the OpenAI wire, and what Zhipu has of its own.

Clients send null everywhere and moments as request ids; a temperature that Zhipu does not know is moved to the nearest
that it does, because tools made for OpenAI send it. https://docs.bigmodel.cn/api-reference/模型-api/对话补全
"""

from __future__ import annotations

from typing import Literal

import msgspec

from openmaas.core.bounds import TEXT_BYTES_MAX
from openmaas.core.errors import FieldInvalid
from openmaas.dialects.conversation import Conversation, Json, Message, Text
from openmaas.dialects.members import checked, members_of
from openmaas.dialects.openai.chat import conversation
from openmaas.dialects.openai.request import StreamOptions
from openmaas.dialects.zhipu.answer import ZhipuVoice
from openmaas.dialects.zhipu.composed import leave_functions, sorted_tools
from openmaas.dialects.zhipu.roles import Character, Infilling, filling, playing
from openmaas.dialects.zhipu.sensitive import FIELD, wants_check

_NULL, _NO_TOOLS = msgspec.Raw(b"null"), msgspec.Raw(b"[]")
#: Less than this is not sampled at all: the SDK sends it for 0.
_LEAST = 0.01


class _Thinking(msgspec.Struct):
    type: Literal["enabled", "disabled"] | None = None
    clear_thinking: bool | None = None


class _Own(msgspec.Struct):
    """The members that the OpenAI wire does not have, or has otherwise."""

    thinking: _Thinking | None = None
    do_sample: bool | None = None
    tool_stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    top_p: float | None = None
    meta: Character | None = None
    extra: Infilling | None = None


_own = msgspec.json.Decoder(_Own, strict=False)
#: Taken, and without a meaning for an engine; text is not watermarked.
_IGNORED = frozenset({"request_id", "user_id", FIELD, "watermark_enabled"})


def read(body: bytes | bytearray, *, keep_thoughts: bool) -> tuple[Conversation, ZhipuVoice, bool]:
    """What a body asks for, how to answer it, and whether it is made of several requests: something is to be found, or
    looked at; ``keep_thoughts`` of earlier turns unless ``clear_thinking`` says.

    Raises ``BodyInvalid``, ``FieldMissing`` and ``FieldInvalid``.
    """
    members = {name: value for name, value in members_of(body).items() if value != _NULL}
    own = checked(_own, {name: members[name] for name in _Own.__struct_fields__ if name in members})
    request_id = text_of(members, "request_id")
    plain = {name: value for name, value in members.items() if name not in _IGNORED and name not in _NOT_PLAIN}
    if "user" not in plain and (user := text_of(members, "user_id")):
        plain["user"] = msgspec.Raw(msgspec.json.encode(user))
    tools = sorted_tools(plain.pop("tools", _NO_TOOLS))
    leave_functions(plain, tools)
    if own.extra is not None:
        plain.setdefault("messages", msgspec.Raw(b"[]"))
    asked = conversation(plain)
    thinking = own.thinking or _Thinking()
    asked = msgspec.structs.replace(
        asked,
        messages=_messages(asked.messages, own),
        thinking=None if thinking.type is None else thinking.type == "enabled",
        keep_thoughts=keep_thoughts if thinking.clear_thinking is None else not thinking.clear_thinking,
        **_sampling(own),
    )
    extra_usage = own.stream_options is not None and own.stream_options.include_usage
    voice = ZhipuVoice(
        usage="extra" if extra_usage else "last",
        whole_calls=not own.tool_stream,
        thinks=thinking.type != "disabled",
        request_id=request_id,
    )
    return asked, voice, tools.finds or wants_check(members)


def text_of(members: dict[str, Json], name: str) -> str:
    """A member that should be a text and may be a number; empty without one. Raises ``FieldInvalid``."""
    raw = members.get(name)
    if raw is None or raw == _NULL:
        return ""
    value = msgspec.json.decode(raw)
    if isinstance(value, bool | list | dict) or len(bytes(raw)) > TEXT_BYTES_MAX:
        raise FieldInvalid(f"{name} must be a text of at most {TEXT_BYTES_MAX} bytes", field=name)
    return value if isinstance(value, str) else bytes(raw).decode()


_NOT_PLAIN = frozenset(_Own.__struct_fields__)


def _sampling(own: _Own) -> dict[str, float | None]:
    if own.do_sample is False or (own.temperature is not None and own.temperature <= 0):
        return {"temperature": 0.0, "top_p": None}
    temperature = None if own.temperature is None else min(own.temperature, 1.0)
    top_p = None if own.top_p is None else min(max(own.top_p, _LEAST), 1.0)
    return {"temperature": temperature, "top_p": top_p}


def _messages(told: tuple[Message, ...], own: _Own) -> tuple[Message, ...]:
    if own.meta is not None and (role := playing(own.meta)):
        told = (Message("system", (Text(role),)), *told)
    if own.extra is not None:
        told = (*told, Message("user", (Text(filling(own.extra)),)))
    return told
