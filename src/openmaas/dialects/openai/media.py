"""How many pictures, sounds and files stand in the messages of a chat whose bytes pass through.

One that is named by its address is worth more tokens than the bytes that name it. Most chats have none, and a search
for the words that every such part has is all they pay; an escape could hide the words, so messages with one are read.
"""

from __future__ import annotations

import msgspec

#: A part of content that is neither a text nor a refusal has one of these, or an escape of Latin letters.
_SIGNS = (b'_url"', b'"input_audio"', b'"file"', b"\\u00")
_TEXTS = ("text", "refusal")


class _Part(msgspec.Struct):
    type: str = ""


class _Message(msgspec.Struct):
    content: str | list[_Part] | None = None


_decode = msgspec.json.Decoder(list[_Message]).decode


def media(messages: bytes) -> int | None:
    """How many there are; None when that cannot be told, because these are no messages as we know them."""
    if not any(sign in messages for sign in _SIGNS):
        return 0
    try:
        told = _decode(messages)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    parts = [part for message in told if isinstance(message.content, list) for part in message.content]
    return sum(part.type not in _TEXTS for part in parts)
