"""Stop sequences in a text that comes in pieces: nothing of one is ever said, also when it comes in two pieces.

It knows texts, no tokens and no engine; those that look for stop sequences themselves, llama.cpp, do not need it.
"""

from __future__ import annotations

from collections.abc import Sequence


class Stops:
    """Holds back what may be the beginning of one of ``stops``."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""

    def say(self, said: str) -> tuple[str, bool]:
        """What is sure now that ``said`` has come, and whether a stop sequence is complete: then nothing follows."""
        said = self._held + said
        found = [at for stop in self._stops if (at := said.find(stop)) >= 0]
        if found:
            self._held = ""
            return said[: min(found)], True
        keep = max((_overlap(said, stop) for stop in self._stops), default=0)
        self._held = said[len(said) - keep :]
        return said[: len(said) - keep], False

    def rest(self) -> str:
        """What was held back: nothing more comes, so it begins no stop sequence."""
        held, self._held = self._held, ""
        return held


def _overlap(said: str, stop: str) -> int:
    """How many characters at the end of ``said`` may be the beginning of ``stop``."""
    longest = min(len(said), len(stop) - 1)
    return next((length for length in range(longest, 0, -1) if said.endswith(stop[:length])), 0)
