"""A lender in the database: for relays that share one and have no Valkey.

One row for each counter, read and written in one transaction with all that a relay wants; writers are serialisable, so
two relays never lend the same twice. PostgreSQL's clock counts; SQLite serves one host, which has one.
"""

from __future__ import annotations

import sqlalchemy as sa

from openmaas.core.bounds import BORROW_TABLES_TIMEOUT_S, LIMIT_AMOUNT_MAX, WINDOW_S
from openmaas.core.clock import Clock
from openmaas.limits.borrowing import RELAYS, Grant, Loan, RateWant, Want, lend_rate, lend_seats, until_ms
from openmaas.limits.law import limit_counters
from openmaas.store.database import Database


class TableLender:
    """Lends from the table ``limit_counters``."""

    timeout_s = BORROW_TABLES_TIMEOUT_S

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._swept_s = clock.mono_s()

    async def lend(self, relay_id: str, wants: list[Want], parts: int) -> Loan:
        """Part of ``Lender``."""
        if self._clock.mono_s() > self._swept_s + WINDOW_S:
            self._swept_s = self._clock.mono_s()
            await self._database.run(sweep, self._clock)
        return await self._database.run(lend, self._clock, relay_id, wants, parts)

    async def close(self) -> None:
        """The database is the house's."""


def lend(tx: sa.Connection, clock: Clock, relay_id: str, wants: list[Want], parts: int) -> Loan:
    """Lend all that is wanted. A table forgets nothing, so its life has one name."""
    now_ms = _now_ms(tx, clock)
    names = [want.counter for want in wants]
    query = sa.select(limit_counters.c.counter, limit_counters.c.state).where(limit_counters.c.counter.in_(names))
    known = {row.counter: row.state for row in tx.execute(query)}
    grants: dict[str, Grant] = {}
    for want in sorted(wants, key=lambda want: want.counter):  # in one order, so that two never wait for each other
        state = known.get(want.counter, {})
        if isinstance(want, RateWant):
            grant = lend_rate(state, want, now_ms, parts)
        else:
            grant = lend_seats(state, want, relay_id, now_ms, parts)
        tx.execute(_WRITE, {"counter": want.counter, "state": state, "until_ms": until_ms(want, now_ms)})
        grants[want.counter] = grant
    return Loan("tables", LIMIT_AMOUNT_MAX - grants[RELAYS].free, [grants[name] for name in names])


def sweep(tx: sa.Connection, clock: Clock) -> None:
    """Forget counters in which nothing counts any more."""
    tx.execute(limit_counters.delete().where(limit_counters.c.until_ms < _now_ms(tx, clock)))


#: As text, which both databases read alike. A row that another relay has just made is met as one that it changed.
_WRITE = sa.text(
    "INSERT INTO limit_counters (counter, state, until_ms) VALUES (:counter, :state, :until_ms) "
    "ON CONFLICT (counter) DO UPDATE SET state = excluded.state, until_ms = excluded.until_ms"
).bindparams(sa.bindparam("state", type_=sa.JSON))


def _now_ms(tx: sa.Connection, clock: Clock) -> int:
    if tx.dialect.name == "sqlite":
        return clock.wall_ms()
    return int(tx.execute(sa.text("SELECT extract(epoch FROM clock_timestamp()) * 1000")).scalar_one())
