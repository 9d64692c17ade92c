"""Calendar months in a time zone: the periods of invoices."""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from openmaas.core.errors import FieldInvalid
from openmaas.ledger.spending.plans import add_months

_MONTH = re.compile(r"([1-9][0-9]{3})-(0[1-9]|1[0-2])")


def month_bounds(period: str, zone: str) -> tuple[int, int]:
    """Begin and end (UTC ms) of a month such as ``2026-11``. Raises ``FieldInvalid``."""
    begin = _begin(period, ZoneInfo(zone))
    return _ms(begin), _ms(add_months(begin, 1))


def month_after(period: str) -> str:
    """``2026-12`` → ``2027-01``."""
    return add_months(_begin(period, UTC), 1).strftime("%Y-%m")


def month_of(ms: int, zone: str) -> str:
    """The month that a moment lies in."""
    return datetime.fromtimestamp(ms / 1000, ZoneInfo(zone)).strftime("%Y-%m")


def _begin(period: str, zone: tzinfo) -> datetime:
    found = _MONTH.fullmatch(period)
    if found is None:
        raise FieldInvalid("period must be a month such as 2026-11", field="period")
    return datetime(int(found[1]), int(found[2]), 1, tzinfo=zone)


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
