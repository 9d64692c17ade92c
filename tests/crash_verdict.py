"""What the crash test asks of the books: after each fault, and when the house has stopped."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path

import sqlalchemy as sa

from crash_traffic import Tally
from installation import Installation
from openmaas.core.errors import StoreFailed
from openmaas.core.money import show_amount
from openmaas.house.layout import Layout
from openmaas.house.poster import engine_counts
from openmaas.ledger.audit import Report, audit
from openmaas.ledger.law import BOUNDED, accounts, charges, receipts
from openmaas.store.database import Database

#: How long the books may take to agree after a fault: an orphan waits three seconds for its engine's count.
SETTLE_S = 60.0
#: What the verdict must say.
MUST_BE_0 = ("lost", "doubled", "overdrawn", "still leased", "sold wrong", "mistakes")


def agree(database: Database, layout: Layout, *, posted: bool = False) -> tuple[Report, float]:
    """The audit, once it has nothing to say; and how long that took. Raises ``AssertionError`` when it never does.
    ``posted``: and once nothing stands in the journals alone, which a poster that was just killed has left there."""
    began = time.monotonic()
    while True:
        with contextlib.suppress(StoreFailed):
            report = database.look(audit, layout.journals, engine_counts(layout))
            if not report.disagreements and not (posted and report.journaled):
                return report, time.monotonic() - began
        assert time.monotonic() - began < SETTLE_S, report.disagreements
        time.sleep(0.2)


def verdict(house: Installation, tally: Tally) -> dict[str, object]:
    """What is left when the house has stopped: lost, doubled, overdrawn, and the size of ``unbilled``."""
    layout = Layout(str(house.data), house.settings["database_url"])
    database = Database(layout.database)
    report, _ = agree(database, layout)
    rows = {row.request_id: row for row in database.look(lambda tx: tx.execute(sa.select(receipts)).all())}
    free = accounts.c.posted_nanos + accounts.c.credit_nanos - accounts.c.pending_nanos - accounts.c.leased_nanos
    below = database.look(
        lambda tx: tx.execute(sa.select(accounts.c.id).where(accounts.c.kind.in_(BOUNDED), free < 0)).all()
    )
    leased = database.look(lambda tx: tx.execute(sa.select(accounts.c.id).where(accounts.c.leased_nanos > 0)).all())
    own = database.look(lambda tx: tx.execute(sa.select(accounts).where(accounts.c.owner == "")).all())
    paid = database.look(lambda tx: tx.execute(sa.select(sa.func.count()).select_from(charges)).scalar())
    counted = engine_counts(layout)
    lost = [request_id for request_id in counted if request_id not in rows and request_id.startswith("req_")]
    lost += [seen.request_id for seen in tally.seen if seen.request_id not in rows]
    known = [seen for seen in tally.seen if seen.ended and seen.request_id in rows]
    wrong = [seen.request_id for seen in known if rows[seen.request_id].completion_tokens != seen.tokens]
    for request_id in lost[:5]:
        seen = next((seen for seen in tally.seen if seen.request_id == request_id), "no client was answered")
        print(f"no receipt: {request_id}, {seen}, an engine counted {counted.get(request_id)}", file=sys.stderr)
    for request_id in wrong[:5]:
        seen = next(seen for seen in known if seen.request_id == request_id)
        print(f"not what was answered: {seen}, {rows[request_id]._asdict()}", file=sys.stderr)
    for account in [*below, *leased][:5]:
        print(f"overdrawn or still leased: {account.id}", file=sys.stderr)
    for said in tally.sold_wrong[:5]:
        print(f"the desk: {said}", file=sys.stderr)
    database.close()
    return {
        "faults": dict(tally.faults),
        "asked": tally.asked,
        "answered": len(tally.seen),
        "answered to the end": sum(seen.ended for seen in tally.seen),
        "refused": dict(tally.refused),
        "receipts": len(rows),
        "charges": paid,
        "lost": len(lost),
        "doubled": len(wrong),
        "overdrawn": len(below),
        "still leased": len(leased),
        "sold and given back": dict(tally.sold),
        "sold wrong": len(tally.sold_wrong),
        "mistakes": told_in(house.log),
        "charged": report.charged,
        "unbilled": {a.currency: show_amount(-a.posted_nanos) for a in own if a.kind == "unbilled"},
        "excess": {a.currency: show_amount(-a.posted_nanos) for a in own if a.kind == "operator_excess"},
        "slowest agreement, s": round(tally.slowest_s, 1),
    }


def told_in(log: Path) -> int:
    """How many mistakes of ours the programs wrote down; they are printed."""
    text = log.read_text()
    mistakes = text.split("Traceback (most recent call last)")[1:]
    for mistake in mistakes[:5]:
        print(mistake[:4000], file=sys.stderr)
    return len(mistakes)
