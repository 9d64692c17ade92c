"""The published price tables, to the nano: each amount was computed by hand from the source, not by this code."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from openmaas.control.price_files import import_prices, read_prices
from openmaas.core.money import show_amount
from openmaas.core.usage import Usage
from openmaas.identity.law import organisations
from openmaas.ledger.prices import PriceBook, price_book
from servers import new_database

ROOT = Path(__file__).parents[2]
CONTRACT = """
[[prices]]
model = "glm-5.3"
currency = "CNY"
organisation_id = "acme"
input = "5"
cached = "1"
output = "20"
until_time = "2026-10-01T00:00:00+08:00"
"""
#: Times are China's. An organisation is `acme`, which has a contract, or `-`.
TABLE = """
model          in       at                who   how     prompt  cached  output  costs
# edges of bands: 2/8/0.4, from 200 tokens of output 3/14/0.6, from 32K of input 4/16/0.8
glm-4.5        CNY      2026-08-01T12:00  -     api     31999   0       199     0.06559
glm-4.5        CNY      2026-08-01T12:00  -     api     31999   0       200     0.098797
glm-4.5        CNY      2026-08-01T12:00  -     api     32000   0       199     0.131184
glm-4.5        CNY      2026-08-01T12:00  -     api     32000   0       200     0.1312
glm-4.5-air    CNY      2026-08-01T12:00  -     api     31999   0       199     0.0259972
glm-4.5-air    CNY      2026-08-01T12:00  -     api     31999   0       200     0.0267992
glm-5.1        CNY      2026-08-01T12:00  -     api     31999   0       199     0.19677
glm-5.1        CNY      2026-08-01T12:00  -     api     32000   0       199     0.261572
# cached
glm-4.5        CNY      2026-08-01T12:00  -     api     32000   30000   200     0.0352
glm-4.5        CNY      2026-08-01T12:00  -     api     31999   31999   199     0.0143916
glm-5.3        CNY      2026-08-01T12:00  -     api     100000  60000   1000    0.468
glm-5          USD      2026-08-01T12:00  -     api     100000  60000   1000    0.0552
glm-4-plus     CNY      2026-08-01T12:00  -     api     1000    500     1000    0.01
glm-4.7-flash  CNY      2026-08-01T12:00  -     api     100000  60000   1000    0.00
# a batch costs half
glm-4.5        CNY      2026-08-01T12:00  -     batch   31999   0       199     0.032795
glm-5.3        CNY      2026-08-01T12:00  -     batch   100000  60000   1000    0.234
# the plan: (40,000 × 6.9 + 60,000 × 1.7 + 1,000 × 24) / 10,000, half of it off-peak
glm-5.3        credits  2026-08-01T13:59  -     api     100000  60000   1000    20.10
glm-5.3        credits  2026-08-01T14:00  -     api     100000  60000   1000    40.20
glm-5.3        credits  2026-08-01T17:59  -     api     100000  60000   1000    40.20
glm-5.3        credits  2026-08-01T18:00  -     api     100000  60000   1000    20.10
glm-5.3-flash  credits  2026-08-01T15:00  -     api     100000  60000   1000    13.36
glm-5.3-flash  credits  2026-08-02T03:00  -     api     100000  60000   1000    6.68
# a contract goes before the list, until it ends
glm-5.3        CNY      2026-09-30T23:59  acme  api     100000  60000   1000    0.28
glm-5.3        CNY      2026-10-01T00:00  acme  api     100000  60000   1000    0.468
glm-5.2        CNY      2026-09-30T23:59  acme  api     100000  60000   1000    0.468
# the promotion of Flash and its end
glm-5.3-flash  CNY      2026-09-09T23:59  -     api     100000  60000   1000    0.0243
glm-5.3-flash  CNY      2026-09-10T00:00  -     api     100000  60000   1000    0.0486
"""
HEAD, *ROWS = [line for line in TABLE.splitlines() if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PriceBook]:
    """Both shipped files and a contract, booked at the beginning of the year."""
    folder = tmp_path_factory.mktemp("tables")
    (folder / "contract.toml").write_text(CONTRACT)
    database = new_database("sqlite", folder)
    database.call(lambda tx: tx.execute(organisations.insert().values(id="acme", name="Acme", created_ms=1)))
    for path in (*(ROOT / "prices").glob("*.toml"), folder / "contract.toml"):
        database.call(import_prices, read_prices(path, "CNY"), _ms("2026-01-01T00:00"), dry_run=False)
    yield database.look(price_book)
    database.close()


@pytest.mark.parametrize("row", ROWS)
def test_a_use_costs_what_the_table_says(prices: PriceBook, row: str) -> None:
    said = dict(zip(HEAD.split(), row.split(), strict=True))
    opened_ms = _ms(said["at"])
    price = prices.at(said["model"], opened_ms, said["in"], said["who"])
    assert price is not None
    usage = Usage(int(said["prompt"]), int(said["output"]), int(said["cached"]))
    nanos = price.charge(usage, opened_ms, batch=said["how"] == "batch")
    assert show_amount(nanos) == said["costs"].ljust(4, "0")


def test_an_image_costs_what_its_price_says(prices: PriceBook) -> None:
    price = prices.at("cogview-4", _ms("2026-08-01T12:00"), "CNY")
    assert price is not None
    assert price.charge(Usage(units=(("image", 3),)), 0) == 180_000_000


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(f"{text}+08:00").timestamp() * 1000)
