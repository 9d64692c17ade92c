"""What was billed by estimate is compared with the engine's count: at once when it is known, else when it comes."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from desk import Desk
from openmaas.core.usage import Usage
from openmaas.ledger.law import receipts, usage_days

GUESS = Usage(1, 1, estimated=True)
COUNT = (100, 0, 50)  # prompt, cached, completion


def test_what_an_engine_counted_above_an_estimate_is_booked_with_the_receipt(desk: Desk) -> None:
    desk.poster.step()
    desk.meter().append("req_1", "m", COUNT, "cancelled")
    desk.run(desk.relay("rly_1"), "req_1", GUESS)
    assert desk.poster.step() == 1
    worth = desk.price.charge(Usage(100, 50), 1)
    assert desk.unbilled() == {"req_1": worth - desk.price.charge(GUESS, 1)}
    assert desk.disagreements() == []  # at this moment, not five seconds later


def test_calls_that_only_the_engine_counted_are_booked_and_an_orphan_pays_them(desk: Desk) -> None:
    meter, journal, calls = desk.meter(), desk.relay("rly_1"), (("call", 2),)
    for request_id in ("req_1", "req_2"):
        meter.append(request_id, "m", (0, 0, 0), "cancelled", calls)
    desk.run(journal, "req_1", Usage(estimated=True))
    journal.open(desk.opened("req_2"))
    journal.end()
    desk.poster.finish()
    assert desk.unbilled() == {"req_1": 2 * 3_000}
    query = sa.select(receipts.c.request_id, receipts.c.outcome, receipts.c.units, receipts.c.amount_nanos)
    rows = desk.database.look(lambda tx: tx.execute(query.order_by(receipts.c.request_id)).all())
    assert rows == [("req_1", "done", None, 0), ("req_2", "orphaned", [["call", 2]], 2 * 3_000)]
    (day,) = desk.database.look(lambda tx: tx.execute(sa.select(usage_days)).all())
    assert (day.requests, day.units_call, day.amount_nanos) == (2, 2, 2 * 3_000)
    assert desk.disagreements() == []


def test_counts_that_come_late_are_booked_however_many_estimates_there_are(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openmaas.ledger.posting.poster.POST_BATCH_MAX", 10)
    journal, late = desk.relay("rly_1"), [f"req_{number:03d}" for number in range(35)]
    for request_id in late:
        desk.run(journal, request_id, GUESS)
    assert sum(desk.poster.step() for _ in range(3)) == 35
    assert desk.unbilled() == {}
    meter = desk.meter()
    for request_id in late:
        meter.append(request_id, "m", COUNT, "cancelled")
    desk.poster.finish()
    assert sorted(desk.unbilled()) == late
    before = desk.unbilled()
    desk.poster.finish()
    assert desk.unbilled() == before


def test_looking_for_estimates_reads_an_index(desk: Desk) -> None:
    said: list[tuple[str, Any]] = []

    @sa.event.listens_for(desk.database.engine, "before_cursor_execute")
    def _note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        if "receipts.estimated" in statement.partition("WHERE")[2]:
            said.append((statement, parameters))

    desk.poster.finish()
    statement, parameters = said[0]
    plan = desk.database.look(lambda tx: tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all())
    assert any("receipts_estimated" in row[3] for row in plan), plan
    assert not any("TEMP B-TREE" in row[3] for row in plan), plan
