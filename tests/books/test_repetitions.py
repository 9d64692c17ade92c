"""``Idempotency-Key``: a request runs once, and no key is stuck, whoever died or was out meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from desk import CLOCK, Desk
from openmaas.core.errors import IdempotencyKeyReused, IdempotencyOutcome
from openmaas.core.usage import Usage
from openmaas.ledger.law import receipts
from openmaas.ledger.writing.idempotency import Claim, Kept, claim, forget_job, keep, release
from openmaas.ledger.writing.journal import Journal
from openmaas.relay.late import Late
from openmaas.relay.repeat import Ended

FIRST = Claim("k", "a1", b"body", "req_1", "rly_1")
SECOND = msgspec.structs.replace(FIRST, request_id="req_2", journal_id="rly_2")


def asked(desk: Desk, wanted: Claim) -> Any:
    return desk.database.call(claim, CLOCK, wanted)


def test_a_claim_whose_relay_died_before_it_opened_anything_may_be_taken_over(desk: Desk) -> None:
    journal = desk.relay("rly_1")
    assert asked(desk, FIRST) is True
    journal.end()
    assert asked(desk, SECOND) is False  # its journal may still hold an `opened` that is not posted
    with pytest.raises(IdempotencyKeyReused):
        asked(desk, msgspec.structs.replace(SECOND, body_hash=b"other"))
    desk.poster.step()
    living = desk.relay("rly_2")
    assert asked(desk, SECOND) is True
    assert asked(desk, FIRST) is False  # whose it was must wait now
    desk.database.call(release, FIRST)  # and does not end what is another's
    desk.database.call(keep, SECOND, 200, "application/json", b"{}")
    assert asked(desk, FIRST) == Kept("req_2", 200, "application/json", b"{}")
    living.end()


def test_a_claim_whose_relay_died_with_a_receipt_has_that_outcome(desk: Desk) -> None:
    journal = desk.relay("rly_1")
    assert asked(desk, FIRST) is True
    desk.run(journal, "req_1", Usage(3, 5))
    journal.end()
    desk.poster.step()
    with pytest.raises(IdempotencyOutcome, match="req_1"):
        asked(desk, SECOND)


def test_what_ended_while_the_database_was_out_is_written_when_it_is_back(desk: Desk) -> None:
    journal = desk.relay("rly_1")
    others = [msgspec.structs.replace(FIRST, idempotency_key=key, request_id=f"req_{key}") for key in ("b", "c")]

    async def play() -> None:
        late = Late(desk.database)
        for wanted in (FIRST, *others):
            assert asked(desk, wanted) is True
        desk.database.call(lambda tx: tx.execute(sa.text("ALTER TABLE idempotency RENAME TO away")))
        await late.write(Ended(FIRST, 200, "application/json", b"{}"))
        await late.write(Ended(others[0], 0))
        await late.write(Ended(others[1]))
        await late.write_late()
        desk.database.call(lambda tx: tx.execute(sa.text("ALTER TABLE away RENAME TO idempotency")))
        await late.write_late()

    asyncio.run(play())
    assert asked(desk, FIRST) == Kept("req_1", 200, "application/json", b"{}")
    with pytest.raises(IdempotencyOutcome):
        asked(desk, others[0])
    assert asked(desk, others[1]) is True  # nothing was run
    journal.end()


def test_a_relay_holds_only_so_many_answers_for_a_database_that_is_out(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openmaas.relay.late.LATE_BYTES_MAX", 10)
    journal = desk.relay("rly_1")
    other = msgspec.structs.replace(FIRST, idempotency_key="b")

    async def play() -> None:
        late = Late(desk.database)
        for wanted in (FIRST, other):
            assert asked(desk, wanted) is True
        desk.database.call(lambda tx: tx.execute(sa.text("ALTER TABLE idempotency RENAME TO away")))
        for wanted in (FIRST, other):
            await late.write(Ended(wanted, 200, "text/plain", b"x" * 8))
        desk.database.call(lambda tx: tx.execute(sa.text("ALTER TABLE away RENAME TO idempotency")))
        await late.write_late()

    asyncio.run(play())
    assert isinstance(asked(desk, FIRST), Kept)
    with pytest.raises(IdempotencyOutcome):
        asked(desk, other)
    journal.end()


def orphan(desk: Desk, journal: Journal, request_id: str, parent_id: str = "batch_1") -> None:
    """A relay dies in the middle of a request of a job, or of another request; its engine has counted."""
    journal.open(msgspec.structs.replace(desk.opened(request_id), job_id=parent_id))
    journal.end()
    desk.meter().append(request_id, "m", (3, 0, 5), "done")
    desk.poster.finish()


def receipt(desk: Desk, request_id: str) -> Any:
    return desk.database.look(
        lambda tx: tx.execute(sa.select(receipts).where(receipts.c.request_id == request_id)).one()
    )


def test_a_job_whose_relay_died_in_mid_request_asks_again_and_has_paid_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openmaas.ledger.posting.poster.ORPHAN_GRACE_S", 0.0)
    journal = desk.relay("rly_1")
    assert asked(desk, FIRST) is True
    orphan(desk, journal, "req_1")
    assert asked(desk, SECOND) is True
    assert receipt(desk, "req_1").amount_nanos == 0
    assert receipt(desk, "req_1").job_id == "batch_1"
    assert desk.unbilled()["req_1"] == desk.price.charge(Usage(3, 5), 1) > 0


def test_an_inner_request_whose_relay_died_is_paid_as_a_customer_s_own_for_nobody_asks_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openmaas.ledger.posting.poster.ORPHAN_GRACE_S", 0.0)
    journal = desk.relay("rly_1")
    assert asked(desk, FIRST) is True
    orphan(desk, journal, "req_1", "req_outer")
    with pytest.raises(IdempotencyOutcome):
        asked(desk, SECOND)
    assert receipt(desk, "req_1").amount_nanos == desk.price.charge(Usage(3, 5), 1) > 0
    assert desk.unbilled() == {}


def test_a_job_whose_answer_was_kept_when_its_relay_died_gets_it_and_pays_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openmaas.ledger.posting.poster.ORPHAN_GRACE_S", 0.0)
    journal = desk.relay("rly_1")
    wanted = msgspec.structs.replace(FIRST, idempotency_key="batch_1:0")
    assert asked(desk, wanted) is True
    desk.database.call(keep, wanted, 200, "application/json", b"{}")
    orphan(desk, journal, "req_1")
    again = msgspec.structs.replace(wanted, request_id="req_2", journal_id="rly_2")
    assert asked(desk, again) == Kept("req_1", 200, "application/json", b"{}")
    assert receipt(desk, "req_1").amount_nanos == desk.price.charge(Usage(3, 5), 1)
    desk.database.call(forget_job, "k", "batch")
    assert isinstance(asked(desk, again), Kept)  # another job, whose name begins alike
    desk.database.call(forget_job, "k", "batch_1")
    assert asked(desk, again) is True
