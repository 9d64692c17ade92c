"""The thought before an answer: ``<think>…</think>`` taken off, the rest handed to the parser of calls.

A thought stands at the beginning only: a model that writes about ``<think>`` later is not misread. Where the prompt
ends with ``<think>`` (GLM-4.7), the answer begins inside the thought. A ``<tool_call>`` at the beginning of a line ends
a thought that was not closed; in the middle of a line it is a word.
"""

from __future__ import annotations

from openmaas.core.bounds import TOOL_SPACE_MAX
from openmaas.dialects.pieces import Thought
from openmaas.dialects.tools.parsing import Parser, Piece, joined
from openmaas.dialects.tools.pen import SPACE
from openmaas.dialects.tools.tape import Tape, bites

_OPEN, _CLOSE, _CALL = "<think>", "</think>", "\n<tool_call>"


class Thinking:
    """A ``Parser`` in front of a ``Parser``. ``inside``: the prompt has opened the thought already."""

    def __init__(self, rest: Parser, *, inside: bool = False) -> None:
        self._rest = rest
        self._tape = Tape()
        self._step = self._think if inside else self._begin
        self._lead: str | None = ""  # white space before the first word of the thought; None once there was one
        self._pieces: list[Piece] = []

    def feed(self, text: str) -> list[Piece]:
        """See ``Parser``."""
        for bite in bites(text):
            self._tape.text += bite
            while self._step():
                pass
        pieces, self._pieces = joined(self._pieces), []
        return pieces

    def finish(self) -> list[Piece]:
        """See ``Parser``."""
        if self._step == self._think:
            self._thought(self._tape.rest())
        elif self._step == self._begin:
            self._pieces += self._rest.feed(self._tape.rest())
        pieces, self._pieces = self._pieces + self._rest.finish(), []
        return joined(pieces)

    def _begin(self) -> bool:
        text = self._tape.text.lstrip(SPACE)
        if len(self._tape.text) - len(text) <= TOOL_SPACE_MAX:
            for tag, step in ((_OPEN, self._think), (_CLOSE, self._between)):
                if text.startswith(tag):
                    self._tape.text = text[len(tag) :]
                    self._step = step
                    return True
            if _OPEN.startswith(text) or _CLOSE.startswith(text):
                return False
        self._step = self._pass
        return True

    def _think(self) -> bool:
        words, tag = self._tape.until(_CLOSE, _CALL)
        self._thought(words)
        if tag == _CALL:
            self._tape.text = _CALL[1:] + self._tape.text
            self._step = self._pass
        elif tag:
            self._step = self._between
        return bool(tag)

    def _thought(self, words: str) -> None:
        """Words of the thought, exactly; one of white space only is none."""
        if self._lead is not None:
            words = self._lead + words
            if not words.strip(SPACE) and len(words) <= TOOL_SPACE_MAX:
                self._lead = words
                return
            self._lead = None
        if words:
            self._pieces.append(Thought(words))

    def _between(self) -> bool:
        self._tape.text = self._tape.text.lstrip(SPACE)
        if self._tape.text:
            self._step = self._pass
        return bool(self._tape.text)

    def _pass(self) -> bool:
        if self._tape.text:
            self._pieces += self._rest.feed(self._tape.rest())
        return False
