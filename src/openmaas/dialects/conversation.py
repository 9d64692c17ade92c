"""What any dialect can say in a request, as values: a conversation and how it is to be answered.

A dialect that is not the engines' own reads its bytes into a ``Conversation``; ``engine/say.py`` says one to an engine.
What a dialect cannot say is None, and the engine's own default holds. Nothing here knows a wire.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Role = Literal["system", "user", "assistant", "tool"]
#: A JSON value as it came.
Json = msgspec.Raw


class Text(msgspec.Struct, frozen=True, tag="text"):
    """Words."""

    text: str


class Thought(msgspec.Struct, frozen=True, tag="thought"):
    """What the model thought before it said or called something; given back so that it can go on from there."""

    text: str


class Media(msgspec.Struct, frozen=True, tag="media"):
    """Something to look at or listen to: its address, or a ``data:`` URI. ``detail`` as the OpenAI wire has it."""

    kind: Literal["image", "video", "audio", "file"]
    url: str
    detail: str | None = None


class Call(msgspec.Struct, frozen=True, tag="call"):
    """The model calls a tool. ``arguments`` is the text of a JSON object."""

    id: str
    name: str
    arguments: str


class Result(msgspec.Struct, frozen=True, tag="result"):
    """What a call came to."""

    call_id: str
    content: tuple[Text | Media, ...]
    failed: bool = False


Part = Text | Thought | Media | Call | Result


class Message(msgspec.Struct, frozen=True):
    """One turn. A ``tool`` message has results only, an assistant's may think, speak and call, in this order."""

    role: Role
    parts: tuple[Part, ...]


class Tool(msgspec.Struct, frozen=True):
    """A function that the model may call. ``parameters`` is a JSON schema; None when it takes nothing."""

    name: str
    description: str = ""
    parameters: Json | None = None
    strict: bool | None = None


class Named(msgspec.Struct, frozen=True):
    """This tool must be called."""

    name: str


class Allowed(msgspec.Struct, frozen=True):
    """Of the tools only these, as ``mode`` says."""

    mode: Literal["auto", "required"]
    names: tuple[str, ...]


class Format(msgspec.Struct, frozen=True):
    """The answer is JSON; of this ``schema`` when there is one."""

    name: str = "answer"
    schema: Json | None = None
    strict: bool | None = None


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """A request for the next turn. Sampling as the OpenAI wire has it; ``output_tokens`` caps each choice."""

    model: str
    messages: tuple[Message, ...]
    stream: bool = False
    choices: int = 1
    output_tokens: int | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: Literal["auto", "none", "required"] | Named | Allowed | None = None
    parallel: bool | None = None  # calls in one turn
    thinking: bool | None = None  # None: as the model does by itself
    effort: str | None = None  # how long to think, in the words of ``reasoning_effort``
    keep_thoughts: bool = False  # of turns before the last question; those of the turn that runs are always kept
    format: Format | None = None
    stop: tuple[str, ...] = ()
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    others: dict[str, Json] = {}  # members of the OpenAI wire that pass as they are
