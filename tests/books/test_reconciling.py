"""The daily report: each request under one cause, and the sums of what three parties counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from desk import CLOCK, HOLD, Desk
from openmaas.core import bounds
from openmaas.core.clock import iso_utc
from openmaas.core.errors import FieldInvalid
from openmaas.core.usage import Usage
from openmaas.house.poster import engine_counts
from openmaas.ledger.papers import reconciling
from openmaas.ledger.papers.reconciling import Difference, reconcile
from openmaas.ledger.writing.records import Closed, frame, next_record
from servers import STORES, new_database

NOW_MS = CLOCK.wall_ms()
TODAY = iso_utc(NOW_MS)[:10]

CALLS = (("call", 2),)


@pytest.fixture(params=STORES)
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "data", new_database(request.param, tmp_path))
    yield made
    assert made.disagreements() == []
    made.database.close()


def close(desk: Desk, number: int, usage: Usage, delivered: int | None, outcome: str = "done", excess: int = 0) -> None:
    """One request of today; ``delivered`` tokens went to its client."""
    opened = desk.opened(f"req_{number}", NOW_MS)
    paid = (desk.price.charge(usage, NOW_MS) - excess,)
    closed = Closed(opened, NOW_MS, 1, outcome, usage, paid, excess, delivered)
    desk.journal.close(closed, desk.journal.open(opened))


def report(desk: Desk) -> dict[str, Difference]:
    """A day with a request under each cause."""
    desk.journal = desk.relay("life")
    meter = desk.meter()
    cases = {
        1: (Usage(10, 5), 5, "done", (10, 0, 5)),
        2: (Usage(10, 6), 3, "client_closed", (10, 0, 6)),
        3: (Usage(10, 4, estimated=True), 4, "engine_failed", (10, 0, 4)),
        4: (Usage(10, 4, estimated=True), 4, "engine_failed", (10, 0, 9)),
        5: (Usage(10, 5), None, "orphaned", (10, 0, 5)),
        6: (Usage(10, 5), 5, "done", None),
        7: (Usage(10, HOLD // 2_000 + 5), 5, "done", (10, 0, HOLD // 2_000 + 5)),
        8: (Usage(), 0, "engine_refused", None),
        9: (Usage(10, 5), 5, "done", (10, 0, 5)),
        10: (Usage(units=CALLS), 0, "done", (0, 0, 0)),
        11: (Usage(units=CALLS), 0, "done", None),
    }
    for number, (usage, delivered, outcome, counted) in cases.items():
        if counted is not None:
            meter.append(f"req_{number}", "m", counted, "done", usage.units)
        excess = max(desk.price.charge(usage, NOW_MS) - HOLD, 0)
        close(desk, number, usage, delivered, outcome, excess)
    desk.poster.step()
    found = reconcile(desk.database, TODAY, lambda request_ids: engine_counts(desk.layout, request_ids))
    assert {row.organisation_id for row in found} == {"org"}
    assert {row.currency for row in found} == {"CNY"}
    return {row.cause: row for row in found}


def test_pages_of_a_day_are_the_day(desk: Desk) -> None:
    report(desk)
    journal = desk.journal
    for number, owner in enumerate(["a_first", "org_2", "z_last", "z_last"], 20):
        opened = msgspec.structs.replace(desk.opened(f"req_{number}", NOW_MS), organisation_id=owner)
        usage = Usage(10, 5, estimated=number == 23)
        closed = Closed(opened, NOW_MS, 1, "done", usage, (desk.price.charge(usage, NOW_MS),), 0, 5)
        journal.close(closed, journal.open(opened))
    desk.poster.step()

    def read(after: str, limit: int | None) -> list[Difference]:
        place = {"after": after, "limit": limit}
        return reconcile(desk.database, TODAY, lambda ids: engine_counts(desk.layout, ids), **place)

    whole = read("", None)
    assert [row.organisation_id for row in whole] == ["a_first", *["org"] * 7, "org_2", "z_last", "z_last"]
    for limit in (1, 2, 5, 20):
        found: list[Difference] = []
        while page := read(found[-1].id if found else "", limit):
            assert len(page) <= limit
            found += page
        assert found == whole
    with pytest.raises(FieldInvalid, match="next_after"):
        read("org:whatever:CNY", 1)


def test_every_request_stands_under_one_cause(desk: Desk) -> None:
    found = report(desk)
    assert {cause: row.requests for cause, row in found.items()} == {
        "agree": 4,  # three that are equal, and one that an engine refused: nothing was billed and nothing counted
        "excess": 1,
        "unbilled": 1,
        "estimated": 1,
        "orphaned": 1,
        "client_closed": 1,
        "no_engine_count": 2,
    }
    left = found["client_closed"]
    assert (left.completion_tokens, left.engine_completion_tokens, left.delivered_tokens) == (6, 6, 3)
    assert left.amount_nanos == 10 * 1_000 + 6 * 2_000
    assert found["unbilled"].unbilled_nanos == 5 * 2_000
    assert found["excess"].excess_nanos == 10 * 1_000 + 5 * 2_000
    assert found["no_engine_count"].engine_completion_tokens == 0
    assert found["orphaned"].delivered_tokens == 0


def test_a_report_in_many_pages_is_the_same(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = report(desk)
    monkeypatch.setattr(reconciling, "RECONCILE_PAGE_MAX", 2)
    assert bounds.RECONCILE_PAGE_MAX > 2
    paged = reconcile(desk.database, TODAY, lambda request_ids: engine_counts(desk.layout, request_ids))
    assert {row.cause: row for row in paged} == whole
    assert reconcile(desk.database, "2020-01-01", lambda _: {}) == []


def test_an_engine_that_counted_less_than_was_billed_has_no_excuse(desk: Desk) -> None:
    desk.journal = desk.relay("life")
    close(desk, 1, Usage(10, 5), 5)
    desk.poster.step()
    (row,) = reconcile(desk.database, TODAY, lambda _: {"req_1": Usage(10, 4)})
    assert row.cause == "differs"


@pytest.mark.parametrize(("billed", "counted", "said"), [(0, 2, "that the books do not have"), (2, 1, "did not count")])
def test_calls_that_an_engine_counted_otherwise_than_they_were_billed_are_found(
    tmp_path: Path, billed: int, counted: int, said: str
) -> None:
    made = Desk(tmp_path / "data")
    made.meter().append("req_1", "m", (0, 0, 0), "done", (("call", counted),))
    made.run(made.relay("life"), "req_1", Usage(units=(("call", billed),)))
    made.poster.step()
    (found,) = made.disagreements()
    assert said in found
    (row,) = reconcile(made.database, "1970-01-01", lambda ids: engine_counts(made.layout, ids))
    assert row.cause == "differs"
    made.database.close()


def test_a_journal_from_before_delivered_tokens_is_still_read(tmp_path: Path) -> None:
    made = Desk(tmp_path / "data")
    closed = Closed(made.opened("req_1"), 2, 1, "done", Usage(1, 1), (0,), 0)
    body = msgspec.msgpack.decode(frame(closed)[8:])
    assert body.pop() is None
    old = msgspec.msgpack.decode(msgspec.msgpack.encode(body), type=Closed)
    assert old == closed
    assert next_record(frame(closed), 0) == (closed, len(frame(closed)))
    made.database.close()
