"""Posting: receipts, charges and transfers of a batch, each once, whatever the poster lost before."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from desk import CLOCK, HOLD, WALLET, Desk
from openmaas.core.usage import UNITS, Usage
from openmaas.house.poster import build
from openmaas.ledger.book import find_account
from openmaas.ledger.law import accounts, charges, journals, receipts, transfers, usage_days
from openmaas.ledger.legs import Leg
from openmaas.ledger.spending.leasing import open_journal
from openmaas.ledger.writing.journal import Journal
from openmaas.ledger.writing.records import OUTCOMES, Closed, Opened

ONE = Usage(3, 5)


def cost(desk: Desk, usage: Usage = ONE) -> int:
    return desk.price.charge(usage, 1)


def rows(desk: Desk, table: sa.Table, **only: str) -> list[sa.Row]:
    query = sa.select(table).where(*[table.c[name] == value for name, value in only.items()])
    return desk.database.look(lambda tx: tx.execute(query).all())


def balance(desk: Desk, account_id: str) -> int:
    return desk.database.look(find_account, account_id).posted_nanos


def test_a_batch_is_one_transfer_and_each_receipt_has_its_balance(desk: Desk) -> None:
    journal = desk.relay("rly_1")
    for number in range(3):
        desk.run(journal, f"req_{number}", ONE)
    assert desk.poster.step() == 3
    assert [row.amount_nanos for row in rows(desk, transfers, kind="charge")] == [3 * cost(desk)]
    assert balance(desk, WALLET) == 10**15 - 3 * cost(desk)
    assert balance(desk, "revenue:CNY") == 3 * cost(desk)
    for table in (receipts, charges):
        assert [row.balance_nanos for row in sorted(rows(desk, table))] == [10**15 - n * cost(desk) for n in (1, 2, 3)]
    account = desk.database.look(find_account, WALLET)
    assert account.leased_nanos == 100 * HOLD - 3 * cost(desk)
    (day,) = rows(desk, usage_days)
    assert (day.requests, day.prompt_tokens, day.completion_tokens, day.amount_nanos) == (3, 9, 15, 3 * cost(desk))
    desk.run(journal, "req_free", Usage())
    assert desk.poster.step() == 1
    assert rows(desk, charges, request_id="req_free")[0].transfer_id is None
    journal.end()


def test_what_was_used_beyond_the_hold_is_the_operators(desk: Desk) -> None:
    journal, much = desk.relay("rly_1"), Usage(0, 10**6)
    opened, paid = desk.opened("req_1"), HOLD
    excess = cost(desk, much) - HOLD
    journal.close(Closed(opened, 2, 1, "done", much, (paid,), excess), journal.open(opened))
    assert desk.poster.step() == 1
    assert excess > 0
    assert balance(desk, "operator_excess:CNY") == -excess
    assert balance(desk, WALLET) == 10**15 - HOLD
    assert balance(desk, "revenue:CNY") == HOLD + excess
    journal.end()


def test_a_poster_that_begins_anew_posts_nothing_twice_and_leaves_nothing_out(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openmaas.ledger.posting.poster.POST_BATCH_MAX", 2)
    desk.poster.batch = 2
    journal = desk.relay("rly_1")
    open_one = desk.opened("req_open")
    promise = journal.open(open_one)  # the floor stays here
    for number in range(5):
        desk.run(journal, f"req_{number}", ONE)
    calls = 0
    call = desk.database.call

    def breaks(book, *args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return call(book, *args, **kwargs)

    monkeypatch.setattr(desk.database, "call", breaks)
    with pytest.raises(KeyboardInterrupt):
        desk.poster.step()
    monkeypatch.setattr(desk.database, "call", call)
    assert len(rows(desk, receipts)) == 4
    (row,) = rows(desk, journals)
    assert (row.cursor_offset, row.floor_offset) == (0, 0)  # what is not posted is read again
    desk.poster = build(desk.layout, desk.database, CLOCK)
    assert desk.poster.step() == 1
    (row,) = rows(desk, journals)
    assert row.floor_offset == 0 < row.cursor_offset
    journal.close(Closed(open_one, 2, 1, "done", ONE, (cost(desk),), 0), promise)
    desk.poster = build(desk.layout, desk.database, CLOCK)
    assert desk.poster.step() == 1
    (row,) = rows(desk, journals)
    assert row.floor_offset == row.cursor_offset > 0
    assert balance(desk, WALLET) == 10**15 - 6 * cost(desk)
    journal.end()


def test_leases_come_back_only_when_the_journal_was_posted_to_its_end(desk: Desk) -> None:
    journal = desk.relay("rly_1")
    opened = desk.opened("req_1")
    journal.open(opened)
    desk.run(journal, "req_2", ONE)
    desk.poster.step()
    assert desk.database.look(find_account, WALLET).leased_nanos == 100 * HOLD - cost(desk)
    assert desk.journals() == {"rly_1": "open"}
    journal.end()
    assert desk.poster.step() == 0  # the engine may still write its count
    desk.meter().append("req_1", "m", (100, 0, 50), "cancelled")
    assert desk.poster.finish() == 1
    assert desk.journals() == {"rly_1": "replayed"}
    assert desk.database.look(find_account, WALLET).leased_nanos == 0
    (row,) = rows(desk, receipts, request_id="req_1")
    assert (row.outcome, row.amount_nanos, row.estimated) == ("orphaned", cost(desk, Usage(100, 50)), False)


def test_nothing_is_booked_for_an_engine_that_counted_less(desk: Desk) -> None:
    journal = desk.relay("rly_1")
    desk.meter().append("req_1", "m", (1, 0, 1), "cancelled")
    desk.run(journal, "req_1", Usage(100, 50, estimated=True))
    assert desk.poster.step() == 1
    assert desk.unbilled() == {}
    assert not [row for row in rows(desk, accounts) if row.kind == "unbilled"]
    journal.end()


def test_a_journal_says_the_same_to_whoever_opens_it_again(desk: Desk) -> None:
    journal: Journal = desk.relay("rly_1")
    desk.run(journal, "req_1", ONE)
    desk.poster.step()
    before = rows(desk, journals)
    desk.database.call(open_journal, "rly_1", "elsewhere", 99)
    assert rows(desk, journals) == before
    journal.end()


@pytest.mark.parametrize("legs", [1, 5, 40, 400])
def test_a_request_that_many_packs_pay_has_room_for_its_end(tmp_path: Path, legs: int) -> None:
    most = 2**63 - 1
    packs = tuple(Leg((f"pack:{number}",), "tokens", 1, most) for number in range(legs))
    opened = Opened("req_1", most, "k", "p", "org", "m", "d", packs, batch=False)
    usage = Usage(most, most, most, most, estimated=True, units=tuple((unit, most) for unit in UNITS))
    journal = Journal(tmp_path / "life")
    journal.close(
        Closed(opened, most, most, max(OUTCOMES, key=len), usage, (most,) * legs, most, most), journal.open(opened)
    )
    journal.end()
