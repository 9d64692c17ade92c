"""Rows as the API gives them: nano-units become decimal text, milliseconds become RFC 3339, pairs of units and
counts become an object, secrets stay away."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from openmaas.core.bounds import PAGE_SIZE_MAX
from openmaas.core.clock import iso_utc
from openmaas.core.errors import FieldInvalid
from openmaas.core.money import show_amount

_HIDDEN = frozenset({"secret_hash", "secret_sealed", "old_secret_sealed", "credential_sealed", "master_version"})
_DURATIONS = frozenset({"first_byte_ms"})


def show(row: Mapping[str, Any] | msgspec.Struct) -> dict[str, Any]:
    """One row for the outside: ``amount_nanos`` → ``amount``, ``created_ms`` → ``created_at``."""
    fields = msgspec.structs.asdict(row) if isinstance(row, msgspec.Struct) else row
    shown: dict[str, Any] = {}
    for name, value in fields.items():
        if name in _HIDDEN:
            continue
        if name.endswith("_nanos"):
            shown[name.removesuffix("_nanos")] = None if value is None else show_amount(value)
        elif name.endswith("_ms") and name not in _DURATIONS:
            moment = "at" if name == "at_ms" else f"{name.removesuffix('_ms')}_at"
            shown[moment] = iso_utc(value) if value else None
        elif name == "units":
            shown[name] = dict(value or ())
        else:
            shown[name] = sorted(value) if isinstance(value, frozenset) else value
    return shown


def page(rows: list[dict[str, Any]], limit: int, cursor: str = "id") -> dict[str, Any]:
    """A page of a list: ``rows`` were read with ``limit + 1``, so that there is a next page is known, not guessed."""
    more = len(rows) > limit
    data = rows[:limit]
    return {"object": "list", "data": data, "next_after": str(data[-1][cursor]) if more else None}


def parse_time(text: str, field: str) -> int:
    """RFC 3339 → UTC milliseconds. Raises ``FieldInvalid``."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise FieldInvalid(f"{field} must be a time such as 2026-01-31T12:00:00Z", field=field) from None
    if moment.tzinfo is None:
        raise FieldInvalid(f"{field} must say its zone, such as Z for UTC", field=field)
    try:
        return int(moment.astimezone(UTC).timestamp() * 1000)
    except OverflowError:
        raise FieldInvalid(f"{field} must lie between the years 1 and 9999", field=field) from None


def check_limit(limit: int) -> int:
    """Raises ``FieldInvalid`` for a page size that nobody serves."""
    if not 1 <= limit <= PAGE_SIZE_MAX:
        raise FieldInvalid(f"limit must be between 1 and {PAGE_SIZE_MAX}", field="limit")
    return limit
