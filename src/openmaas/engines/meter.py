"""The durable count: one JSON line for each answer, on the kernel's side before the answer's last bytes leave.

It survives the death of the engine and of the relay (``process`` durability: written, not synced). An engine appends;
whoever settles orphans reads with ``find``. It knows tokens and units, not prices. A file above ``METER_BYTES_MAX``
goes on in ``<name>.1``, then ``<name>.2``: the highest number is the newest. ``forget`` removes old ones, beside who
reads.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from openmaas.core.bounds import METER_BYTES_MAX
from openmaas.core.clock import Clock
from openmaas.core.usage import Units, Usage

_PREFIX = b'{"request_id":"'

Outcome = Literal["done", "cancelled", "failed"]


class MeterLine(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What one request made an engine do. ``cached_tokens`` is part of ``prompt_tokens``."""

    request_id: str
    model: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    outcome: Outcome
    at_ms: int
    units: Units = ()


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(MeterLine)


class Meter:
    """The appending end of a meter file, owned by one engine process."""

    def __init__(self, path: str | Path, clock: Clock, *, bytes_max: int = METER_BYTES_MAX) -> None:
        self._path = Path(path)
        self._clock = clock
        self._bytes_max = bytes_max
        self._number = max((number for number, _ in _generations(self._path)), default=0)
        self._open()

    def append(
        self, request_id: str, model: str, counts: tuple[int, int, int], outcome: Outcome, units: Units = ()
    ) -> None:
        """Write one line; ``counts`` are prompt, cached, completion tokens. Raises ``OSError`` when the disk does."""
        line = _encoder.encode(MeterLine(request_id, model, *counts, outcome, self._clock.wall_ms(), units)) + b"\n"
        if self._size + len(line) > self._bytes_max and self._size:
            os.close(self._fd)
            self._number += 1
            self._open()
        self._size += os.write(self._fd, line)

    def close(self) -> None:
        """Give the file back."""
        os.close(self._fd)

    def _open(self) -> None:
        while True:
            path = _generation(self._path, self._number)
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._size = os.fstat(self._fd).st_size
            if self._size <= self._bytes_max:
                break
            os.close(self._fd)
            self._number += 1
        if self._size and os.pread(self._fd, 1, self._size - 1) != b"\n":
            self._size += os.write(self._fd, b"\n")  # a torn last line must not swallow the next one


def find(places: str | Path | Iterable[str | Path], request_ids: Collection[str] | None = None) -> dict[str, MeterLine]:
    """The lines of ``request_ids``, or of all, in meter files (with their rotations) or folders of them, newest files
    first.

    An id with no line is absent; a torn or foreign line is passed over; of two lines the later one counts.
    """
    wanted = None if request_ids is None else {request_id.encode() for request_id in request_ids}
    found: dict[str, MeterLine] = {}
    for path in _newest_first([places] if isinstance(places, str | Path) else places):
        if wanted is not None and not wanted:
            break
        here = {}
        for line in _lines_of(path, wanted):
            here[line.request_id] = line
        for request_id, line in here.items():
            found.setdefault(request_id, line)
            if wanted is not None:
                wanted.discard(request_id.encode())
    return found


def usages(lines: dict[str, MeterLine]) -> dict[str, Usage]:
    """The same as the ledger counts it."""
    return {
        request_id: Usage(line.prompt_tokens, line.completion_tokens, line.cached_tokens, units=line.units)
        for request_id, line in lines.items()
    }


def forget(folder: Path, before_ms: int) -> None:
    """Remove the files that were last written before ``before_ms``; the newest of each meter stays: an engine that has
    nothing to count may have it open."""
    numbered = [(*_number(path), path) for path in folder.iterdir()]
    newest: dict[str, int] = {}
    for name, number, _ in numbered:
        newest[name] = max(number, newest.get(name, 0))
    for name, number, path in numbered:
        if number < newest[name] and path.stat().st_mtime_ns < before_ms * 1_000_000:
            path.unlink()


def _lines_of(path: Path, wanted: set[bytes] | None) -> Iterator[MeterLine]:
    start = len(_PREFIX)
    with suppress(FileNotFoundError), path.open("rb") as lines:  # forgotten since it was listed
        for line in lines:
            if not line.startswith(_PREFIX):
                continue
            if wanted is None or line[start : line.find(b'"', start)] in wanted:
                try:
                    yield _decoder.decode(line)
                except msgspec.DecodeError:
                    continue


def _newest_first(places: Iterable[str | Path]) -> list[Path]:
    files: dict[Path, tuple[int, int]] = {}
    for place in map(Path, places):
        names = [path for path in place.iterdir() if path.is_file()] if place.is_dir() else [place]
        for name in names:
            for number, path in _generations(name):
                with suppress(FileNotFoundError):
                    files[path] = (path.stat().st_mtime_ns, number)
    return sorted(files, key=lambda path: files[path], reverse=True)


def _generations(path: Path) -> list[tuple[int, Path]]:
    found = [(0, path)] if path.exists() else []
    if path.parent.is_dir():
        for other in path.parent.glob(f"{path.name}.*"):
            suffix = other.name[len(path.name) + 1 :]
            if suffix.isdecimal():
                found.append((int(suffix), other))
    return found


def _number(path: Path) -> tuple[str, int]:
    name, _, suffix = path.name.rpartition(".")
    return (name, int(suffix)) if suffix.isdecimal() else (path.name, 0)


def _generation(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}") if number else path
