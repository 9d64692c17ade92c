"""The price book: what a use costs, for whom, since when. A price is not changed, only followed by a newer version.

A version with an organisation is that customer's contract and goes before the list price; one with an end is a
promotion, after which the one before it counts again.
"""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import sqlalchemy as sa

from openmaas.core.errors import FieldInvalid
from openmaas.core.money import CREDITS, MILLION, NANO, TOKENS, check_currency
from openmaas.core.terms import MINUTES_A_DAY, WEEKDAYS, Terms, flat
from openmaas.core.usage import UNITS, Units, Usage
from openmaas.ledger.law import prices
from openmaas.ledger.law_sold import packs
from openmaas.ledger.legs import Leg, split
from openmaas.store.changes import note

#: One token of a pack for each token used, until the operator sets another price in tokens.
ONE_FOR_ONE = flat(MILLION * NANO, MILLION * NANO)
_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(Terms).decode


class Price(msgspec.Struct, frozen=True):
    """One version: ``terms`` for ``model`` in ``currency``, from ``from_ms`` until ``until_ms`` (None: for good)."""

    version: int
    model: str
    currency: str
    organisation_id: str  # empty: for everybody
    terms: Terms
    from_ms: int
    until_ms: int | None
    memo: str

    def charge(self, usage: Usage, opened_ms: int, *, batch: bool = False) -> int:
        """What ``usage`` of a request opened at ``opened_ms`` costs."""
        return self.terms.charge(usage, self.terms.factor(opened_ms, batch=batch))

    def worst(
        self, prompt_tokens: int, completion_tokens: int, opened_ms: int, *, batch: bool = False, units: Units = ()
    ) -> int:
        """The most that it can cost."""
        return self.terms.worst(prompt_tokens, completion_tokens, self.terms.factor(opened_ms, batch=batch), units)


def set_price(
    tx: sa.Connection,
    *,
    model: str,
    currency: str,
    terms: Terms,
    from_ms: int,
    until_ms: int | None = None,
    organisation_id: str = "",
    memo: str = "",
) -> Price:
    """A new version for ``model``; the first one gives it a price in tokens too, when somebody has a pack for every
    model. Raises ``FieldInvalid``."""
    check_price(currency, terms, from_ms, until_ms)
    row = {
        "model": model,
        "currency": currency,
        "organisation_id": organisation_id,
        "from_ms": from_ms,
        "until_ms": until_ms,
        "memo": memo,
    }
    values = {**row, "terms": _encode(terms).decode()}
    version = tx.execute(prices.insert().values(values).returning(prices.c.version)).scalar_one()
    note(tx, "prices", model)
    for_every_model = packs.c.models.is_(sa.null()) & packs.c.account_id.endswith(f":{TOKENS}")
    if currency != TOKENS and tx.execute(sa.select(packs.c.account_id).where(for_every_model)).first() is not None:
        price_in_tokens(tx, (model,))
    return Price(version=version, terms=terms, **row)  # type: ignore[arg-type]  # the row has exactly these fields


def price_in_tokens(tx: sa.Connection, models: tuple[str, ...] | None) -> None:
    """Give models (all that have a price, when None) that have no price in tokens the one that packs expect."""
    if models is None:
        models = tuple(tx.execute(sa.select(prices.c.model).distinct()).scalars())
    priced = sa.select(prices.c.model).where(prices.c.currency == TOKENS)
    for model in sorted(set(models) - set(tx.execute(priced).scalars())):
        set_price(tx, model=model, currency=TOKENS, terms=ONE_FOR_ONE, from_ms=0, memo="one for one")


def price_as(tx: sa.Connection, model: str, base: str, organisation_id: str, now_ms: int) -> None:
    """Give a model that is this organisation's what its base costs it, from now on: the list prices, its contracts,
    those that begin later too. What the base costs one day by a newer version is the base's alone."""
    for price in list_prices(tx, model=base):
        if price.organisation_id in ("", organisation_id) and (price.until_ms is None or price.until_ms > now_ms):
            row = {
                name: getattr(price, name) for name in ("currency", "terms", "from_ms", "until_ms", "organisation_id")
            }
            set_price(tx, model=model, memo=f"as {base}", **row)


def check_price(currency: str, terms: Terms, from_ms: int, until_ms: int | None) -> None:
    """Raises ``FieldInvalid`` for a version that cannot be."""
    if currency not in (CREDITS, TOKENS):
        check_currency(currency)
    check_terms(terms)
    if until_ms is not None and until_ms <= from_ms:
        raise FieldInvalid("until_time must be after from_time", field="until_time")


def check_terms(terms: Terms) -> None:
    """Raises ``FieldInvalid`` for terms under which a worst case would not be the worst, or that mean nothing."""
    places = [(band.input_from, band.output_from) for band in terms.bands]
    if not places or places[0] != (0, 0) or sorted(set(places)) != places:
        raise FieldInvalid("bands must begin at 0 and 0 and ascend by input_from, then output_from", field="bands")
    for band in terms.bands:
        for field in ("input", "cached", "output", "reasoning"):
            if (getattr(band, f"{field}_nanos") or 0) < 0:
                raise FieldInvalid(f"the {field} price must not be negative", field=field)
        if band.cached_nanos > band.input_nanos:
            raise FieldInvalid("the cached price must not be above the input price", field="cached")
    for unit, nanos in terms.units.items():
        if unit not in UNITS or nanos < 0:
            raise FieldInvalid(f"units are {', '.join(UNITS)} with a price of at least 0, not {unit!r}", field="units")
    for hours in terms.hours:
        if not (0 <= hours.from_minute < MINUTES_A_DAY and 0 <= hours.until_minute <= MINUTES_A_DAY):
            raise FieldInvalid("hours must lie between 00:00 and 24:00", field="hours")
        check_zone(hours.zone, "hours")
        if hours.factor_ppm < 0 or any(not 0 <= day < WEEKDAYS for day in hours.days):
            raise FieldInvalid("hours need a factor of at least 0 and days from 0 (Monday) to 6", field="hours")
    if not 0 <= terms.batch_ppm <= MILLION:
        raise FieldInvalid("the batch factor must be between 0 and 1", field="batch")


def check_zone(name: str, field: str) -> str:
    """``name``, when it is a time zone. Raises ``FieldInvalid``."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise FieldInvalid(f"there is no time zone {name!r}; it is such as Asia/Shanghai", field=field) from None
    return name


def list_prices(
    tx: sa.Connection, *, model: str | None = None, after: int = 0, limit: int | None = None
) -> list[Price]:
    """Prices by version, after ``after``; all of them without ``limit``."""
    query = sa.select(prices).where(prices.c.version > after).order_by(prices.c.version).limit(limit)
    if model is not None:
        query = query.where(prices.c.model == model)
    return [Price(**{**row, "terms": _decode(row["terms"])}) for row in tx.execute(query).mappings()]


def find_price(tx: sa.Connection, version: int) -> Price:
    """The price of this version, which a receipt names."""
    return list_prices(tx, after=version - 1, limit=1)[0]


class PriceBook:
    """All prices, to be asked for the one in force at a moment."""

    def __init__(self, rows: list[Price]) -> None:
        self._by_model: dict[str, list[Price]] = {}
        self._by_version = {row.version: row for row in rows}
        for row in sorted(rows, key=lambda row: (row.organisation_id, row.from_ms, row.version), reverse=True):
            self._by_model.setdefault(row.model, []).append(row)  # contracts first, then the latest

    def at(self, model: str, ms: int, currency: str, organisation_id: str = "") -> Price | None:
        """The price of ``model`` at ``ms``: the customer's contract, else the list; of these the latest that has begun
        and has not ended; of two from one moment the newer version."""
        for price in self._by_model.get(model, ()):
            if (
                price.currency == currency
                and price.from_ms <= ms
                and (price.until_ms is None or ms < price.until_ms)
                and (not price.organisation_id or price.organisation_id == organisation_id)
            ):
                return price
        return None

    def version(self, version: int) -> Price:
        """The price of this version."""
        return self._by_version[version]

    def bill(self, legs: Sequence[Leg], usage: Usage, opened_ms: int, *, batch: bool) -> tuple[tuple[int, ...], int]:
        """What each leg pays for ``usage``, and the excess over all holds, in the currency of the last leg."""
        if len(legs) == 1:
            cost, hold = (
                self._by_version[legs[0].price_version].charge(usage, opened_ms, batch=batch),
                legs[0].hold_nanos,
            )
            return ((cost,), 0) if cost <= hold else ((hold,), cost - hold)
        costs = [self._by_version[leg.price_version].charge(usage, opened_ms, batch=batch) for leg in legs]
        return split(costs, [leg.hold_nanos for leg in legs])


def price_book(tx: sa.Connection) -> PriceBook:
    """All prices there are."""
    return PriceBook(list_prices(tx))
