"""Time and identity, handed in so that a test can hold them.

``wall_ms`` is UTC milliseconds since 1970, for records; ``mono_s`` never jumps, for time-outs. Ids are ULIDs
(https://github.com/ulid/spec): they sort by time, so an index on them is append-only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Clock(msgspec.Struct, frozen=True):
    """Where time and randomness come from."""

    wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    mono_s: Callable[[], float] = time.monotonic
    random_bytes: Callable[[int], bytes] = os.urandom

    def new_id(self, prefix: str) -> str:
        """A new ULID behind ``prefix``: ``req_01J…``."""
        number = (self.wall_ms() << 80) | int.from_bytes(self.random_bytes(10), "big")
        return prefix + "_" + "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))


def iso_utc(ms: int) -> str:
    """``1795522302000`` → ``"2026-11-24T…Z"``, RFC 3339 in UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
