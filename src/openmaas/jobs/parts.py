"""What a batch has made so far: lines on disk, so that whoever goes on asks only for the rest.

Each claim of a job writes files of its own (``<turn>.completed``, ``<turn>.failed`` …), each line in one write: a
worker that lost the job and does not know it yet disturbs nobody, a line that was cut off is no line, and of a name
that two claims have written the earlier counts. ``merge`` makes of all of them what the customer gets.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from openmaas.core.errors import StoreFailed
from openmaas.files.depot import Draft

#: How a line went; all but the first go where errors go.
COMPLETED, UNDONE = "completed", ("failed", "cancelled", "expired")


class _Named(msgspec.Struct):
    custom_id: str


_named = msgspec.json.Decoder(_Named)


class Parts:
    """The parts of one job, open to be written under ``turn``. ``done`` are the names that have a line."""

    def __init__(self, folder: Path, turn: int) -> None:
        self._folder = folder
        self.done: dict[str, str] = {}  #: name → how it went
        for _, name, kind in self._lines():
            self.done.setdefault(name, kind)
        self._turn = turn
        self._handles: dict[str, int] = {}

    def count(self, *hows: str) -> int:
        """How many lines went so."""
        return sum(each in hows for each in self.done.values())

    def write(self, how: str, custom_id: str, line: bytes) -> None:
        """Add a line. Raises ``StoreFailed`` when the disk is full."""
        if custom_id in self.done:
            return
        try:
            written = os.write(self._handle(how), line + b"\n")
        except OSError as error:
            raise StoreFailed(f"an answer cannot be written: {error.strerror}") from error
        if written != len(line) + 1:
            raise StoreFailed("an answer cannot be written: the disk is full")
        self.done[custom_id] = how

    def merge(self, hows: tuple[str, ...], draft: Draft) -> None:
        """All lines that went so, each name once, into ``draft``."""
        given: set[str] = set()
        for raw, name, each in self._lines():
            if each in hows and self.done.get(name) == each and name not in given:
                given.add(name)
                draft.write(raw)

    def close(self) -> None:
        """Let go of the files."""
        for handle in self._handles.values():
            os.close(handle)

    def _handle(self, how: str) -> int:
        if how not in self._handles:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._handles[how] = os.open(self._folder / f"{self._turn:06d}.{how}", flags, 0o600)
        return self._handles[how]

    def _lines(self) -> Iterator[tuple[bytes, str, str]]:
        for path in sorted(self._folder.iterdir()):
            with path.open("rb") as file:
                for raw in file:
                    if raw.endswith(b"\n"):
                        try:
                            yield raw, _named.decode(raw).custom_id, path.suffix[1:]
                        except msgspec.MsgspecError:  # the end of a cut off line, and another writer's beginning
                            continue
