"""Price files: booked whole or not at all, twice is once, and a mistake names its entry and field."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from openmaas.control.price_files import import_prices, read_prices
from openmaas.core.errors import FieldInvalid
from openmaas.ledger.prices import list_prices, price_book
from openmaas.store.database import Database
from servers import STORES, new_database

SHIPPED = sorted((Path(__file__).parents[2] / "prices").glob("*.toml"))
NOW_MS = 1_785_513_600_000  # 2026-08-01
LIST = '[[prices]]\nmodel = "m"\ninput = "{}"\noutput = "4"\n'
PROMOTION = LIST.format(1) + 'until_time = "2026-09-01T00:00:00Z"\n'


@pytest.fixture(params=STORES)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database of each kind."""
    made = new_database(request.param, tmp_path)
    yield made
    made.close()


def book(database: Database, path: Path, now_ms: int = NOW_MS, *, dry_run: bool = False) -> list[str]:
    """What became of each price of a file."""
    entries = read_prices(path, "CNY")
    run = database.look if dry_run else database.call
    return [change for change, _ in run(import_prices, entries, now_ms, dry_run=dry_run)]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_file_is_booked_once(database: Database, path: Path) -> None:
    assert set(book(database, path, dry_run=True)) == {"new"}
    assert database.look(list_prices) == []
    assert set(book(database, path)) == {"new"}
    booked = database.look(list_prices)
    assert set(book(database, path, NOW_MS + 10**10)) == {"unchanged"}  # months later, when the promotion is over
    assert database.look(list_prices) == booked
    assert all(price.model == price.model.lower() for price in booked)


def test_a_new_price_follows_the_one_before_and_a_promotion_stays_above_it(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(LIST.format(2) + PROMOTION)
    assert book(database, path) == ["new", "new"]
    assert book(database, path, NOW_MS + 1) == ["unchanged", "unchanged"]
    path.write_text(LIST.format(3) + PROMOTION)
    assert book(database, path, NOW_MS + 1_000) == ["new", "unchanged"]
    path.write_text(LIST.format(2))
    assert book(database, path, NOW_MS + 2_000) == ["new"]  # once more what it was
    price = database.look(price_book).at("m", NOW_MS + 3_000, "CNY")
    assert price is not None
    assert price.terms.bands[0].input_nanos == 2 * 10**9


MISTAKES = {
    LIST.format(1) + LIST.format("a lot"): r"prices\.toml, price 2 \(m\): input: input must be a decimal number",
    LIST.format(1) + 'colour = "red"\n': r"price 1 \(m\): colour: ",
    LIST.format(1) + '[[prices.bands]]\ninput = "1"\n': r"price 1 \(m\): bands\.0\.output: ",
    LIST.format(1) + 'cached = "2"\n': r"price 1 \(m\): cached: the cached price must not be above the input price",
    LIST.format(1) + 'from_time = "yesterday"\n': r"price 1 \(m\): from_time: ",
    LIST.format(1) + 'until_time = "2020-01-01T00:00:00Z"\n': r"price 1 \(m\): until_time: until_time must be after",
    LIST.format(1) + '[[prices]]\ninput = "1"\n': r"price 2: model: ",
    'prices = ["m"]\n': r"price 1: ",
    "currency = 1\n": r"must hold \[\[prices\]\] and nothing else",
    "prices = ": "cannot be read",
}


@pytest.mark.parametrize("text", MISTAKES, ids=MISTAKES.get)
def test_a_mistake_names_entry_and_field_and_nothing_is_booked(database: Database, tmp_path: Path, text: str) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(FieldInvalid, match=MISTAKES[text]):
        book(database, path)
    assert database.look(list_prices) == []


def test_a_contract_names_an_organisation_that_there_is(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "contract.toml"
    path.write_text(LIST.format(1) + 'organisation_id = "nobody"\n')
    for dry_run in (True, False):
        with pytest.raises(FieldInvalid, match=r"price 1 .* there is no organisation nobody") as refused:
            book(database, path, dry_run=dry_run)
        assert refused.value.field == "organisation_id"
