"""What a parser is, and what it finds in a model's text beside the pieces that every answer is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from openmaas.dialects.pieces import Argued, Called, Said, Thought

#: Makes the id of the next call.
NewId = Callable[[], str]


class CallEnded(msgspec.Struct, frozen=True):
    """The ``index``-th call is whole: its arguments are one JSON object."""

    index: int


class Malformed(msgspec.Struct, frozen=True):
    """Something that began as a call and is none. ``text`` is what was written and has not been given out before;
    ``index`` is the call that it breaks off, or None when none had begun."""

    text: str
    why: str
    index: int | None = None


class NotHonoured(msgspec.Struct, frozen=True):
    """A call was demanded, and this is what came instead. The last piece of an answer, or not there at all."""

    why: str
    text: str = ""


Piece = Said | Thought | Called | Argued | CallEnded | Malformed | NotHonoured


class Parser(Protocol):
    """Reads one answer. Any split of its text gives the same pieces, once neighbours of a kind are joined."""

    def feed(self, text: str) -> list[Piece]:
        """The next text of the model; returns what is certain by now."""

    def finish(self) -> list[Piece]:
        """The model ended; returns what was held back."""


def joined(pieces: list[Piece]) -> list[Piece]:
    """The same pieces, with neighbours of a kind made one."""
    told: list[Piece] = []
    for piece in pieces:
        last = told.pop() if told else None
        match last, piece:
            case Said(), Said():
                told.append(Said(last.text + piece.text))
            case Thought(), Thought():
                told.append(Thought(last.text + piece.text))
            case Argued(), Argued() if last.index == piece.index:
                told.append(Argued(last.index, last.text + piece.text))
            case Malformed(), Malformed() if last.index == piece.index:
                told.append(Malformed(last.text + piece.text, last.why, last.index))
            case _:
                told += [piece] if last is None else [last, piece]
    return told
