"""What a request to a language model must look like, whichever engine computes it. It is asked before that one is:
llama.cpp passes over what it does not know (a role, an empty conversation) and answers all the same, or says a word of
its own C++ code, and so does OpenVINO.

Only what would otherwise go wrong stands here; every other member is the engine's to judge.
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
    logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    n: int | None = None
    best_of: int | None = None


_chat = msgspec.json.Decoder(_Chat)
_completion = msgspec.json.Decoder(_Completion)


def check(path: str, body: bytes) -> None:
    """Raises ``BodyInvalid``, or ``FieldInvalid`` that names the field, for a body that cannot be answered."""
    if path == "/v1/completions":
        asked = decode(_completion, body)
        if asked.echo and not asked.prompt:
            raise FieldInvalid("prompt must not be empty to be given back", field="prompt")
        if asked.best_of is not None and asked.best_of != (asked.n or 1):  # llama.cpp passes over it without a word
            said = "best_of: as many answers are made as are given; ask for n, and choose by their logprobs"
            raise FieldInvalid(said, field="best_of")
        if asked.suffix and asked.echo and asked.logprobs is not None:
            said = "echo: the probabilities of a prompt with a gap are not told; leave out suffix, echo or logprobs"
            raise FieldInvalid(said, field="echo")
    elif path == "/v1/chat/completions":
        chat = decode(_chat, body)
        if chat.functions:  # llama.cpp passes over them without a word
            raise FieldInvalid("functions: they became `tools`; send those", field="functions")
        for number, message in enumerate(chat.messages):
            place = f"messages[{number}].content"
            if message.content is None and message.role != "assistant":
                raise FieldInvalid(f"{place} is required", field=place)
            for part in message.content if isinstance(message.content, list) else ():
                if part.type != "text" or part.text is None:
                    raise FieldInvalid(f"{place}: this model reads parts of type text only", field=place)


def check_chats(model: str, template: str) -> None:
    """Raises ``FieldInvalid`` for a conversation with a model that has no chat ``template``: an engine would take one
    of its own, and the model would answer with noise."""
    if not template:
        said = f"the model {model} has no chat template, it completes text: send its prompt to /v1/completions"
        raise FieldInvalid(said, field="model")
