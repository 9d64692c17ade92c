"""A stream from an engine in another dialect: events become pieces, and a ``Writer`` makes the caller's bytes of them.

What the writer says after the engine's last word leaves only when the request is accounted for, as in any dialect.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from openmaas.core.errors import EngineFailed, OpenmaasError
from openmaas.core.usage import Usage
from openmaas.dialects.engine.hear import Events, Hearing
from openmaas.dialects.engine.heed import Heed
from openmaas.dialects.pieces import Argued, Called, Ended, Piece, Said, Thought

_DONE = b"[DONE]"
#: Pieces that are about a token each.
_TOKENS = (Said, Thought, Argued, Called)


class Writer(Protocol):
    """Says an answer in one dialect."""

    def say(self, piece: Piece) -> bytes:
        """What ``piece`` is in this dialect; empty when it says nothing, or not yet."""

    def end(self) -> bytes:
        """The end of the answer. Called once."""


@runtime_checkable
class Breaking(Protocol):
    """A writer whose last words depend on what it had said."""

    def broken(self, error: OpenmaasError) -> bytes:
        """How the answer ends when ``error`` breaks it off."""


class Translated:
    """A ``Reading`` by way of pieces. When every choice has ended nothing more passes before the end: it may carry
    the usage, and what a caller has seen of the end they must have paid for."""

    def __init__(self, writer: Writer, request_id: str, heed: Heed | None = None, choices: int = 1) -> None:
        self.delivering = True
        self.ended = False
        self._events, self._hearing, self._writer = Events(), Hearing(request_id), writer
        self._heed, self._running = heed, choices
        self._delivered = 0
        self._closed = False
        self._unsaid: list[bytes] = []  # of a block whose rest was no answer

    @property
    def usage(self) -> Usage | None:
        """The engine's count."""
        return self._hearing.usage

    def feed(self, block: bytes) -> bytes:
        """See ``Reading``."""
        return self._say(self._events.feed(block))

    def finish(self) -> bytes:
        """See ``Reading``. Raises ``EngineFailed`` when it stopped in mid-answer: a body that ends with its connection
        looks whole where it is cut, and a caller must not take half an answer for one."""
        said = self._say(self._events.finish())
        self._unsaid = [said]  # before what breaks it off
        if not self.ended:
            raise EngineFailed("its answer ended early")
        if self._closed:
            return said
        return said + self._close()

    def delivered(self) -> Usage:
        """About a token for each piece that passed."""
        return Usage(completion_tokens=self._delivered, estimated=True)

    def broken(self, error: OpenmaasError) -> bytes | None:
        """See ``Reading``."""
        if not isinstance(self._writer, Breaking):
            return None
        return b"".join(self._unsaid) + self._writer.broken(error)

    def _say(self, events: list[bytes]) -> bytes:
        said = self._unsaid = []
        for data in events:
            if data == _DONE:
                said.append(self._close())
                continue
            for piece in self._pieces(data):
                self._delivered += self.delivering and isinstance(piece, _TOKENS)
                self._running -= isinstance(piece, Ended)
                self.ended = self.ended or self._running <= 0
                said.append(self._writer.say(piece))
        self._unsaid = []
        return b"".join(said)

    def _pieces(self, data: bytes) -> Iterator[Piece]:
        for piece in self._hearing.hear(data):
            if self._heed is None:
                yield piece
            else:
                yield from self._heed.read(piece)

    def _close(self) -> bytes:
        """The end. Raises ``CallMissing``."""
        self.ended = self._closed = True
        if self._heed is not None:
            self._heed.check()
        return self._writer.end()
