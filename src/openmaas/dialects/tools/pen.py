"""Writes down pieces for a parser: numbers the calls, and knows which white space belongs to a format.

White space before a call and after one is the format's, not the answer's, and is left out. So it is held back at the
end of what was said, up to ``TOOL_SPACE_MAX``: a model that runs on into blank lines is not waited for.
"""

from __future__ import annotations

from openmaas.core.bounds import TOOL_SPACE_MAX
from openmaas.dialects.pieces import Argued, Called, Said
from openmaas.dialects.tools.parsing import CallEnded, Malformed, NewId, Piece, joined

#: What JSON and the templates take for white space; a Chinese wide space is text.
SPACE = " \t\r\n"


class Pen:
    """The pieces of one answer, as they are found."""

    def __init__(self, new_id: NewId) -> None:
        self._new_id = new_id
        self._pieces: list[Piece] = []
        self._space = ""
        self._long = False  # the white space that runs is too long to be held
        self._after = False  # only white space was said since the last call
        self._last = -1
        self._spoilt: tuple[str, int | None] = "", None
        self.calling = False  # a call has begun and not ended

    def say(self, text: str) -> None:
        """Words for the reader."""
        if self._after:
            text = text.lstrip(SPACE)
        if not text:
            return
        self._after = False
        words = text.rstrip(SPACE)
        if words:
            self._pieces.append(Said(self._space + words))
            self._space, self._long = "", False
        self._space += text[len(words) :]
        if self._long or len(self._space) > TOOL_SPACE_MAX:
            self._flush()
            self._long = True

    def begin(self, name: str) -> None:
        """A call begins."""
        assert not self.calling
        self._space, self._long = "", False
        self._last += 1
        self.calling = True
        self._pieces.append(Called(self._last, self._new_id(), name))

    def argue(self, text: str) -> None:
        """More of its arguments."""
        assert self.calling
        if text:
            self._pieces.append(Argued(self._last, text))

    def end(self) -> None:
        """It is whole."""
        assert self.calling
        self.calling = False
        self._after = True
        self._pieces.append(CallEnded(self._last))

    def spoil(self, text: str, why: str) -> None:
        """It is no call after all: the one that has begun, or what looked like the beginning of one."""
        self._flush()
        self._after = False
        index = self._last if self.calling else None
        self.calling = False
        self._spoilt = why, index
        self._pieces.append(Malformed(text, why, index))

    def spoil_more(self, text: str) -> None:
        """More of the last thing that was no call."""
        if text:
            self._pieces.append(Malformed(text, *self._spoilt))

    def taken(self) -> list[Piece]:
        """What was written since the last time."""
        pieces, self._pieces = joined(self._pieces), []
        return pieces

    def closed(self) -> list[Piece]:
        """The same at the end of the answer."""
        if not self._after:
            self._flush()
        return self.taken()

    def _flush(self) -> None:
        if self._space:
            self._pieces.append(Said(self._space))
            self._space = ""
