"""The text of one choice as its tokens come: whole characters, no more than is sure, and nothing of a stop sequence.

``text`` is what stands from the first blank to the last, filled: before it and after it the prompt is as it was, so
that the three together are the filled text. With one blank it is the filling, as everywhere on this wire. ``blanks``
has each filling by itself. It knows no model and writes nothing; ``run.py`` calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from openmaas.core.bounds import CHARACTER_TOKENS_MAX
from openmaas.engines.stops import Stops

#: What a decoder writes for bytes that are no character, or not one yet.
_BROKEN = "\N{REPLACEMENT CHARACTER}"


class Text:
    """The text of one choice."""

    def __init__(self, between: Sequence[str], stops: Sequence[str], decode: Callable[[list[int]], str]) -> None:
        """``between`` are the prompt's texts from blank to blank; ``decode`` makes text of tokens, without marks."""
        self._between = between
        self._stops = Stops(stops)
        self._decode = decode
        self._pending: list[int] = []  # tokens that are no whole character yet
        self._ready: list[str] = []
        self.blanks: list[str] = [""]

    def token(self, token: int) -> bool:
        """A token of the present blank. True if it completed a stop sequence: nothing more is to come for the blank."""
        self._pending.append(token)
        said = self._decode(self._pending)
        if said.endswith(_BROKEN) and len(self._pending) < CHARACTER_TOKENS_MAX:
            return False
        self._pending = []
        return self._say(said)

    def end_blank(self) -> None:
        """The present blank is filled: go on to the next one, if there is one."""
        self._flush()
        if len(self.blanks) <= len(self._between):
            self._ready.append(self._between[len(self.blanks) - 1])
            self.blanks.append("")

    def end(self) -> None:
        """Nothing more comes: blanks that are left stay empty."""
        self._flush()
        while len(self.blanks) <= len(self._between):
            self.end_blank()

    def take(self) -> str:
        """What was said since the last time."""
        said, self._ready = "".join(self._ready), []
        return said

    def _flush(self) -> None:
        pending, self._pending = self._pending, []
        if pending and self._say(self._decode(pending)):
            return
        self._fill(self._stops.rest())

    def _say(self, said: str) -> bool:
        sure, ended = self._stops.say(said)
        self._fill(sure)
        return ended

    def _fill(self, said: str) -> None:
        if said:
            self.blanks[-1] += said
            self._ready.append(said)
