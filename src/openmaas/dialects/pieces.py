"""What any dialect can say in an answer, piece by piece, and an answer put together of its pieces."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from openmaas.core.usage import Usage
from openmaas.dialects.conversation import Call, Json

#: Why an answer ended.
Reason = Literal["stop", "length", "calls", "refused"]


class Said(msgspec.Struct, frozen=True):
    """More words."""

    text: str
    choice: int = 0


class Thought(msgspec.Struct, frozen=True):
    """More of what the model thinks."""

    text: str
    choice: int = 0


class Called(msgspec.Struct, frozen=True):
    """A call begins: the ``index``-th of this choice."""

    index: int
    id: str
    name: str
    choice: int = 0


class Argued(msgspec.Struct, frozen=True):
    """More of the arguments of the ``index``-th call."""

    index: int
    text: str
    choice: int = 0


class Weighed(msgspec.Struct, frozen=True):
    """How likely the tokens of the next words are, each as the engine tells it: the members of ``logprobs.content``."""

    tokens: list[Json]
    choice: int = 0


class Ended(msgspec.Struct, frozen=True):
    """A choice is over."""

    reason: Reason
    choice: int = 0
    stop: str | None = None  # the stop sequence that ended it, when the engine says
    full: bool = False  # of length: it was the context that ended


class Counted(msgspec.Struct, frozen=True):
    """The engine's count, once, after the rest."""

    usage: Usage


Piece = Said | Thought | Called | Argued | Weighed | Ended | Counted


class Reply(msgspec.Struct):
    """One choice, whole."""

    thought: str = ""
    said: str = ""
    calls: list[Call] = []
    reason: Reason = "stop"
    stop: str | None = None
    full: bool = False
    weighed: list[Json] = []  # see ``Weighed``; empty when nobody asked


def gathered(pieces: Iterable[Piece]) -> tuple[list[Reply], Usage]:
    """The choices that ``pieces`` make, and the count; an answer without any piece is one empty choice."""
    replies: dict[int, Reply] = {0: Reply()}
    names: dict[tuple[int, int], tuple[str, str]] = {}
    arguments: dict[tuple[int, int], list[str]] = {}
    usage = Usage()
    for piece in pieces:
        if isinstance(piece, Counted):
            usage = piece.usage
            continue
        reply = replies.setdefault(piece.choice, Reply())
        match piece:
            case Said():
                reply.said += piece.text
            case Thought():
                reply.thought += piece.text
            case Called():
                names[piece.choice, piece.index] = piece.id, piece.name
            case Argued():
                arguments.setdefault((piece.choice, piece.index), []).append(piece.text)
            case Weighed():
                reply.weighed.extend(piece.tokens)
            case Ended():
                reply.reason, reply.stop, reply.full = piece.reason, piece.stop, piece.full
    for (choice, index), (call_id, name) in sorted(names.items()):
        told = "".join(arguments.get((choice, index), ()))
        replies.setdefault(choice, Reply()).calls.append(Call(call_id, name, told))
    return [replies[choice] for choice in sorted(replies)], usage
