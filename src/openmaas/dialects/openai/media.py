"""How many pictures, sounds and files stand in the messages of a chat whose bytes pass through: one that is named by
its address is worth more tokens than the bytes that name it."""

from __future__ import annotations

import msgspec

_TEXTS = ("text", "refusal")


class _Part(msgspec.Struct, gc=False):
    type: str = ""


class _Message(msgspec.Struct):
    content: str | list[_Part | str] | None = None


_decode = msgspec.json.Decoder(list[_Message]).decode


def media(messages: bytes | msgspec.Raw) -> int | None:
    """How many there are; None when that cannot be told, because these are no messages as we know them."""
    try:
        told = _decode(messages)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    found = 0
    for message in told:
        if isinstance(message.content, list):
            found += sum([isinstance(part, _Part) and part.type not in _TEXTS for part in message.content])
    return found
