"""The law of leases, holds and seats: how large a slice is, what a window begins with and gets back, what ends once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from openmaas.core.clock import Clock
from openmaas.core.errors import Conflict, FieldInvalid, InsufficientFunds, LimitReached, ThingUnknown
from openmaas.core.money import ACCOUNT_NANOS_MAX
from openmaas.core.terms import flat
from openmaas.core.usage import Usage
from openmaas.ledger.book import Account, find_account, list_transfers, settle, top_up, transfer, wallet_id
from openmaas.ledger.law import leases
from openmaas.ledger.legs import Leg
from openmaas.ledger.posting.batch import post, retire
from openmaas.ledger.prices import set_price
from openmaas.ledger.spending.holds import Bound, Hold, Slice, Source
from openmaas.ledger.spending.leasing import (
    Fill,
    Step,
    free_again_ms,
    give_back,
    last_turn,
    lease,
    leased_elsewhere,
    open_journal,
)
from openmaas.ledger.writing.records import Closed, Opened
from openmaas.limits.seats import Seats
from openmaas.store.database import Database
from servers import new_database

WALLET = wallet_id("org", "CNY")
WINDOW = "window:org:sub/5h:credits"
ROLLING = Fill(1_000, 5_000)


class Books:
    """A wallet with a thousand, two relays, a clock."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now_ms = 1_000_000
        self.clock = Clock(wall_ms=lambda: self.now_ms)
        self.turns: dict[tuple[str, str], int] = {}
        self.call(top_up, self.clock, "org", currency="CNY", amount_nanos=1_000, request_key="1", memo="")
        for life in ("rly_1", "rly_2"):
            self.call(open_journal, life, "home", 1)
        for currency in ("CNY", "credits"):
            self.call(set_price, model="m", currency=currency, terms=flat(10**6, 10**6), from_ms=0)

    def call(self, book: Any, *args: Any, **kwargs: Any) -> Any:
        return self.database.call(book, *args, **kwargs)

    def look(self, book: Any, *args: Any) -> Any:
        return self.database.look(book, *args)

    def step(self, life: str, account_id: str) -> Step:
        self.turns[life, account_id] = self.turns.get((life, account_id), 0) + 1
        return Step(life, self.turns[life, account_id])

    def lease(self, least: int, wish: int, *, life: str = "rly_1", fill: Fill | None = None, of: str = WALLET) -> int:
        fields = {"least_nanos": least, "wish_nanos": wish, "share": 4, "fill": fill}
        return self.call(lease, self.clock, of, self.step(life, of), **fields)

    def give_back(self, nanos: int, life: str = "rly_1") -> None:
        self.call(give_back, WALLET, self.step(life, WALLET), nanos)

    def charge(self, request_id: str, nanos: int, of: str = WINDOW, price: int = 2) -> list[Closed]:
        """A request of so many tokens, posted."""
        leg = Leg((of,), of.rpartition(":")[2], price, nanos)
        opened = Opened(request_id, 1, "k", "p", "org", "m", "d", (leg,), batch=False)
        closed = [Closed(opened, 2, 1, "done", Usage(nanos), (nanos,), 0)]
        return self.call(post, self.clock, "rly_1", closed, cursor=(1, 1), floor=(1, 1))

    def account(self, account_id: str = WALLET) -> Account:
        return self.look(find_account, account_id)


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    made = Books(new_database("sqlite", tmp_path))
    yield made
    made.database.close()


def test_a_slice_is_a_share_of_what_is_free_and_at_least_what_is_needed(books: Books) -> None:
    assert books.lease(10, 10_000) == 250
    assert books.lease(10, 60) == 60
    assert books.lease(500, 600) == 500
    assert books.account().free_nanos == 190
    assert books.lease(10, 10_000, life="rly_2") == 47
    assert books.lease(150, 150, life="rly_2") == 143  # all there is, though it is too little
    assert books.lease(1, 1, life="rly_2") == 0
    assert books.account().leased_nanos == 1_000
    assert books.look(leased_elsewhere, WALLET, "rly_1") == (books.account(), 190)
    assert books.look(last_turn, WALLET, "rly_1") == 3
    assert books.look(last_turn, WALLET, "rly_9") == 0


def test_what_is_given_back_is_free_again_and_never_more_than_was_granted(books: Books) -> None:
    books.lease(100, 100)
    books.give_back(40)
    assert (books.account().leased_nanos, books.account().free_nanos) == (60, 940)
    with pytest.raises(sa.exc.IntegrityError):
        books.give_back(61)
    assert books.look(lambda tx: tx.execute(sa.select(leases.c.granted_nanos)).scalar()) == 60
    assert books.call(retire, "rly_1") == {WALLET: 60}
    assert books.account().leased_nanos == 0


def test_a_window_is_filled_once(books: Books) -> None:
    fill = Fill(1_000)
    assert books.lease(1_000, 1_000, fill=fill, of=WINDOW) == 1_000
    books.charge("req_1", 1_000)
    assert books.account(WINDOW).posted_nanos == 0
    assert books.lease(1, 1, fill=fill, of=WINDOW) == 0
    assert books.account(WINDOW).posted_nanos == 0


def test_a_rolling_window_gets_each_use_back_when_it_is_due_and_once(books: Books) -> None:
    assert books.lease(600, 600, fill=ROLLING, of=WINDOW) == 600
    books.charge("req_1", 400)
    books.now_ms += 3_000
    books.charge("req_2", 200)
    assert books.lease(500, 500, fill=ROLLING, of=WINDOW) == 400
    assert books.look(free_again_ms, WINDOW, 400) == 1_005_000
    assert books.look(free_again_ms, WINDOW, 401) == 1_008_000
    assert books.look(free_again_ms, WINDOW, 601) is None
    books.now_ms = 1_004_999
    assert books.lease(1, 1, fill=ROLLING, of=WINDOW) == 0
    books.now_ms = 1_005_000
    assert books.lease(500, 500, fill=ROLLING, of=WINDOW) == 400
    assert books.lease(1, 1, fill=ROLLING, of=WINDOW) == 0
    books.now_ms = 1_008_000
    assert books.lease(500, 500, fill=ROLLING, of=WINDOW) == 200
    assert books.account(WINDOW).posted_nanos == 1_000
    kinds = [each.kind for each in books.look(lambda tx: list_transfers(tx, account_id=WINDOW, after="", limit=99))]
    assert sorted(kinds) == ["charge", "charge", "grant", "return", "return"]


def taken(*nanos: int, price: int = 1) -> tuple[Hold, Slice]:
    slice_ = Slice(WALLET)
    slice_.free_nanos = 100
    hold = Hold()
    for each in nanos:
        hold.take(Source((Bound(WALLET),), "CNY", price, each), [slice_], each, 5.0)
    return hold, slice_


def test_a_hold_ends_once_and_keeps_what_was_paid(books: Books) -> None:
    hold, slice_ = taken(30, 20)
    assert (slice_.free_nanos, slice_.holds, slice_.used_s) == (50, 2, 5.0)
    with hold:
        hold.settle((30, 5))
    assert (slice_.free_nanos, slice_.holds) == (65, 0)
    with pytest.raises(AssertionError):
        hold.settle((0, 0))
    hold, slice_ = taken(30)
    with hold:
        pass
    assert (slice_.free_nanos, slice_.holds) == (100, 0)
    for paid in (31, -1):
        with pytest.raises(AssertionError):
            taken(30)[0].settle((paid,))


def test_a_transfer_is_made_once_for_its_key_and_never_beyond_the_balance(books: Books) -> None:
    fields = {"kind": "refund", "debit": WALLET, "credit": "funding:CNY"}
    assert books.account().posted_nanos == 1_000
    with pytest.raises(InsufficientFunds, match=r"0\.000000001 CNY is missing"):
        books.call(transfer, books.clock, request_key="r", amount_nanos=1_001, **fields)
    for wrong in (0, -1, ACCOUNT_NANOS_MAX + 1):
        with pytest.raises((FieldInvalid, InsufficientFunds)):
            books.call(transfer, books.clock, request_key="r", amount_nanos=wrong, **fields)
    first = books.call(transfer, books.clock, request_key="r", amount_nanos=1_000, **fields)
    assert books.call(transfer, books.clock, request_key="r", amount_nanos=1_000, **fields) == first
    with pytest.raises(Conflict):
        books.call(transfer, books.clock, request_key="r", amount_nanos=999, **fields)
    assert books.account().posted_nanos == 0
    fields = {"currency": "CNY", "memo": ""}
    books.call(top_up, books.clock, "org", amount_nanos=ACCOUNT_NANOS_MAX, request_key="2", **fields)
    with pytest.raises(FieldInvalid):
        books.call(top_up, books.clock, "org", amount_nanos=1, request_key="3", **fields)


@pytest.mark.parametrize("post_it", [True, False])
def test_a_pending_transfer_sets_aside_and_ends_once(books: Books, post_it: bool) -> None:
    fields = {"kind": "refund", "debit": WALLET, "credit": "funding:CNY", "pending": True}
    begun = books.call(transfer, books.clock, request_key="r", amount_nanos=400, **fields)
    account = books.account()
    assert (account.posted_nanos, account.pending_nanos, account.free_nanos) == (1_000, 400, 600)
    assert books.lease(601, 601) == 600
    ended = books.call(settle, books.clock, begun.id, post=post_it)
    assert books.call(settle, books.clock, begun.id, post=post_it) == ended
    with pytest.raises(Conflict):
        books.call(settle, books.clock, begun.id, post=not post_it)
    with pytest.raises(ThingUnknown):
        books.call(settle, books.clock, ended.id, post=True)
    account = books.account()
    assert (account.posted_nanos, account.pending_nanos) == (600 if post_it else 1_000, 0)


def test_an_organisation_has_so_many_seats_and_gets_each_back() -> None:
    seats = Seats(2)
    with seats.take("org"):
        with seats.take("org"):
            with pytest.raises(LimitReached):
                seats.take("org")
            with seats.take("other"):
                pass
        with seats.take("org"), pytest.raises(LimitReached):
            seats.take("org")
    with seats.take("org"), seats.take("org"):
        pass
