"""The poster: reads every relay's journal and posts it, in batches, once each. One per installation.

A journal whose relay is gone is read to its end; what was opened and never closed (an orphan) is settled from the
engine's own count, else from the tokens the relay had noted as delivered; then the relay's leases come back.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import sqlalchemy as sa

from openmaas.core.bounds import JOURNAL_KEPT_S, ORPHAN_GRACE_S, POST_BATCH_MAX, RECONCILE_INTERVAL_S, RECONCILE_SINCE_S
from openmaas.core.clock import Clock
from openmaas.core.usage import Usage
from openmaas.ledger.journal import Position, alive, read_on, segment_path
from openmaas.ledger.law import journals, receipts
from openmaas.ledger.posting import post, post_unbilled, retire
from openmaas.ledger.prices import price_book
from openmaas.ledger.records import Closed, Opened, Progress
from openmaas.store.database import Database

log = logging.getLogger(__name__)

#: Engines' own counts by request id, for those they know.
Counts = Callable[[list[str]], dict[str, Usage]]
#: Told of each batch inside its transaction.
Also = Callable[[sa.Connection, list[Closed]], None]


class Tail:
    """How far one journal is read, and which requests are open there."""

    def __init__(self, journal_id: str, floor: Position, cursor: Position) -> None:
        self.id = journal_id
        self.at = floor
        self.cursor = cursor.pair()
        self.open: dict[str, tuple[Opened, tuple[int, int]]] = {}
        self.delivered: dict[str, Usage] = {}
        self.closed: list[Closed] = []
        self.dead_s: float | None = None

    def floor(self) -> tuple[int, int]:
        """Where the oldest request began that is still open."""
        return min((position for _, position in self.open.values()), default=self.at.pair())

    def read(self, folder: Path) -> bool:
        """Take in the next records; True when there were any."""
        records = read_on(folder / self.id, self.at)
        for record, position in records:
            match record:
                case Opened():
                    self.open[record.request_id] = (record, position)
                case Progress():
                    self.delivered[record.request_id] = record.usage
                case Closed():
                    self.open.pop(record.opened.request_id, None)
                    self.delivered.pop(record.opened.request_id, None)
                    self.closed.append(record)
        return bool(records)


class Poster:
    """``step`` does what there is to do now; the program calls it again and again."""

    def __init__(self, database: Database, folder: Path, clock: Clock, counts: Counts, also: Also) -> None:
        self._database = database
        self._folder = folder
        self._clock = clock
        self._counts = counts
        self._also = also
        self._tails: dict[str, Tail] = {}
        self._reconciled_s = 0.0

    def step(self) -> int:
        """Read and post; returns how many requests were posted."""
        self._find_journals()
        posted = 0
        for tail in list(self._tails.values()):
            dead = not alive(self._folder / tail.id)  # asked first: then what is read next is all there will be
            while tail.read(self._folder):
                while len(tail.closed) >= POST_BATCH_MAX:
                    posted += self._post(tail)
            posted += self._post(tail)
            if dead:
                posted += self._bury(tail)
        if self._clock.mono_s() - self._reconciled_s >= RECONCILE_INTERVAL_S:
            self._reconcile()
        return posted

    def _find_journals(self) -> None:
        for row in self._database.look(_open_journals):
            if row.id not in self._tails:
                floor = Position(row.floor_segment, row.floor_offset)
                self._tails[row.id] = Tail(row.id, floor, Position(row.cursor_segment, row.cursor_offset))

    def _post(self, tail: Tail) -> int:
        batch, rest = tail.closed[:POST_BATCH_MAX], tail.closed[POST_BATCH_MAX:]
        cursor = tail.floor() if rest else tail.at.pair()
        if not batch and cursor == tail.cursor:
            return 0

        def book(tx: sa.Connection) -> int:
            # With a rest waiting only the floor may move: what is not posted must be read again after a crash.
            floor = min(tail.floor(), tail.cursor) if rest else tail.floor()
            fresh = post(tx, self._clock, tail.id, batch, cursor=tail.cursor if rest else cursor, floor=floor)
            self._also(tx, fresh)
            return len(fresh)

        count = self._database.call(book)
        tail.closed = rest
        if not rest:
            tail.cursor = cursor
        return count

    def _bury(self, tail: Tail) -> int:
        now_s = self._clock.mono_s()
        if tail.dead_s is None:
            tail.dead_s = now_s
        if tail.open and now_s - tail.dead_s < ORPHAN_GRACE_S:
            return 0  # the engines are still writing their counts
        orphans = len(tail.open)
        if orphans:
            tail.closed.extend(self._settle_orphans(tail))
            tail.open.clear()
        posted = 0
        while tail.closed:
            posted += self._post(tail)
        freed = self._database.call(retire, tail.id)
        log.info("journal %s replayed: %d orphans settled, %d nano-units came back", tail.id, orphans, freed)
        del self._tails[tail.id]
        return posted

    def _settle_orphans(self, tail: Tail) -> list[Closed]:
        counts = self._counts(list(tail.open))
        book = self._database.look(price_book)
        found = []
        for request_id, (opened, _) in tail.open.items():
            delivered = tail.delivered.get(request_id, Usage())
            usage = counts.get(request_id) or msgspec.structs.replace(delivered, estimated=True)
            cost = book.version(opened.price_version).charge(usage)
            amount = min(cost, opened.hold_nanos)
            found.append(Closed(opened, self._clock.wall_ms(), 0, "orphaned", usage, amount, cost - amount))
        return found

    def _reconcile(self) -> None:
        """Book what engines counted for requests that were billed by estimate; forget old journals."""
        self._reconciled_s = self._clock.mono_s()
        now_ms = self._clock.wall_ms()
        estimated = self._database.look(_estimated, now_ms - RECONCILE_SINCE_S * 1000)
        counts = self._counts(estimated) if estimated else {}
        if counts:
            gap = self._database.call(post_unbilled, self._clock, counts)
            if gap:
                log.info("%d nano-units of engine work were not billed", gap)
        for journal_id in self._database.look(_old_journals, now_ms - JOURNAL_KEPT_S * 1000):
            shutil.rmtree(self._folder / journal_id, ignore_errors=True)
        for tail in self._tails.values():
            self._forget_segments(tail)

    def _forget_segments(self, tail: Tail) -> None:
        number = tail.floor()[0] - 1
        while number > 0 and (path := segment_path(self._folder / tail.id, number)).exists():
            if time.time() - path.stat().st_mtime > JOURNAL_KEPT_S:
                path.unlink()
            number -= 1


def _open_journals(tx: sa.Connection) -> list[sa.Row[tuple[object, ...]]]:
    return list(tx.execute(sa.select(journals).where(journals.c.state == "open").order_by(journals.c.id)))


def _old_journals(tx: sa.Connection, before_ms: int) -> list[str]:
    query = sa.select(journals.c.id).where(journals.c.state != "open", journals.c.started_ms < before_ms)
    return list(tx.execute(query).scalars())


def _estimated(tx: sa.Connection, since_ms: int) -> list[str]:
    query = sa.select(receipts.c.request_id).where(receipts.c.posted_ms >= since_ms, receipts.c.estimated.is_(True))
    return list(tx.execute(query.limit(POST_BATCH_MAX)).scalars())
