"""The price book: what a token costs, and since when. A price is never changed, only followed by a newer version."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from openmaas.core.errors import FieldInvalid
from openmaas.core.money import charge_nanos, worst_nanos
from openmaas.core.usage import Usage
from openmaas.ledger.law import prices
from openmaas.store.changes import note


class Price(msgspec.Struct, frozen=True):
    """Nano-units of ``currency`` per million tokens, from ``from_ms`` on."""

    version: int
    model: str
    currency: str
    input_nanos: int
    cached_nanos: int
    output_nanos: int
    from_ms: int

    def charge(self, usage: Usage) -> int:
        """What ``usage`` costs: three lines, each rounded half up once."""
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        return (
            charge_nanos(usage.prompt_tokens - cached, self.input_nanos)
            + charge_nanos(cached, self.cached_nanos)
            + charge_nanos(usage.completion_tokens, self.output_nanos)
        )

    def worst(self, prompt_tokens: int, completion_tokens: int) -> int:
        """The most that many tokens can cost: nothing cached, each line rounded up."""
        return worst_nanos(prompt_tokens, self.input_nanos) + worst_nanos(completion_tokens, self.output_nanos) + 1


def set_price(
    tx: sa.Connection,
    *,
    model: str,
    currency: str,
    input_nanos: int,
    output_nanos: int,
    cached_nanos: int | None,
    from_ms: int,
) -> Price:
    """A new version for ``model``; ``cached_nanos`` is ``input_nanos`` when not given. Raises ``FieldInvalid``."""
    cached = input_nanos if cached_nanos is None else cached_nanos
    for field, value in (("input", input_nanos), ("cached", cached), ("output", output_nanos)):
        if value < 0:
            raise FieldInvalid(f"the {field} price must not be negative", field=field)
    if cached > input_nanos:
        raise FieldInvalid("the cached price must not be above the input price", field="cached")
    row = {
        "model": model,
        "currency": currency,
        "input_nanos": input_nanos,
        "cached_nanos": cached,
        "output_nanos": output_nanos,
        "from_ms": from_ms,
    }
    version = tx.execute(prices.insert().values(row).returning(prices.c.version)).scalar_one()
    note(tx, "prices", model)
    return Price(version=version, **row)  # type: ignore[arg-type]  # the row has exactly the fields of Price


def list_prices(
    tx: sa.Connection, *, model: str | None = None, after: int = 0, limit: int | None = None
) -> list[Price]:
    """Prices by version, after ``after``; all of them without ``limit``."""
    query = sa.select(prices).where(prices.c.version > after).order_by(prices.c.version).limit(limit)
    if model is not None:
        query = query.where(prices.c.model == model)
    return [Price(**row) for row in tx.execute(query).mappings()]


class PriceBook:
    """All prices, to be asked for the one in force at a moment."""

    def __init__(self, rows: list[Price]) -> None:
        self._by_model: dict[str, list[Price]] = {}
        self._by_version = {row.version: row for row in rows}
        for row in sorted(rows, key=lambda row: (row.from_ms, row.version), reverse=True):
            self._by_model.setdefault(row.model, []).append(row)

    def at(self, model: str, ms: int) -> Price | None:
        """The price of ``model`` at ``ms``: the latest that has begun; of two from one moment the newer version."""
        for price in self._by_model.get(model, ()):
            if price.from_ms <= ms:
                return price
        return None

    def version(self, version: int) -> Price:
        """The price of this version."""
        return self._by_version[version]


def price_book(tx: sa.Connection) -> PriceBook:
    """All prices there are."""
    return PriceBook(list_prices(tx))
