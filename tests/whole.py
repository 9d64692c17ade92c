"""A whole ledger in one process: relays with real purses and journals, one poster, and a clock that the test moves.

What is around it is real too: the change sequence carries recalls and changes, the database breaks on cue.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from openmaas.core.bounds import ORPHAN_GRACE_S, RECONCILE_INTERVAL_S
from openmaas.core.clock import Clock
from openmaas.core.errors import OpenmaasError
from openmaas.core.usage import Usage
from openmaas.ledger.law import leases
from openmaas.ledger.posting.poster import Poster
from openmaas.ledger.prices import PriceBook, price_book
from openmaas.ledger.spending.funds import Funds, Use
from openmaas.ledger.spending.holds import Hold
from openmaas.ledger.spending.leasing import open_journal
from openmaas.ledger.spending.purse import Purse
from openmaas.ledger.writing.journal import Journal
from openmaas.ledger.writing.records import Closed, Opened, Progress
from openmaas.store.changes import Follower, Snapshot
from shaky import shaky_database

#: Waiting is made short: of what a relay waits for, all is in this process.
SHORT = {
    "openmaas.ledger.spending.purse.RECALL_WAIT_S": 0.03,
    "openmaas.ledger.spending.purse.RECALL_POLL_S": 0.005,
    "openmaas.ledger.spending.purse.LEASE_IDLE_S": 0.1,
    "openmaas.ledger.spending.purse.LEASE_EMPTY_S": 0.005,
    "openmaas.store.changes.FOLLOW_INTERVAL_S": 0.002,
}


class Running(msgspec.Struct):
    """A request between ``opened`` and ``closed``."""

    opened: Opened
    hold: Hold
    promise: int


class World:
    """The database, the clock and the poster; ``relays`` come and go."""

    def __init__(self, store: str, folder: Path, now_ms: int) -> None:
        self.database = shaky_database(store, folder)
        self.folder = folder
        self.now_ms = now_ms
        self.ahead_s = 0.0
        self.clock = Clock(wall_ms=lambda: self.now_ms, mono_s=lambda: time.monotonic() + self.ahead_s)
        self.loop = asyncio.new_event_loop()
        self.counts: dict[str, Usage] = {}  # what the engine wrote down
        self.relays: list[Relay] = []
        self.born = 0
        self.begin_poster()

    def begin_poster(self) -> None:
        """A new one, which begins from what the one before had committed."""

        def counts(asked: dict[str, str]) -> dict[str, Usage]:
            return {i: self.counts[i] for i in asked if i in self.counts}

        fields = (self.folder / "journals", "home", self.clock, counts)
        self.poster = Poster(self.database, *fields, lambda _tx, _fresh: None, lambda _before_ms: None)

    def post(self) -> None:
        """All that can be posted, orphans of the dead and late counts included."""
        self.poster.step()
        self.ahead_s += max(ORPHAN_GRACE_S, RECONCILE_INTERVAL_S)
        self.poster.step()

    def begin_relay(self) -> Relay:
        """One more relay, which follows what changes."""
        self.born += 1
        made = Relay(self, f"rly_{self.born:04d}")
        self.relays.append(made)
        self.run(made.start())
        return made

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Let the loop run until ``work`` is done; followers and purses run beside it."""
        return self.loop.run_until_complete(work)

    def close(self) -> None:
        """Let go of everything."""
        for relay in list(self.relays):
            relay.die()
        self.run(self.loop.shutdown_default_executor())
        self.loop.close()
        self.database.close()


class Relay:
    """What a relay has of the ledger."""

    def __init__(self, world: World, life: str) -> None:
        self.world = world
        self.life = life
        self.journal = Journal(world.folder / "journals" / life)
        world.database.call(open_journal, life, "home", world.now_ms)
        self.follower = Follower(world.database, world.clock)
        self.funds = Funds(world.database, self.follower, world.clock, "CNY")
        self.prices: Snapshot[PriceBook] = Snapshot(world.database, self.follower, "prices", price_book)
        self.purse = Purse(world.database, self.follower, world.clock, life)
        self.running: dict[str, Running] = {}
        self.ended: set[str] = set()
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Follow what changes, and give back what is recalled."""
        await self.follower.start()
        await self.prices.load()
        self.tasks = [asyncio.ensure_future(each.run()) for each in (self.follower, self.prices, self.purse)]

    async def heard(self) -> None:
        """Until this relay has read what changed so far."""
        await self.follower.step()
        await self.prices.load()

    async def open(self, use: Use) -> Opened | OpenmaasError:
        """Steps 4 and 6 of a journey, up to the engine; the refusal when there is one."""
        try:
            funding = await self.funds.of(use.organisation_id)
            hold = await self.purse.hold(funding.sources(use, self.prices.value))
        except OpenmaasError as error:
            return error
        who = (use.key_id, use.project_id, use.organisation_id)
        request_id = self.world.clock.new_id("req")
        opened = Opened(request_id, use.opened_ms, *who, use.model, "dep", tuple(hold.legs), batch=use.batch)
        self.running[request_id] = Running(opened, hold, self.journal.open(opened))
        return opened

    def end(self, request_id: str, usage: Usage) -> Closed:
        """Step 7: pay, and give the rest back."""
        one = self.running.pop(request_id)
        opened = one.opened
        paid, excess = self.prices.value.bill(opened.legs, usage, opened.opened_ms, batch=opened.batch)
        closed = Closed(opened, self.world.now_ms, 1, "done", usage, paid, excess)
        self.journal.close(closed, one.promise)
        one.hold.settle(paid)
        self.ended.add(request_id)
        return closed

    def leased(self) -> dict[str, int]:
        """What this relay leases, by account."""
        query = sa.select(leases.c.account_id, leases.c.granted_nanos).where(leases.c.journal_id == self.life)
        return {row[0]: row[1] for row in self.world.database.look(lambda tx: tx.execute(query).all()) if row[1]}

    def delivered(self, request_id: str, usage: Usage) -> None:
        """Note how far a request is."""
        self.journal.progress(Progress(request_id, usage))

    def die(self) -> None:
        """``kill -9``: nothing is given back, and the lock is free."""
        self.world.relays.remove(self)
        for task in self.tasks:
            task.cancel()
        self.world.run(asyncio.wait(self.tasks))
        self.journal.end()
