"""Usage as a page of sums, for the operator and for a customer alike."""

from __future__ import annotations

from datetime import date
from typing import Any

from openmaas.control.show import check_limit, show
from openmaas.core.errors import FieldInvalid
from openmaas.ledger.receipts import list_usage
from openmaas.store.database import Database

#: What usage can be grouped by.
GROUPS = {
    "day": "day",
    "model": "model",
    "key": "key_id",
    "project": "project_id",
    "organisation": "organisation_id",
}


async def usage_page(
    database: Database, by: str, organisation_id: str | None, since: str, until: str, after: int, limit: int
) -> dict[str, Any]:
    """Sums grouped ``by`` a comma-separated list of ``GROUPS``. Raises ``FieldInvalid``."""
    names = [name.strip() for name in by.split(",") if name.strip()]
    for name in names:
        if name not in GROUPS:
            raise FieldInvalid(f"by must be among {', '.join(GROUPS)}, not {name!r}", field="by")
    if after < 0:
        raise FieldInvalid("after must not be negative", field="after")
    rows = await database.read(
        list_usage,
        by=[GROUPS[name] for name in dict.fromkeys(names)],
        organisation_id=organisation_id,
        since_day=_day(since, "since", "0001-01-01"),
        until_day=_day(until, "until", "9999-12-31"),
        offset=after,
        limit=check_limit(limit) + 1,
    )
    more = len(rows) > limit
    return {
        "object": "list",
        "data": [show(row) for row in rows[:limit]],
        "next_after": str(after + limit) if more else None,
    }


def _day(text: str, field: str, default: str) -> str:
    if not text:
        return default
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise FieldInvalid(f"{field} must be a day such as 2026-01-31 (UTC)", field=field) from None
