"""Usage as a page of sums, for the operator and for a customer alike."""

from __future__ import annotations

from datetime import date
from typing import Any

from openmaas.control.show import check_limit, show
from openmaas.core.errors import FieldInvalid
from openmaas.ledger.posting.receipts import list_usage
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
    groups = group_by(by)
    first, last = parse_day(since or "0001-01-01", "since"), parse_day(until or "9999-12-31", "until")
    rows = await database.read(
        list_usage,
        by=groups,
        organisation_id=organisation_id,
        since_day=first,
        until_day=last,
        offset=after,
        limit=check_limit(limit) + 1,
    )
    more = len(rows) > limit
    return {
        "object": "list",
        "data": [show(row) for row in rows[:limit]],
        "next_after": str(after + limit) if more else None,
    }


def group_by(text: str) -> list[str]:
    """``"day,model"`` as columns, each once. Raises ``FieldInvalid``."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in GROUPS:
            raise FieldInvalid(f"by must be among {', '.join(GROUPS)}, not {name!r}", field="by")
    return [GROUPS[name] for name in dict.fromkeys(names)]


def parse_day(text: str, field: str, *, ends: bool = False) -> str:
    """A day as ``2026-01-31``; one whose end is wanted lies before the calendar's last. Raises ``FieldInvalid`` that
    names ``field``."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise FieldInvalid(f"{field} must be a day such as 2026-01-31 (UTC)", field=field) from None
    if ends and day == date.max:
        raise FieldInvalid(f"{field} must lie before {date.max}, after which no day begins", field=field)
    return day.isoformat()
