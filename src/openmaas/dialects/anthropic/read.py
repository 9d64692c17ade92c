"""A Messages request as a conversation. https://docs.anthropic.com/en/api/messages

Liberal: null stands for absent, betas and members that nobody here knows are passed over, as are cache marks (our
engines cache every prefix by themselves). What would change the answer is refused with the path of its field.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from openmaas.core.bounds import TEXT_BYTES_MAX
from openmaas.core.errors import BodyInvalid, FieldInvalid
from openmaas.dialects.anthropic.blocks import Block, call, listed, parts, result, shown, thought
from openmaas.dialects.anthropic.tools import Change, Choice, Declared, chosen, offered
from openmaas.dialects.conversation import (
    Conversation,
    Format,
    Json,
    Media,
    Message,
    Part,
    Result,
    Text,
    Thought,
)
from openmaas.dialects.dialect import Signet

_CHANGES = ("tool_addition", "tool_removal")
_NULL, _ALL = msgspec.Raw(b"null"), msgspec.Raw(b'"all"')
#: The first system block of Claude Code: it differs from version to version, means nothing to a model, and would be the
#: end of every prefix that two versions share.
_BILLING = "x-anthropic-billing-header"


class _Effort(msgspec.Struct):
    effort: str | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[Block] | None = None
    clear_at: str | None = None  # of a system message: until when it is shown
    output_config: _Effort | None = None  # of a system message: for the turn it stands in


class _Thinking(msgspec.Struct):
    type: str
    display: str | None = None


class _Schema(msgspec.Struct):
    type: str
    schema: Json = _NULL


class _Output(msgspec.Struct):
    effort: str | None = None
    format: _Schema | None = None


class _Metadata(msgspec.Struct):
    user_id: str | None = None


class _Edit(msgspec.Struct):
    type: str
    keep: Json = _NULL


class _Management(msgspec.Struct):
    edits: list[_Edit] | None = None


class Asking(msgspec.Struct):
    """The members that mean something to us."""

    model: str
    messages: list[_Message]
    system: str | list[Block] | None = None
    max_tokens: int | None = None
    stream: bool | None = None
    tools: list[Declared] | None = None
    tool_choice: Choice | None = None
    thinking: _Thinking | None = None
    output_config: _Output | None = None
    output_format: _Schema | None = None  # of 2025; now in output_config
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    metadata: _Metadata | None = None
    context_management: _Management | None = None
    mcp_servers: list[Json] | None = None

    @property
    def thinks(self) -> Literal["no", "shown", "omitted"]:
        """Whether the answer may have thinking blocks, and whether their text is wanted. A caller who did not ask for
        any must get none: clients that do not know them lose the text beside them."""
        if self.thinking is None or self.thinking.type == "disabled":
            return "no"
        return "omitted" if self.thinking.display == "omitted" else "shown"


_decoder = msgspec.json.Decoder(Asking, strict=False)


def asking(body: bytes | bytearray) -> Asking:
    """The request. Raises ``BodyInvalid``, and ``FieldInvalid`` that names the field."""
    try:
        asked = _decoder.decode(body)
    except msgspec.ValidationError as error:
        said, _, path = str(error).partition(" - at `$")
        field = path.rstrip("`").replace("[", ".").replace("]", "").lstrip(".")
        if not field and "`" in said:  # "Object missing required field `model`"
            field = said.split("`")[1]
        raise FieldInvalid(f"{field}: {said}" if field else said, field=field or None) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BodyInvalid(str(error)) from None
    except RecursionError:
        raise BodyInvalid("it is nested too deep") from None
    if not asked.model or len(asked.model) > TEXT_BYTES_MAX:
        raise FieldInvalid("model: it is required and names one of GET /v1/models", field="model")
    if asked.max_tokens is not None and asked.max_tokens < 0:
        raise FieldInvalid("max_tokens: it must be at least 0", field="max_tokens")
    if asked.mcp_servers:
        raise FieldInvalid("mcp_servers: this server connects to none; run them at your side", field="mcp_servers")
    return asked


def conversation(asked: Asking, signet: Signet) -> Conversation:
    """What ``asked`` asks for. Raises ``FieldInvalid`` that names the field."""
    system = [block for block in listed(asked.system) if not (block.text or "").startswith(_BILLING)]
    instructions = shown(system, "system")
    messages = [Message("system", instructions)] if instructions else []
    turns = [_turn(message, f"messages.{at}", signet) for at, message in enumerate(asked.messages)]
    begins = _last_question(asked.messages)
    for at, turn in enumerate(turns):
        if at < begins and asked.messages[at].clear_at == "next_user_message":
            continue
        messages += turn if at >= begins or _keeps_all(asked) else map(_without_thoughts, turn)
    output = asked.output_config or _Output()
    efforts = [told.effort for message in asked.messages[begins:] if (told := message.output_config) and told.effort]
    choice = asked.tool_choice
    forbids = choice.disable_parallel_tool_use if choice else None
    user = asked.metadata.user_id if asked.metadata else None
    return Conversation(
        model=asked.model,
        messages=tuple(messages),
        stream=bool(asked.stream),
        # 0 warms the cache: no engine generates nothing, so one token is made, and not shown.
        output_tokens=None if asked.max_tokens is None else max(asked.max_tokens, 1),
        tools=offered(asked.tools or [], _changes(asked.messages)),
        tool_choice=chosen(choice),
        parallel=None if forbids is None else not forbids,
        thinking=asked.thinks != "no",
        effort=efforts[-1] if efforts else output.effort,
        keep_thoughts=True,  # those that are not to be kept are gone already
        format=_format(output.format or asked.output_format),
        stop=tuple(asked.stop_sequences or ()),
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=asked.top_k,
        others={"user": msgspec.Raw(msgspec.json.encode(user))} if user else {},
    )


def _changes(messages: list[_Message]) -> Iterator[tuple[str, Change, str]]:
    """Tools that the conversation added and took away, in this order, and where."""
    for at, message in enumerate(messages):
        for number, block in enumerate(listed(message.content) if message.role == "system" else ()):
            if block.type in _CHANGES and block.tool is not None:
                yield block.type, block.tool, f"messages.{at}.content.{number}"


def _keeps_all(asked: Asking) -> bool:
    """Whether thoughts of all turns stay in the prompt, as ``clear_thinking_20251015`` with ``keep: "all"`` says."""
    edits = (asked.context_management.edits if asked.context_management else None) or []
    return any(edit.type.startswith("clear_thinking") and edit.keep == _ALL for edit in edits)


def _last_question(messages: list[_Message]) -> int:
    """Where the turn that runs began: a message with results goes on with it, whatever else it says."""
    for at in range(len(messages) - 1, -1, -1):
        message = messages[at]
        if message.role == "user" and not any(block.type == "tool_result" for block in listed(message.content)):
            return at
    return 0


def _without_thoughts(message: Message) -> Message:
    return Message(message.role, tuple(part for part in message.parts if not isinstance(part, Thought)))


def _turn(message: _Message, where: str, signet: Signet) -> list[Message]:
    """One message, which may be two: results of tools come before what else their user says."""
    inside = f"{where}.content"
    if message.role == "assistant":
        spoken = _spoken(message, inside, signet)
        return [Message("assistant", spoken)] if spoken else []
    if message.role == "system":
        blocks = [(at, block) for at, block in enumerate(listed(message.content)) if block.type not in _CHANGES]
        told = tuple(part for at, block in blocks for part in parts(block, f"{inside}.{at}"))
        return [Message("system", told)] if told else []
    if message.role != "user":
        known = "user, assistant or system"
        raise FieldInvalid(f"{where}.role: {message.role!r} is not {known}", field=f"{where}.role")
    results: list[Result] = []
    said: list[Text | Media] = []
    for at, block in enumerate(listed(message.content)):
        if block.type == "tool_result":
            results.append(result(block, f"{inside}.{at}"))
        else:
            said += parts(block, f"{inside}.{at}")
    found = [Message("tool", tuple(results))] if results else []
    return [*found, Message("user", tuple(said))] if said or not results else found


def _spoken(message: _Message, where: str, signet: Signet) -> tuple[Part, ...]:
    """What the model thought, said and called, in this order."""
    thoughts: list[Part] = []
    words: list[Part] = []
    calls: list[Part] = []
    for at, block in enumerate(listed(message.content)):
        if block.type == "thinking":
            thoughts += [found] if (found := thought(block, signet)) else []
        elif block.type == "tool_use":
            calls.append(call(block, f"{where}.{at}"))
        elif block.type != "redacted_thinking":  # we never send one; somebody else's cannot be read
            words += parts(block, f"{where}.{at}")
    return (*thoughts, *words, *calls)


def _format(told: _Schema | None) -> Format | None:
    if told is None:
        return None
    if told.type != "json_schema" or told.schema == _NULL:
        field = "output_config.format.type"
        raise FieldInvalid(f"{field}: it must be json_schema, with a schema", field=field)
    return Format(schema=told.schema)
