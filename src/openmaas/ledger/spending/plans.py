"""Plans: what a subscription allows, counted in credits. The windows of one plan all count the same credits.

A *rolling* window gives back what was used ``seconds`` after it was used, not at a stroke of the clock. A *cycle*
begins anew every ``seconds`` from the start of the subscription; a *month* on the same day of each month.
"""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

from openmaas.core.money import CREDITS
from openmaas.ledger.spending.holds import Bound, Fill

#: The base URLs on which a plan can be used, and those on which it is when it says no other: those of coding tools.
Way = Literal["api", "coding", "anthropic", "responses"]
ENTRANCES: tuple[Way, ...] = ("coding", "anthropic", "responses")


class Window(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One limit of a plan."""

    name: str
    kind: Literal["rolling", "cycle", "month"]
    amount_nanos: int  # of credits
    seconds: int = 0  # of a rolling window or a cycle

    @property
    def fill(self) -> Fill:
        """What its account begins with."""
        return Fill(self.amount_nanos, self.seconds * 1000 if self.kind == "rolling" else None)


class PlanTerms(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """All that one plan says."""

    windows: tuple[Window, ...]
    price_nanos: int = 0  # of one month
    currency: str = "CNY"
    models: tuple[str, ...] | None = None  # None: every model that has a price in credits
    entrances: tuple[Way, ...] = ENTRANCES  # the base URLs on which it is used
    seats: int | None = None  # requests in flight for each model


class Subscription(msgspec.Struct, frozen=True):
    """An organisation's plan, while it is paid."""

    id: str
    organisation_id: str
    plan_id: str
    started_ms: int
    until_ms: int
    renews: bool
    overflows: bool
    next_plan_id: str | None = None
    trouble: str = ""  # why it could not be renewed yet

    def bounds(self, terms: PlanTerms, now_ms: int) -> tuple[Bound, ...]:
        """The accounts of the windows that run at ``now_ms``, each with what it begins with."""
        return tuple([self._bound(window, now_ms) for window in terms.windows])

    def _bound(self, window: Window, now_ms: int) -> Bound:
        name = f"window:{self.organisation_id}:{self.id}/{window.name}"
        if window.kind == "rolling":
            return Bound(f"{name}:{CREDITS}", window.fill)
        if window.kind == "cycle":
            length_ms = window.seconds * 1000
            begin_ms = now_ms - (now_ms - self.started_ms) % length_ms
            end_ms = begin_ms + length_ms
        else:
            begin_ms, end_ms = month_around(self.started_ms, now_ms)
        return Bound(f"{name}/{begin_ms}:{CREDITS}", window.fill, end_ms)


decode_terms = msgspec.json.Decoder(PlanTerms).decode


def month_around(anchor_ms: int, now_ms: int) -> tuple[int, int]:
    """Begin and end of the month around ``now_ms``, counted from ``anchor_ms`` in UTC; the 31st is the last day."""
    anchor, now = _utc(anchor_ms), _utc(now_ms)
    months = (now.year - anchor.year) * 12 + now.month - anchor.month
    if add_months(anchor, months) > now:
        months -= 1
    return _ms(add_months(anchor, months)), _ms(add_months(anchor, months + 1))


def add_months(moment: datetime, months: int) -> datetime:
    """``moment`` so many months later, on the same day or the last one of the month."""
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    day = min(moment.day, calendar.monthrange(year, month + 1)[1])
    return moment.replace(year=year, month=month + 1, day=day)


def _utc(ms: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=ms)


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
