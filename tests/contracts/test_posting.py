"""Posting beside relays that lease of the same accounts, on each database."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from desk import HOLD, Desk
from openmaas.core.clock import Clock
from openmaas.core.errors import StoreFailed
from openmaas.core.terms import flat
from openmaas.core.usage import Usage, WireUsage
from openmaas.ledger.book import top_up, wallet_id
from openmaas.ledger.legs import Leg
from openmaas.ledger.posting.poster import Poster
from openmaas.ledger.posting.receipts import request_ids
from openmaas.ledger.prices import set_price
from openmaas.ledger.spending.leasing import Step, lease, open_journal
from openmaas.ledger.writing.journal import Journal
from openmaas.ledger.writing.records import Closed, Opened
from openmaas.store.changes import note
from openmaas.store.database import Database
from servers import STORES, new_database

CLOCK = Clock()
CUSTOMERS, REQUESTS = 40, 200
#: What a poster does before it gives up on one batch, a few times over.
STEPS = 40


@pytest.mark.parametrize("store", STORES)
def test_a_backlog_is_posted_though_relays_lease_of_its_accounts_all_the_time(store: str, tmp_path: Path) -> None:
    """A batch that takes as long as all of it takes would begin again for ever on PostgreSQL."""
    database, other = new_database(store, tmp_path), None
    price = database.call(set_price, model="m", currency="CNY", terms=flat(10**9, 10**9), from_ms=0)

    def begin(tx: sa.Connection) -> None:
        open_journal(tx, "rly_1", "home", 1)
        open_journal(tx, "rly_2", "elsewhere", 1)
        for number in range(CUSTOMERS):
            top_up(tx, CLOCK, f"o{number}", currency="CNY", amount_nanos=10**12, request_key="1", memo="")
            fields = {"least_nanos": 10**9, "wish_nanos": 10**9, "share": 1}
            lease(tx, CLOCK, wallet_id(f"o{number}", "CNY"), Step("rly_1", 1), **fields)

    database.call(begin)
    journal = Journal(tmp_path / "journals" / "rly_1")
    for number in range(REQUESTS):
        owner = f"o{number % CUSTOMERS}"
        leg = Leg((wallet_id(owner, "CNY"),), "CNY", price.version, 10**6)
        opened = Opened(f"req_{number:05}", 1, "k", "p", owner, "m", "dep", (leg,), batch=False)
        journal.close(Closed(opened, 2, 1, "done", Usage(3, 5), (8000,), 0), journal.open(opened))
    poster = Poster(
        database, tmp_path / "journals", "home", CLOCK, lambda _: {}, lambda _tx, _fresh: None, lambda _ms: None
    )
    url = database.engine.url.render_as_string(hide_password=False).replace("postgresql+psycopg", "postgresql")
    other, over = Database(url), threading.Event()

    def relay() -> None:
        turns = [0] * CUSTOMERS
        while not over.wait(0.1):
            number = random.randrange(CUSTOMERS)
            step = Step("rly_2", turns[number] + 1)
            try:
                other.call(lease, CLOCK, wallet_id(f"o{number}", "CNY"), step, least_nanos=1, wish_nanos=10, share=4)
                turns[number] += 1
            except StoreFailed:
                pass

    leasing = threading.Thread(target=relay)
    leasing.start()
    try:
        for _ in range(STEPS):
            try:
                poster.step()
            except StoreFailed:
                continue
            if len(database.look(request_ids)) == REQUESTS:
                break
        else:
            pytest.fail("it was never posted")
    finally:
        over.set()
        leasing.join()
        other.close()
        journal.end()
        database.close()


@pytest.mark.parametrize("store", STORES)
def test_the_most_that_an_engine_can_say_is_posted(store: str, tmp_path: Path) -> None:
    """More than a column holds would stop the postings of everybody."""
    desk = Desk(tmp_path / "data", new_database(store, tmp_path))
    told = {"prompt_tokens": 10**30, "completion_tokens": 2**53, "units": {"call": 2**64, "character": -1}}
    usage = msgspec.convert(told, WireUsage).usage()
    opened, journal = desk.opened("req_1"), desk.relay("rly_1")
    excess = desk.price.charge(usage, 1) - HOLD
    journal.close(Closed(opened, 2, 1, "done", usage, (HOLD,), excess), journal.open(opened))
    desk.run(journal, "req_2", Usage(3, 5))
    assert desk.poster.step() == 2
    assert desk.database.look(request_ids) == ["req_1", "req_2"]
    journal.end()
    desk.database.close()


def test_a_machine_that_vanishes_inside_a_transaction_does_not_keep_its_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It closes no socket, as a killed program does: PostgreSQL itself must give it up."""
    short = {"options": "-c idle_in_transaction_session_timeout=500"}
    monkeypatch.setattr("openmaas.store.database._WHEN_THE_OTHER_VANISHES", short)
    database = new_database("postgresql", tmp_path)
    monkeypatch.undo()
    gone = database.engine.connect()
    gone.begin()
    note(gone, "recall", "wallet")
    database.call(note, "recall", "another")  # would wait until the other has ended
    with pytest.raises(sa.exc.DBAPIError):
        note(gone, "recall", "wallet")
    gone.invalidate()
    gone.close()
    database.close()
