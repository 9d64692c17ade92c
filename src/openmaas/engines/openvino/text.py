"""The text of one choice as its tokens come: whole characters, no more than is sure, and nothing of a stop sequence.

It knows bytes of tokens, and no model; ``run.py`` calls it.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from openmaas.engines.stops import Stops


class Text:
    """The text of one choice. ``pieces`` are the bytes of each token."""

    def __init__(self, pieces: Sequence[bytes], stops: Sequence[str]) -> None:
        self._pieces = pieces
        self._stops = Stops(stops)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._ready: list[str] = []

    def token(self, token: int) -> bool:
        """A token. True if it completed a stop sequence: nothing more is to come."""
        return self._say(self._decoder.decode(self._pieces[token]))

    def end(self) -> None:
        """Nothing more comes."""
        if not self._say(self._decoder.decode(b"", final=True)):
            self._ready.append(self._stops.rest())

    def take(self) -> str:
        """What was said since the last time."""
        said, self._ready = "".join(self._ready), []
        return said

    def _say(self, said: str) -> bool:
        sure, ended = self._stops.say(said)
        self._ready.append(sure)
        return ended
