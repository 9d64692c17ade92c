"""What parsers of a model's text share: it comes in pieces, and steps read it one after another, as far as they can."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from openmaas.dialects.tools.parsing import NewId, Piece
from openmaas.dialects.tools.pen import Pen
from openmaas.dialects.tools.tape import Tape, bites


class Steps(ABC):
    """A ``Parser`` by steps. A step reads on and is true when the next may read more."""

    def __init__(self, new_id: NewId) -> None:
        self._pen = Pen(new_id)
        self._tape = Tape()
        self._step: Callable[[], bool] = self._text

    def feed(self, text: str) -> list[Piece]:
        """See ``Parser``."""
        for bite in bites(text):
            self._tape.text += bite
            while self._step():
                pass
        return self._pen.taken()

    def finish(self) -> list[Piece]:
        """See ``Parser``."""
        rest = self._tape.rest()
        if self._step == self._spoilt:
            self._pen.spoil_more(rest)
        else:
            self._end(rest)
        return self._pen.closed()

    @abstractmethod
    def _text(self) -> bool:
        """Words, up to what may be a call."""

    @abstractmethod
    def _spoilt(self) -> bool:
        """The rest of what was no call."""

    @abstractmethod
    def _end(self, rest: str) -> None:
        """The answer ended, with ``rest`` unread."""
