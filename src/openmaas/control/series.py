"""Usage as a row of numbers: a time in a customer's zone, cut into its hours or, when it is long, into its days.

Times are said as Zhipu's quota pages say them, ``2026-01-31 14:00:00`` on the clocks of the zone; both ends belong to
the time. An hour that a zone's clocks show twice is one.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from openmaas.core.bounds import SERIES_DAYS_MAX, SERIES_HOURLY_DAYS_MAX
from openmaas.core.errors import FieldInvalid
from openmaas.ledger.posting.hours import COUNTS, Used

_FORM = "%Y-%m-%d %H:%M:%S"
_DAY = timedelta(days=1)


class Span(msgspec.Struct, frozen=True):
    """A time from ``first`` to ``last`` as the clocks of ``zone`` show them, by the hour or by the day."""

    zone: str
    first: datetime
    last: datetime
    daily: bool

    @property
    def bounds_ms(self) -> tuple[int, int]:
        """Begin and end, in UTC; the end is outside."""
        zone = ZoneInfo(self.zone)
        begin, end = self.first.replace(tzinfo=zone), (self.last + timedelta(seconds=1)).replace(tzinfo=zone)
        return round(begin.timestamp() * 1000), round(end.timestamp() * 1000)

    def moments(self) -> list[datetime]:
        """Every hour or day that begins in it, and the one that it begins in."""
        step = _DAY if self.daily else timedelta(hours=1)
        at, found = self._floor(self.first), []
        while at <= self.last:
            found.append(at)
            at += step
        return found

    def moment_of(self, ms: int) -> datetime:
        """The hour or day that a moment lies in."""
        return self._floor(datetime.fromtimestamp(ms / 1000, UTC).astimezone(ZoneInfo(self.zone)))

    def _floor(self, moment: datetime) -> datetime:
        hour = 0 if self.daily else moment.hour
        return moment.replace(hour=hour, minute=0, second=0, microsecond=0, tzinfo=None, fold=0)


def span_of(start: str, end: str, zone: str, now_ms: int, *, days: int, daily: bool = False) -> Span:
    """The time from ``startTime`` to ``endTime``: without an end up to now, without a start ``days`` long; by the day
    when it is ``daily`` or long. Raises ``FieldInvalid``."""
    now = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(ZoneInfo(zone)).replace(microsecond=0, tzinfo=None)
    last = _parse(end, "endTime", zone) if end else now
    first = _parse(start, "startTime", zone) if start else last - days * _DAY
    if first > last:
        raise FieldInvalid("startTime must not be after endTime", field="startTime")
    if last - first > SERIES_DAYS_MAX * _DAY:
        raise FieldInvalid(f"startTime may be {SERIES_DAYS_MAX} days before endTime at most", field="startTime")
    return Span(zone, first, last, daily or last - first > SERIES_HOURLY_DAYS_MAX * _DAY)


def by_model(span: Span, rows: Iterable[Used]) -> list[tuple[str, list[Used]]]:
    """What each model used, moment by moment; the one that used the most first."""
    moments = span.moments()
    places = {moment: number for number, moment in enumerate(moments)}
    found: dict[str, list[Used]] = {}
    for row in rows:
        line = found.setdefault(row.model, [Used(0, row.model)] * len(moments))
        place = places[span.moment_of(row.begin_ms)]
        line[place] = add(line[place], row)
    return sorted(found.items(), key=lambda each: (-total(each[1]).tokens, each[0]))


def across(span: Span, models: list[tuple[str, list[Used]]]) -> list[Used]:
    """All models together, moment by moment."""
    lines = [line for _, line in models] or [[Used(0, "")] * len(span.moments())]
    return [total(column) for column in zip(*lines, strict=True)]


def total(row: Iterable[Used]) -> Used:
    """The sum."""
    found = Used(0, "")
    for each in row:
        found = add(found, each)
    return found


def add(one: Used, other: Used) -> Used:
    """Both together, as a part of the first."""
    return msgspec.structs.replace(one, **{name: getattr(one, name) + getattr(other, name) for name in COUNTS})


def _parse(text: str, field: str, zone: str) -> datetime:
    """What a text says; a time that the clocks of the zone pass over is the one that they show in its place."""
    try:
        found = datetime.strptime(text, _FORM)  # noqa: DTZ007 - the zone is the customer's, which is known
    except ValueError:
        found = None
    if found is None or not 2000 <= found.year <= 9000:  # so that any zone and any step stays within the calendar
        said = f"{field} must be a time such as 2026-01-31 14:00:00, in the organisation's time zone"
        raise FieldInvalid(said, field=field)
    return found.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0)
