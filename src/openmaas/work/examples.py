"""Reads the examples that a model is to be tuned by: how many there are, and what is wrong with a line.

One JSON object a line: a conversation (``messages``) for ``supervised``; for ``dpo`` a conversation and two ways to go
on from it, the better and the worse. A file is read line by line and never held whole.

https://platform.openai.com/docs/api-reference/fine-tuning/chat-input · …/preference-input
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from openmaas.core.bounds import EXAMPLE_BYTES_MAX, EXAMPLE_MISTAKES_MAX
from openmaas.work.wanted import Method, Mistake


class _Part(msgspec.Struct):
    type: str


class _Function(msgspec.Struct):
    name: str
    arguments: str


class _Call(msgspec.Struct):
    function: _Function
    id: str = ""


class _Message(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[_Part] | None = None
    tool_calls: list[_Call] | None = None
    function_call: _Function | None = None
    weight: Literal[0, 1] | None = None  # of an assistant's: 0 is not learned from


class _Conversation(msgspec.Struct):
    messages: list[_Message]
    tools: list[dict[str, msgspec.Raw]] | None = None


class _Preference(msgspec.Struct):
    input: _Conversation
    preferred_output: list[_Message]
    non_preferred_output: list[_Message]


_conversation = msgspec.json.Decoder(_Conversation)
_preference = msgspec.json.Decoder(_Preference)


def read_examples(path: Path, method: Method) -> tuple[int, list[Mistake]]:
    """How many examples there are, and the first ``EXAMPLE_MISTAKES_MAX`` mistakes."""
    count, mistakes = 0, []
    for number, raw in enumerate(_lines(path), 1):
        if not raw.strip():
            continue
        said = _wrong(raw, method)
        if said:
            mistakes.append(Mistake("invalid_example", said, line=number))
            if len(mistakes) == EXAMPLE_MISTAKES_MAX or len(raw) > EXAMPLE_BYTES_MAX:
                break
        else:
            count += 1
    if not count and not mistakes:
        mistakes.append(Mistake("empty_file", "the file has no examples"))
    return count, mistakes


def _lines(path: Path) -> Iterator[bytes]:
    """Lines, up to one that is too long: what follows in it is none."""
    with path.open("rb") as file:
        while raw := file.readline(EXAMPLE_BYTES_MAX + 1):
            yield raw


def _wrong(raw: bytes, method: Method) -> str:
    """What is wrong with a line; empty when nothing is."""
    if len(raw) > EXAMPLE_BYTES_MAX:
        return f"an example may have {EXAMPLE_BYTES_MAX} bytes"
    try:
        if method == "supervised":
            return _wrong_conversation(_conversation.decode(raw).messages)
        return _wrong_preference(_preference.decode(raw))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return str(error) or "it is nested too deep"


def _wrong_conversation(messages: list[_Message]) -> str:
    for at, message in enumerate(messages):
        if said := _wrong_message(message, f"messages[{at}]"):
            return said
    if not any(message.role == "assistant" and message.weight != 0 for message in messages):
        return "messages has no answer of the assistant to learn from"
    return ""


def _wrong_preference(example: _Preference) -> str:
    if not example.input.messages:
        return "input.messages is empty"
    for at, message in enumerate(example.input.messages):
        if said := _wrong_message(message, f"input.messages[{at}]"):
            return said
    for name in ("preferred_output", "non_preferred_output"):
        answers: list[_Message] = getattr(example, name)
        if not answers or any(message.role != "assistant" for message in answers):
            return f"{name} must be messages of the assistant"
        for at, message in enumerate(answers):
            if said := _wrong_message(message, f"{name}[{at}]"):
                return said
    return ""


def _wrong_message(message: _Message, where: str) -> str:
    calls = bool(message.tool_calls or message.function_call)
    if calls and message.role != "assistant":
        return f"{where} calls a tool, which the assistant alone does"
    if not message.content and not (calls or message.role == "tool"):
        return f"{where} has no content"
    return ""
