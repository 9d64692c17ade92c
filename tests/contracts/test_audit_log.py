"""What the audit log promises on each database: whoever edits, removes or moves an entry is found out."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from openmaas.core.clock import Clock
from openmaas.core.errors import InsufficientFunds
from openmaas.ledger.book import find_account, top_up, transfer, wallet_id
from openmaas.store.audit_log import Actor, Anchor, audited, list_entries, verify
from openmaas.store.database import Database
from servers import STORES, new_database

CLOCK = Clock()
WHO = Actor("key", CLOCK)
TRIGGERS = {
    "sqlite": ("DROP TRIGGER audit_log_no_update", "DROP TRIGGER audit_log_no_delete"),
    "postgresql": ("DROP TRIGGER audit_log_append_only ON audit_log",),
}


@pytest.fixture(params=STORES)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """An empty database of each kind."""
    made = new_database(request.param, tmp_path)
    yield made
    made.close()


def pay(database: Database, key: str) -> None:
    """A top-up that is recorded."""
    book = audited(WHO, "topup.create", lambda made: str(made.id), top_up, {"名": key, "amount": "1"})
    database.call(book, CLOCK, "org", currency="CNY", amount_nanos=1, request_key=key, memo="")


def break_in(database: Database, *statements: str) -> None:
    """What somebody does who owns the database."""

    def book(tx: sa.Connection) -> None:
        for statement in (*TRIGGERS[tx.dialect.name], *statements):
            tx.exec_driver_sql(statement)

    database.call(book)


def test_a_chain_that_nobody_touched_is_whole_and_can_be_checked_without_us(database: Database) -> None:
    for number in range(5):
        pay(database, str(number))
    last, found = database.look(verify)
    assert (last.seq, found) == (5, [])
    before = bytes(32)
    for entry, kept in database.look(list_entries, after=0, limit=10):
        before = hashlib.sha256(before + entry.line()).digest()
        assert before == kept
    assert last == Anchor(5, before)
    assert b'"actor":"key","action":"topup.create"' in entry.line()
    assert entry.line().endswith('"detail":{"amount":"1","名":"4"}}'.encode())


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (["UPDATE audit_log SET detail = '{}' WHERE seq = 3"], "entry 3 is not what was written"),
        (["UPDATE audit_log SET actor = 'nobody' WHERE seq = 5"], "entry 5 is not what was written"),
        (["DELETE FROM audit_log WHERE seq IN (2, 3)"], "entries 2 to 3 are missing"),
        (["DELETE FROM audit_log WHERE seq = 1"], "entries 1 to 1 are missing"),
        (["DELETE FROM audit_log WHERE seq = 5"], "5 entries were written, the last one here is 4"),
        (
            [
                "UPDATE audit_log SET seq = 99 WHERE seq = 2",
                "UPDATE audit_log SET seq = 2 WHERE seq = 3",
                "UPDATE audit_log SET seq = 3 WHERE seq = 99",
            ],
            "entry 2 is not what was written, or not where",
        ),
    ],
)
def test_an_entry_that_was_edited_removed_or_moved_is_named(
    database: Database, statements: list[str], said: str
) -> None:
    for number in range(5):
        pay(database, str(number))
    break_in(database, *statements)
    assert any(said in sentence for sentence in database.look(verify)[1])


def test_a_log_that_was_shortened_with_its_head_is_found_by_an_anchor(database: Database) -> None:
    for number in range(3):
        pay(database, str(number))
    anchor, _ = database.look(verify)
    pay(database, "later")
    assert database.look(verify, anchor)[1] == []
    break_in(database, "DELETE FROM audit_log WHERE seq >= 3", "UPDATE audit_log_head SET seq = 2")
    pay(database, "instead")
    assert database.look(verify)[1] == []
    assert database.look(verify, anchor)[1] == [f"no entry is {anchor}: the log was written anew"]


def test_what_was_refused_leaves_no_entry(database: Database) -> None:
    pay(database, "1")
    move = {"debit": wallet_id("org", "CNY"), "credit": "revenue:CNY", "amount_nanos": 5}
    with pytest.raises(InsufficientFunds):
        database.call(audited(WHO, "x", "y", transfer), CLOCK, request_key="2", kind="purchase", **move)
    assert database.look(verify)[0].seq == 1


def test_writers_that_meet_are_each_recorded_once_and_the_chain_is_whole(database: Database) -> None:
    """Eight threads, on PostgreSQL each transaction begins again until it met nobody."""
    threads = [threading.Thread(target=lambda n=n: [pay(database, f"{n}:{i}") for i in range(10)]) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    last, found = database.look(verify)
    assert (last.seq, found) == (80, [])
    assert database.look(find_account, wallet_id("org", "CNY")).posted_nanos == 80
