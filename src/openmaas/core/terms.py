"""What a use costs: bands, units, hours of the day, the batch discount. Pure arithmetic on integers.

A request is priced whole in one band, which its prompt and its answer choose together, so the price is known at the
end; the hold is taken at the dearest band it can reach (https://docs.bigmodel.cn/cn/guide/models). A factor is parts
per million. Prices are nano-units of a currency per million tokens or units. A currency is money, or a plan's credits,
or tokens of a resource pack: all are counted alike.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec

from openmaas.core.money import MILLION, WHOLE, charge_nanos, worst_nanos
from openmaas.core.usage import Units, Usage

MINUTES_A_DAY = 24 * 60
WEEKDAYS = 7


class Band(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Prices from ``input_from`` prompt tokens and ``output_from`` generated tokens on."""

    input_nanos: int
    cached_nanos: int
    output_nanos: int
    reasoning_nanos: int | None = None  # the part of the output spent thinking; as the output when None
    input_from: int = 0
    output_from: int = 0

    def charge(self, usage: Usage, factor: int) -> int:
        """The token lines of ``usage``, each rounded half up once."""
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        total = charge_nanos(usage.prompt_tokens - cached, self.input_nanos, factor)
        total += charge_nanos(cached, self.cached_nanos, factor)
        if self.reasoning_nanos is None:
            return total + charge_nanos(usage.completion_tokens, self.output_nanos, factor)
        thought = min(usage.reasoning_tokens, usage.completion_tokens)
        total += charge_nanos(usage.completion_tokens - thought, self.output_nanos, factor)
        return total + charge_nanos(thought, self.reasoning_nanos, factor)

    def worst(self, prompt_tokens: int, completion_tokens: int, factor: int) -> int:
        """The most that many tokens can cost: nothing cached, all of the dearer kind, each line rounded up."""
        output = max(self.output_nanos, self.reasoning_nanos or 0)
        read = worst_nanos(prompt_tokens, self.input_nanos, factor)
        said = worst_nanos(completion_tokens, output, factor)
        # What costs something can have a part that is rounded up beside its rest; what is free needs no money.
        return read + (read > 0) + said + (said > 0 and self.reasoning_nanos is not None)


class Hours(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A factor on what is opened between two times of the day in a zone, on all days or some (0 is Monday)."""

    from_minute: int
    until_minute: int  # smaller than ``from_minute``: past midnight
    zone: str
    factor_ppm: int
    days: tuple[int, ...] = ()

    def hold(self, ms: int) -> bool:
        """True when ``ms`` (UTC) lies in them. The day is the one on which they began."""
        local = datetime.fromtimestamp(ms / 1000, UTC).astimezone(_zone(self.zone))
        minute, day = local.hour * 60 + local.minute, local.weekday()
        if self.from_minute <= self.until_minute:
            inside = self.from_minute <= minute < self.until_minute
        else:
            inside = minute >= self.from_minute or minute < self.until_minute
            if minute < self.until_minute:
                day = (day - 1) % WEEKDAYS
        return inside and (not self.days or day in self.days)


class Terms(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """All that one price version says. ``bands`` are in the order of (input_from, output_from)."""

    bands: tuple[Band, ...]
    units: dict[str, int] = {}  # by the names of ``core.usage.UNITS``
    hours: tuple[Hours, ...] = ()  # the first that holds counts
    batch_ppm: int = MILLION // 2

    def factor(self, opened_ms: int, *, batch: bool) -> int:
        """The factor for a request opened at ``opened_ms``, of ``WHOLE``."""
        if not (self.hours or batch):
            return WHOLE
        ppm = next((hours.factor_ppm for hours in self.hours if hours.hold(opened_ms)), MILLION)
        return ppm * (self.batch_ppm if batch else MILLION)

    def charge(self, usage: Usage, factor: int = WHOLE) -> int:
        """What ``usage`` costs."""
        band = self.bands[0] if len(self.bands) == 1 else self._band(usage.prompt_tokens, usage.completion_tokens)
        total = band.charge(usage, factor)
        for unit, count in usage.units:
            total += charge_nanos(count, self.units.get(unit, 0), factor)
        return total

    def worst(self, prompt_tokens: int, completion_tokens: int, factor: int = WHOLE, units: Units = ()) -> int:
        """The most that so many tokens, in the dearest band that they can reach, and so many units can cost."""
        most = 0
        for unit, count in units:
            most += worst_nanos(count, self.units.get(unit, 0), factor)
        if len(self.bands) == 1:
            return most + self.bands[0].worst(prompt_tokens, completion_tokens, factor)
        return most + max(
            band.worst(prompt_tokens, completion_tokens, factor)
            for band in self.bands
            if band.input_from <= prompt_tokens and band.output_from <= completion_tokens
        )

    def _band(self, prompt_tokens: int, completion_tokens: int) -> Band:
        return next(
            band
            for band in reversed(self.bands)
            if band.input_from <= prompt_tokens and band.output_from <= completion_tokens
        )


def flat(input_nanos: int, output_nanos: int, cached_nanos: int | None = None) -> Terms:
    """One band for everything."""
    return Terms((Band(input_nanos, input_nanos if cached_nanos is None else cached_nanos, output_nanos),))


@lru_cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
