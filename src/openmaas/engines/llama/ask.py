"""What a request to llama.cpp must look like. It is asked before llama.cpp is: that one passes over what it does not
know (a role, an empty conversation) and answers all the same, or says a word of its own C++ code.

Only what would otherwise go wrong stands here; every other member is llama.cpp's to judge.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from openmaas.core.errors import FieldInvalid
from openmaas.engines.body import Role, decode

_Name = Annotated[str, Meta(min_length=1)]


class _Part(msgspec.Struct):
    type: str
    text: str | None = None


class _Message(msgspec.Struct):
    role: Role
    content: str | list[_Part] | None = None
    tool_calls: list[dict[str, Any]] | None = None  # else llama.cpp answers 500


class _Function(msgspec.Struct):
    name: _Name
    parameters: dict[str, Any] | None = None


class _Tool(msgspec.Struct):
    type: Literal["function"]
    function: _Function


class _Chosen(msgspec.Struct):
    function: _Function
    type: Literal["function"] = "function"


class _Common(msgspec.Struct, kw_only=True):
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    stop: str | list[str] | None = None
    seed: int | None = None


class _Chat(_Common, kw_only=True):
    messages: Annotated[list[_Message], Meta(min_length=1)]
    tools: list[_Tool] | None = None
    reasoning_format: Literal["none", "auto", "deepseek", "deepseek-legacy"] | None = None
    tool_choice: Literal["auto", "none", "required"] | _Chosen | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    modalities: list[Literal["text"]] | None = None
    functions: list[Any] | None = None


class _Completion(_Common, kw_only=True):
    prompt: str | list[str | int | list[int]]
    echo: bool | None = None
    suffix: str | None = None
    logprobs: int | None = None


_chat = msgspec.json.Decoder(_Chat)
_completion = msgspec.json.Decoder(_Completion)


#: What llama.cpp passes over without a word, which would change what was asked.
_PASSED_OVER = {
    "suffix": "this model does not fill in between two texts",
    "functions": "they became `tools`; send those",
}


def _refuse(**members: object) -> None:
    for name, value in members.items():
        if value:
            raise FieldInvalid(f"{name}: {_PASSED_OVER[name]}", field=name)


def _check_echo(asked: _Completion) -> None:
    """llama.cpp does not know the word; what was asked in words is put before the answer here."""
    if asked.logprobs is not None:
        raise FieldInvalid("echo: the probabilities of a prompt are not known here; leave out logprobs", field="echo")
    if not all(isinstance(each, str) for each in asked.prompt):
        raise FieldInvalid("echo: a prompt of token ids is not given back here; send it as text", field="echo")


def check(path: str, body: bytes) -> None:
    """Raises ``BodyInvalid``, or ``FieldInvalid`` that names the field, for a body that cannot be answered."""
    if path == "/v1/completions":
        asked = decode(_completion, body)
        _refuse(suffix=asked.suffix)
        if asked.echo:
            _check_echo(asked)
    elif path == "/v1/chat/completions":
        chat = decode(_chat, body)
        _refuse(functions=chat.functions)
        for number, message in enumerate(chat.messages):
            place = f"messages[{number}].content"
            if message.content is None and message.role != "assistant":
                raise FieldInvalid(f"{place} is required", field=place)
            for part in message.content if isinstance(message.content, list) else ():
                if part.type != "text" or part.text is None:
                    raise FieldInvalid(f"{place}: this model reads parts of type text only", field=place)
