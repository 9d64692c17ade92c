"""A ledger without its programs: a test writes journals and meters itself, and calls the poster."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from openmaas.core.clock import Clock
from openmaas.core.terms import Terms, flat
from openmaas.core.usage import Usage
from openmaas.engines.meter import Meter
from openmaas.house.layout import Layout
from openmaas.house.poster import build, engine_counts
from openmaas.ledger.audit import audit
from openmaas.ledger.book import top_up, wallet_id
from openmaas.ledger.law import journals, transfers
from openmaas.ledger.legs import Leg
from openmaas.ledger.prices import set_price
from openmaas.ledger.spending.leasing import Step, lease, open_journal
from openmaas.ledger.writing.journal import Journal
from openmaas.ledger.writing.records import Closed, Opened
from openmaas.store.database import Database

CLOCK = Clock()
WALLET = wallet_id("org", "CNY")
HOLD = 10**9


class Desk:
    """One organisation with money, one model ``m`` on the deployment ``dep``, one poster."""

    def __init__(self, folder: Path, database: Database | None = None, clock: Clock = CLOCK) -> None:
        self.layout = Layout(str(folder))
        self.layout.prepare()
        self.clock = clock
        self.database = database or Database(self.layout.database)
        self.database.prepare()
        terms = Terms(flat(10**9, 2 * 10**9).bands, units={"call": 3 * 10**9})
        self.price = self.database.call(set_price, model="m", currency="CNY", terms=terms, from_ms=0)
        self.database.call(top_up, clock, "org", currency="CNY", amount_nanos=10**15, request_key="1", memo="")
        self.poster = build(self.layout, self.database, clock)

    def relay(self, life: str, started_ms: int | None = None) -> Journal:
        """A relay that has registered its journal and leased some money."""
        journal = Journal(self.layout.journals / life)
        self.database.call(
            open_journal, life, self.layout.home, self.clock.wall_ms() if started_ms is None else started_ms
        )
        fields = {"least_nanos": 100 * HOLD, "wish_nanos": 100 * HOLD, "share": 1}
        self.database.call(lease, self.clock, WALLET, Step(life, 1), **fields)
        return journal

    def opened(self, request_id: str, opened_ms: int = 1) -> Opened:
        """What a relay writes of a request."""
        leg = Leg((WALLET,), "CNY", self.price.version, HOLD)
        return Opened(request_id, opened_ms, "k", "p", "org", "m", "dep", (leg,), batch=False)

    def run(self, journal: Journal, request_id: str, usage: Usage, opened_ms: int = 1) -> None:
        """A request from its beginning to its end."""
        opened = self.opened(request_id, opened_ms)
        paid = (self.price.charge(usage, opened.opened_ms),)
        journal.close(Closed(opened, 2, 1, "done", usage, paid, 0), journal.open(opened))

    def meter(self, bytes_max: int = 10**6) -> Meter:
        """The meter of ``dep``."""
        return Meter(self.layout.meter("dep"), CLOCK, bytes_max=bytes_max)

    def unbilled(self) -> dict[str, int]:
        """What was booked to ``unbilled``, by request."""
        rows = self.database.look(
            lambda tx: tx.execute(sa.select(transfers).where(transfers.c.kind == "unbilled")).all()
        )
        return {row.request_key.split(":")[1]: row.amount_nanos for row in rows}

    def journals(self) -> dict[str, str]:
        """The state of every journal that is registered."""
        rows = self.database.look(lambda tx: tx.execute(sa.select(journals.c.id, journals.c.state)).all())
        return {row.id: row.state for row in rows}

    def disagreements(self) -> list[str]:
        """What the audit says."""
        return self.database.look(audit, self.layout.journals, engine_counts(self.layout)).disagreements
