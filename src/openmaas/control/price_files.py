"""Price files: the prices of many models in one TOML file, each a ``[[prices]]`` in the shape of ``NewPrice``.

A file is booked whole or not at all, and twice is once: a price that counts already in the same terms makes no new
version. It may price models that nobody offers yet. Called by the command line.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from pydantic import ValidationError

from openmaas.control.pricing import terms_of
from openmaas.control.shapes import NewPrice
from openmaas.control.show import parse_time
from openmaas.core.bounds import PRICE_FILE_BYTES_MAX
from openmaas.core.errors import FieldInvalid, ThingUnknown
from openmaas.core.terms import Terms
from openmaas.identity.book import need_organisation
from openmaas.ledger.prices import Price, check_price, list_prices, set_price


class Entry(msgspec.Struct, frozen=True):
    """One price of a file. ``place`` is how a message names it; without ``from_ms`` it counts from the import on."""

    place: str
    model: str
    currency: str
    organisation_id: str
    terms: Terms
    from_ms: int | None
    until_ms: int | None
    memo: str


def read_prices(path: Path, currency: str) -> list[Entry]:
    """The entries of a file; ``currency`` is for those that name none. Raises ``FieldInvalid`` that names the entry."""
    try:
        if path.stat().st_size > PRICE_FILE_BYTES_MAX:
            raise FieldInvalid(f"{path} is longer than {PRICE_FILE_BYTES_MAX} bytes", field="file")
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FieldInvalid(f"{path} cannot be read: {error}", field="file") from None
    rows = found.pop("prices", None)
    if found or not isinstance(rows, list) or not rows:
        raise FieldInvalid(f"{path} must hold [[prices]] and nothing else", field="prices")
    return [_entry(f"{path.name}, price {number}", row, currency) for number, row in enumerate(rows, 1)]


def import_prices(tx: sa.Connection, entries: list[Entry], now_ms: int, *, dry_run: bool) -> list[tuple[str, Price]]:
    """Set each price that does not count yet: ``new`` or ``unchanged``, and the version (0 in a dry run).

    Raises ``FieldInvalid`` that names the entry.
    """
    done = []
    for entry in entries:
        known = _counting(tx, entry, now_ms)
        if known is not None and known.terms == entry.terms:
            done.append(("unchanged", known))
        else:
            done.append(("new", _set(tx, entry, now_ms, dry_run=dry_run)))
    return done


def _counting(tx: sa.Connection, entry: Entry, now_ms: int) -> Price | None:
    """What counts in the place of ``entry``: promotions with another end lie above it and are not asked."""
    same = (entry.currency, entry.organisation_id, entry.until_ms)
    found = [
        price
        for price in list_prices(tx, model=entry.model)
        if (price.currency, price.organisation_id, price.until_ms) == same
        and (price.from_ms <= now_ms if entry.from_ms is None else price.from_ms == entry.from_ms)
    ]
    return max(found, key=lambda price: (price.from_ms, price.version), default=None)


def _set(tx: sa.Connection, entry: Entry, now_ms: int, *, dry_run: bool) -> Price:
    row: dict[str, Any] = {name: value for name, value in msgspec.structs.asdict(entry).items() if name != "place"}
    row["from_ms"] = now_ms if entry.from_ms is None else entry.from_ms
    try:
        check_price(row["currency"], row["terms"], row["from_ms"], row["until_ms"])
        if entry.organisation_id:
            need_organisation(tx, entry.organisation_id)
    except (FieldInvalid, ThingUnknown) as error:
        raise _named(entry.place, error) from None
    return Price(version=0, **row) if dry_run else set_price(tx, **row)


def _entry(place: str, row: Any, currency: str) -> Entry:
    if isinstance(row, dict) and isinstance(row.get("model"), str):
        place = f"{place} ({row['model']})"
    try:
        body = NewPrice.model_validate(row)
        return Entry(
            place,
            body.model,
            body.currency or currency,
            body.organisation_id,
            terms_of(body),
            None if body.from_time is None else parse_time(body.from_time, "from_time"),
            None if body.until_time is None else parse_time(body.until_time, "until_time"),
            body.memo,
        )
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise FieldInvalid(f"{place}: {field}: {first['msg']}", field=field) from None
    except FieldInvalid as error:
        raise _named(place, error) from None


def _named(place: str, error: FieldInvalid | ThingUnknown) -> FieldInvalid:
    return FieldInvalid(f"{place}: {error.field}: {error.detail}", field=error.field)
