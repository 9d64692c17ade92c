"""What a worker tells of itself to whoever scrapes: numbers since it started, and jobs as they stand in the book."""

from __future__ import annotations

import msgspec


class Counts(msgspec.Struct):
    """By kind and state; ``lines`` by how they went. The book is one for all hosts, the rest is this worker's own."""

    open: list[tuple[str, str, int]] = []  # kind, running or waiting, how many
    ended: list[tuple[str, str, int]] = []  # kind, state, how many
    lines: dict[str, int] = {}
