"""What the echo engine is asked, and how many tokens the prompt has: a token is a word.

It knows the fields of the OpenAI wire that change an answer of words, and nothing of answering.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from openmaas.core.errors import FieldInvalid
from openmaas.engines.body import Role, decode

_OTHER_SPACES = "\n\t\r\f\v\x1c\x1d\x1e\x1f"


class Message(msgspec.Struct):
    """One turn of a conversation."""

    role: Role
    content: str | list[dict[str, Any]] | None = None


class StreamOptions(msgspec.Struct):
    """What a stream shall bring beside the answer."""

    include_usage: bool = False


class Ask(msgspec.Struct, kw_only=True):
    """A completion or an embedding."""

    prompt: str | list[Any] = ""
    input: str | list[Any] = ""
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = 1
    user: str | None = None
    stop: str | list[str] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    encoding_format: str | None = None
    suffix: str | None = None


class Chat(Ask, kw_only=True):
    """A conversation: strict where a model is, or a trial on the fake would hide a mistake."""

    messages: Annotated[list[Message], Meta(min_length=1)]


_decoder = msgspec.json.Decoder(Ask)
_chat_decoder = msgspec.json.Decoder(Chat)


def read_ask(body: bytes, *, chat: bool) -> Ask:
    """The request in ``body``. Raises ``BodyInvalid`` and ``FieldInvalid``."""
    if chat:
        return decode(_chat_decoder, body)
    ask = decode(_decoder, body)
    if ask.suffix:
        raise FieldInvalid("suffix: echo does not fill in between two texts; leave it out", field="suffix")
    return ask


def words(text: str) -> int:
    """``len(text.split())``, much faster for long plain text."""
    if text.isascii() and "  " not in text and not any(space in text for space in _OTHER_SPACES):
        text = text.strip()
        return text.count(" ") + 1 if text else 0
    return len(text.split())


def prompt_words(ask: Ask) -> int:
    """The prompt tokens of a request: its words, or its numbers where it came as token ids."""
    total = sum(_words_of(message.content) for message in ask.messages) if isinstance(ask, Chat) else 0
    return total + _words_of(ask.prompt) + _words_of(ask.input)


def _words_of(part: Any) -> int:
    if isinstance(part, str):
        return words(part)
    if isinstance(part, dict):
        return _words_of(part.get("text"))
    if isinstance(part, list):
        return sum(_words_of(inner) for inner in part)
    return 1 if isinstance(part, int) else 0
