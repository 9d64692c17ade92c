"""Time and identity, handed in so that a test can hold them.

``wall_ms`` is UTC milliseconds since 1970, for records; ``mono_s`` never jumps, for time-outs. Ids are ULIDs
(https://github.com/ulid/spec): they sort by time, so an index on them is append-only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ULID_CHARS = 26

#: The letter of a byte's last five bits.
_LETTERS = bytes(ord(_ALPHABET[byte & 31]) for byte in range(256))


@lru_cache(1)
def _moment(ms: int) -> str:
    return "".join([_ALPHABET[ms >> shift & 31] for shift in range(45, -1, -5)])


class Clock(msgspec.Struct, frozen=True):
    """Where time and randomness come from."""

    wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    mono_s: Callable[[], float] = time.monotonic
    random_bytes: Callable[[int], bytes] = os.urandom

    def new_id(self, prefix: str) -> str:
        """A new ULID behind ``prefix``: ``req_01J…``."""
        return f"{prefix}_{_moment(self.wall_ms())}{self.random_bytes(16).translate(_LETTERS).decode()}"


def made_ms(id_: str) -> int | None:
    """When an id was made, UTC milliseconds; None for what is no ULID behind a prefix."""
    text = id_.rpartition("_")[2]
    if len(text) != _ULID_CHARS or not set(text) <= set(_ALPHABET):
        return None
    return sum(_ALPHABET.index(letter) << shift for letter, shift in zip(text, range(45, -1, -5), strict=False))


def iso_utc(ms: int) -> str:
    """``1795522302000`` → ``"2026-11-24T…Z"``, RFC 3339 in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
