"""A window begins with what its budget or plan says then, though whoever leases of it first has not heard of it yet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from openmaas.core.clock import Clock
from openmaas.ledger.audit import audit
from openmaas.ledger.book import Account, find_account, top_up
from openmaas.ledger.selling.payers import add_budget, change_budget
from openmaas.ledger.selling.plans import add_plan
from openmaas.ledger.selling.subscribing import change_plan, subscribe
from openmaas.ledger.spending.holds import Bound
from openmaas.ledger.spending.leasing import Step, lease, open_journal
from openmaas.ledger.spending.plans import PlanTerms, Window
from openmaas.store.database import Database
from servers import STORES, new_database

DAY_MS = 86_400_000
NOW_MS = 1_800_000_000_000


class Room:
    """A database, and a relay that leases of what it has heard of."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now_ms = NOW_MS
        self.clock = Clock(wall_ms=lambda: self.now_ms)
        database.call(open_journal, "life", "home", NOW_MS)

    def call(self, book: Any, *args: Any, **kwargs: Any) -> Any:
        """A command."""
        return self.database.call(book, self.clock, *args, **kwargs)

    def begins(self, bound: Bound) -> Account:
        """The account after the first lease, of one nano-unit."""
        asked = {"least_nanos": 1, "wish_nanos": 1, "share": 1, "fill": bound.fill}
        assert self.call(lease, bound.account_id, Step("life", 1), **asked) == 1
        return self.database.look(find_account, bound.account_id)


@pytest.fixture(params=STORES)
def room(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Room]:
    made = Room(new_database(request.param, tmp_path))
    yield made
    assert made.database.look(audit, tmp_path / "journals", {}).disagreements == []
    made.database.close()


@pytest.mark.parametrize("days", [0, 1])
def test_a_period_begins_with_the_budget_as_it_is_then(room: Room, days: int) -> None:
    fields = {"scope": "organisation", "subject_id": "org", "currency": "CNY", "period": "day"}
    heard = room.call(add_budget, "org", amount_nanos=10_000, **fields)
    room.call(change_budget, heard.id, 70)
    room.now_ms += days * DAY_MS
    assert room.begins(heard.bound("org", "UTC", room.now_ms)).posted_nanos == 70


def test_windows_begin_with_the_plan_as_it_is_then(room: Room) -> None:
    room.call(top_up, "org", currency="CNY", amount_nanos=10**12, request_key="1", memo="")

    def plan(name: str, price: int, amount: int, hours: int) -> Any:
        windows = (
            Window("5h/x", "rolling", amount, hours * 3600),
            Window("week", "cycle", 2 * amount, 7 * 24 * 3600),
            Window("month", "month", 3 * amount),
        )
        return room.call(add_plan, name, PlanTerms(windows, price))

    lite, pro = plan("lite", 10**9, 100, 5), plan("pro", 2 * 10**9, 1_000, 4)
    heard = room.call(subscribe, "org", lite.id, request_key="1")
    room.call(change_plan, heard.id, pro.id)
    room.now_ms += 8 * DAY_MS
    found = [room.begins(bound) for bound in heard.bounds(lite.terms, room.now_ms)]
    assert [account.posted_nanos for account in found] == [1_000, 2_000, 3_000]
    assert [account.returns_after_ms for account in found] == [4 * 3_600_000, None, None]
