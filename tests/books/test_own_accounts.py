"""The operator's own accounts count what goes in and out of the house for ever: none is ever full."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from openmaas.core.clock import Clock
from openmaas.core.errors import FieldInvalid
from openmaas.core.money import ACCOUNT_NANOS_MAX, AMOUNT_NANOS_MAX, NANO
from openmaas.core.usage import Usage
from openmaas.ledger.audit import audit
from openmaas.ledger.book import Account, find_account, list_accounts, list_transfers, settle, top_up, transfer
from openmaas.ledger.law import OWN
from openmaas.ledger.legs import Leg
from openmaas.ledger.posting.batch import post
from openmaas.ledger.prices import ONE_FOR_ONE, set_price
from openmaas.ledger.selling.packs import add_pack, end_packs
from openmaas.ledger.spending.leasing import Step, lease, open_journal
from openmaas.ledger.writing.records import Closed, Opened
from openmaas.store.database import Database
from servers import STORES, new_database

HUNDRED_MILLION = 10**8 * NANO


class House:
    """A ledger of its own, and a clock."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.folder = folder
        self.now_ms = 1_000_000
        self.clock = Clock(wall_ms=lambda: self.now_ms)

    def call(self, book: Any, *args: Any, **kwargs: Any) -> Any:
        return self.database.call(book, self.clock, *args, **kwargs)

    def pay(self, customer: str, nanos: int, **more: Any) -> None:
        self.call(top_up, customer, amount_nanos=nanos, **{"currency": "VND", "request_key": "1", "memo": "", **more})

    def sell(self, customer: str) -> str:
        """A pack of a hundred million tokens, for a second."""
        times = {"from_ms": self.now_ms, "until_ms": self.now_ms + 1_000}
        what = {"name": "tokens", "currency": "tokens", "amount_nanos": HUNDRED_MILLION, "models": None}
        return str(self.call(add_pack, customer, request_key="k", **what, **times).account_id)

    def own(self, kind: str) -> list[Account]:
        """The operator's accounts of a kind: the one that counts, and those that were full."""
        return [one for one in self.database.look(list_accounts, owner="") if one.kind == kind]

    def disagreements(self) -> list[str]:
        return self.database.look(audit, self.folder, {}).disagreements


@pytest.fixture(params=STORES)
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    made = House(new_database(request.param, tmp_path), tmp_path)
    yield made
    made.database.close()


def test_two_hundred_packs_of_a_hundred_million_tokens_are_sold_and_end(house: House) -> None:
    """Eighty of them fill an account."""
    for number in range(200):
        house.sell(f"org{number}")
    given = house.own("allowance")
    assert sum(one.posted_nanos for one in given) == -200 * HUNDRED_MILLION
    assert all(one.owner == "" and abs(one.posted_nanos) <= ACCOUNT_NANOS_MAX for one in given)
    assert house.disagreements() == []
    assert house.call(end_packs) == 0
    house.now_ms += 2_000
    assert house.call(end_packs) == 100
    assert house.call(end_packs) == 100
    assert sum(one.posted_nanos for one in house.own("allowance")) == 0
    assert house.disagreements() == []


def test_what_is_used_of_packs_is_counted_beyond_what_one_account_holds(house: House) -> None:
    """The poster's own way of moving: charges of sixty packs in one batch, twice."""
    house.database.call(set_price, model="m", currency="tokens", terms=ONE_FOR_ONE, from_ms=0)
    house.database.call(open_journal, "rly_1", "home", 1)
    for part in range(2):
        closed = []
        for number in range(60):
            customer = f"org{part}_{number}"
            pack = house.sell(customer)
            house.call(lease, pack, Step("rly_1", 1), least_nanos=1, wish_nanos=HUNDRED_MILLION, share=1)
            leg = Leg((pack,), "tokens", 1, HUNDRED_MILLION)
            opened = Opened(f"req_{part}_{number}", 1, "k", "p", customer, "m", "d", (leg,), batch=False)
            closed.append(Closed(opened, 2, 1, "done", Usage(10**8), (HUNDRED_MILLION,), 0))
        house.call(post, "rly_1", closed, cursor=(1, part + 1), floor=(1, part + 1))
    assert sum(one.posted_nanos for one in house.own("counted")) == 120 * HUNDRED_MILLION
    assert len(house.own("counted")) == 2
    assert house.disagreements() == []


def test_a_full_account_is_carried_over_whole_and_the_one_that_counts_keeps_its_name(house: House) -> None:
    for number in range(3):
        house.pay(f"org{number}", AMOUNT_NANOS_MAX)
    assert {one.id.count(":"): one.posted_nanos for one in house.own("funding")} == {
        1: -AMOUNT_NANOS_MAX,
        2: -ACCOUNT_NANOS_MAX,
    }
    assert house.database.look(find_account, "funding:VND").posted_nanos == -AMOUNT_NANOS_MAX
    moved = house.database.look(list_transfers, account_id="funding:VND", after="", limit=9)
    carried = [(one.debit.count(":"), one.credit, one.amount_nanos) for one in moved if one.kind == "carry"]
    assert carried == [(2, "funding:VND", ACCOUNT_NANOS_MAX)]
    house.pay("org2", AMOUNT_NANOS_MAX)  # the same key again
    assert house.database.look(find_account, "funding:VND").posted_nanos == -AMOUNT_NANOS_MAX
    assert house.disagreements() == []


def test_an_account_that_is_full_takes_what_goes_towards_nothing(house: House) -> None:
    for number in range(2):
        house.pay(f"org{number}", AMOUNT_NANOS_MAX)
    back = {"kind": "refund", "debit": "wallet:org0:VND", "credit": "funding:VND", "amount_nanos": AMOUNT_NANOS_MAX}
    house.call(transfer, request_key="r", **back)
    assert [one.posted_nanos for one in house.own("funding")] == [-AMOUNT_NANOS_MAX]
    assert house.disagreements() == []


def test_a_refund_that_ends_finds_room_in_an_account_that_was_full(house: House) -> None:
    begun = []
    for number in range(3):
        house.pay(f"org{number}", AMOUNT_NANOS_MAX, currency="CNY")
        way = {"kind": "refund", "debit": f"wallet:org{number}:CNY", "credit": "revenue:CNY", "pending": True}
        begun.append(house.call(transfer, request_key=f"r{number}", amount_nanos=AMOUNT_NANOS_MAX, **way))
    for one in begun:
        house.call(settle, one.id, post=True)
    assert sum(one.posted_nanos for one in house.own("revenue")) == 3 * AMOUNT_NANOS_MAX
    assert house.disagreements() == []


def test_a_wallet_holds_no_more_than_its_column(house: House) -> None:
    for number in range(2):
        house.pay("org", AMOUNT_NANOS_MAX, request_key=str(number))
    with pytest.raises(FieldInvalid, match="wallet:org:VND") as raised:
        house.pay("org", 1, request_key="3")
    assert raised.value.field == "amount"
    assert house.disagreements() == []


@pytest.mark.parametrize("kind", OWN)
def test_no_kind_of_the_operators_own_accounts_ends(kind: str, tmp_path: Path) -> None:
    house = House(new_database("sqlite", tmp_path), tmp_path)
    for number in range(5):
        way = {"kind": "topup", "debit": f"{kind}:CNY", "credit": f"wallet:org{number}:CNY"}
        house.call(transfer, request_key=str(number), amount_nanos=AMOUNT_NANOS_MAX, **way)
    assert sum(one.posted_nanos for one in house.own(kind)) == -5 * AMOUNT_NANOS_MAX
    house.database.close()
