"""A request of the Responses wire as a conversation. https://platform.openai.com/docs/api-reference/responses/create

Liberal, as clients need it: null stands for absent, input is text or items, and a member that it does not know is left
out (codex sends some of its own). What would change the answer and is not offered is refused by name.
"""

from __future__ import annotations

from typing import Any

import msgspec

from openmaas.core.bounds import TEXT_BYTES_MAX
from openmaas.core.errors import BodyInvalid, FieldInvalid
from openmaas.dialects.conversation import Conversation, Format, Json, Message, Text
from openmaas.dialects.dialect import Signet
from openmaas.dialects.responses.items import Item, messages
from openmaas.dialects.responses.tools import Chosen, Declared, Names, chosen, declared

_NULL = msgspec.Raw(b"null")
#: What ``include`` may ask for and change the answer.
SEALED = "reasoning.encrypted_content"
_LOGPROBS = "message.output_text.logprobs"


class Reasoning(msgspec.Struct):
    """How long to think, and whether thoughts are told as a summary."""

    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None  # its old name


class _Format(msgspec.Struct):
    type: str = "text"
    name: str = "answer"
    schema: Json = _NULL
    strict: bool | None = None


class TextOptions(msgspec.Struct):
    """How the words are to be."""

    format: _Format | None = None
    verbosity: str | None = None


class Asking(msgspec.Struct):
    """The members that mean something to us."""

    model: str = ""
    input: str | list[Item] | None = None
    instructions: str | list[Item] | None = None
    stream: bool | None = None
    store: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    conversation: Json = _NULL
    prompt: Json = _NULL
    include: list[str] | None = None
    max_output_tokens: int | None = None
    tools: list[Declared] | None = None
    tool_choice: str | Chosen | None = None
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning | None = None
    text: TextOptions | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int | None = None

    @property
    def summarises(self) -> bool:
        """True when thoughts are told as a summary."""
        reasoning = self.reasoning or Reasoning()
        return (reasoning.summary or reasoning.generate_summary or "none") != "none"

    @property
    def items(self) -> list[Item]:
        """The input, as items."""
        if isinstance(self.input, str):
            return [Item(role="user", content=self.input)]
        return self.input or []


_decoder = msgspec.json.Decoder(Asking, strict=False)
_members = msgspec.json.Decoder(dict[str, Any])


def asking(body: bytes | bytearray) -> tuple[Asking, dict[str, Any]]:
    """A request's members, those that we know and all of them. Raises ``BodyInvalid`` and ``FieldInvalid``."""
    try:
        members = {name: value for name, value in _members.decode(body).items() if value is not None}
        asked = _decoder.decode(body)
    except msgspec.ValidationError as error:
        said, _, where = str(error).partition(" - at `$.")
        field = where.rstrip("`") or None
        raise FieldInvalid(f"{field}: {said}" if field else said, field=field) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BodyInvalid(str(error)) from None
    except RecursionError:
        raise BodyInvalid("it is nested too deep") from None
    if not asked.model or len(asked.model) > TEXT_BYTES_MAX:
        raise FieldInvalid("model is required and names one of GET /v1/models", field="model")
    if asked.max_output_tokens is not None and asked.max_output_tokens < 1:
        raise FieldInvalid("max_output_tokens must be at least 1", field="max_output_tokens")
    if not asked.input and not asked.previous_response_id:
        raise FieldInvalid("input is required: text or a list of items", field="input")
    _refuse_what_is_not_offered(asked)
    return asked, members


def _refuse_what_is_not_offered(asked: Asking) -> None:
    if asked.background:
        raise FieldInvalid("background: answers are made while you wait here; send it without", field="background")
    if asked.conversation != _NULL:
        said = "conversation: conversations are not kept here; go on with previous_response_id"
        raise FieldInvalid(said, field="conversation")
    if asked.prompt != _NULL:
        raise FieldInvalid("prompt: no prompts are kept here; send instructions and input", field="prompt")
    if asked.top_logprobs or _LOGPROBS in (asked.include or ()):
        said = "top_logprobs: they come with /v1/chat/completions, not here"
        raise FieldInvalid(said, field="top_logprobs")


def conversation(asked: Asking, before: list[Item], signet: Signet) -> tuple[Conversation, Names]:
    """What is asked for, after the items that came ``before``, and the names of its tools. Raises ``FieldInvalid``."""
    told = asked.instructions
    first = [Item(role="system", content=told)] if isinstance(told, str) else told or []
    tools, names = declared(asked.tools or [])
    allowed, choice = chosen(asked.tool_choice, tools)
    turns = messages([*first, *before, *asked.items], signet)
    if not any(message.role != "system" for message in turns):
        turns.append(Message("user", (Text(""),)))
    reasoning = asked.reasoning or Reasoning()
    found = Conversation(
        model=asked.model,
        messages=tuple(turns),
        stream=bool(asked.stream),
        output_tokens=asked.max_output_tokens,
        tools=allowed,
        tool_choice=choice if allowed else None,
        parallel=asked.parallel_tool_calls if allowed else None,
        effort=reasoning.effort,
        format=_format(asked.text.format if asked.text else None),
        temperature=asked.temperature,
        top_p=asked.top_p,
    )
    return found, names


def _format(told: _Format | None) -> Format | None:
    if told is None or told.type == "text":
        return None
    if told.type == "json_object":
        return Format()
    if told.type != "json_schema" or told.schema == _NULL:
        raise FieldInvalid(
            "text.format.type must be text, json_object or json_schema with a schema", field="text.format"
        )
    return Format(told.name, told.schema, told.strict)
