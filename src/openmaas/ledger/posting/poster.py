"""The poster: reads every relay's journal and posts it, in batches, once each. One for each data folder (``home``).

A journal whose relay is gone is read to its end; what was opened and never closed (an orphan) is settled from the
engine's own count, else from the tokens the relay had noted as delivered; then the relay's leases come back.

What an engine counted above an estimate is booked with the receipt. An engine may write its count later than that:
so estimates are looked at again for a while (``_reconcile``).
"""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import sqlalchemy as sa

from openmaas.core.bounds import (
    BUSY_LEAVE_S,
    METER_KEPT_S,
    ORPHAN_GRACE_S,
    POST_BATCH_MAX,
    POST_BATCH_MIN,
    POST_BATCH_S,
    POST_INTERVAL_S,
    PRUNE_INTERVAL_S,
    RECONCILE_INTERVAL_S,
    RECONCILE_SINCE_S,
)
from openmaas.core.clock import Clock
from openmaas.core.parents import comes_back
from openmaas.core.usage import Usage
from openmaas.ledger.law import journals, receipts
from openmaas.ledger.posting.batch import mark_settled, post, post_unbilled, retire
from openmaas.ledger.posting.pruning import forget_journals, forget_rows, forget_segments, forget_strays
from openmaas.ledger.prices import price_book
from openmaas.ledger.writing.idempotency import answered_of
from openmaas.ledger.writing.journal import Position, alive, broken, read_on
from openmaas.ledger.writing.records import Closed, Opened, Progress
from openmaas.store.database import Database

log = logging.getLogger(__name__)

#: Engines' own counts by request id, for those they know; asked with the deployment of each request.
Counts = Callable[[dict[str, str]], dict[str, Usage]]
#: Told that counts written before this moment (ms) are asked for no more.
Forget = Callable[[int], None]
#: Told of each batch inside its transaction.
Also = Callable[[sa.Connection, list[Closed]], None]
_BEGIN = (0, "")  #: before the first receipt, by time of posting and request id


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
        self.broken: str | None = None  # what is said of it

    def floor(self) -> tuple[int, int]:
        """Where the oldest request began that is still open."""
        return min((position for _, position in self.open.values()), default=self.at.pair())

    def settled_ms(self, now_ms: int) -> int:
        """All that this journal has of before is closed, when it was read until ``now_ms``."""
        return min((opened.opened_ms for opened, _ in self.open.values()), default=now_ms)

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

    def __init__(
        self,
        database: Database,
        folder: Path,
        home: str,
        clock: Clock,
        counts: Counts,
        also: Also,
        forget_counts: Forget,
    ) -> None:
        self._database = database
        self._folder = folder
        self._home = home
        self._clock = clock
        self._counts = counts
        self._also = also
        self._forget_counts = forget_counts
        self._tails: dict[str, Tail] = {}
        self._gone: set[str] = set()
        self.batch = POST_BATCH_MIN  # requests of the next transaction
        self._reconciled = _BEGIN
        self._reconciled_s = self._pruned_s = -math.inf

    def step(self) -> int:
        """Read and post; returns how many requests were posted."""
        self._find_journals()
        posted = 0
        for tail in list(self._tails.values()):
            dead = not alive(self._folder / tail.id)  # asked first: then what is read next is all there will be
            while tail.read(self._folder):
                while len(tail.closed) >= POST_BATCH_MAX:
                    posted += self._post(tail)
            posted += self._post_all(tail)
            self._look_whether_broken(tail)
            if dead and not tail.broken:
                posted += self._bury(tail)
        now_s = self._clock.mono_s()
        if self._reconciled != _BEGIN or now_s - self._reconciled_s >= RECONCILE_INTERVAL_S:
            self._reconcile()
        if now_s - self._pruned_s >= PRUNE_INTERVAL_S:
            self._pruned_s = now_s
            self._prune()
        return posted

    def finish(self) -> int:
        """Everything that can be posted now, and what engines counted beyond: the books agree afterwards. Returns how
        many requests were posted; waits ``ORPHAN_GRACE_S`` for the engines of a relay that is gone."""
        posted = self.step()
        while any(tail.dead_s is not None for tail in self._tails.values()):
            time.sleep(POST_INTERVAL_S)
            posted += self.step()
        while not self._reconcile():
            pass
        return posted

    def broken(self) -> list[str]:
        """What is said of journals that cannot be read on."""
        return [tail.broken for tail in self._tails.values() if tail.broken]

    def _find_journals(self) -> None:
        found = {row.id: row for row in self._database.look(_open_journals, self._home)}
        gone = {journal_id for journal_id in found if not (self._folder / journal_id).is_dir()}
        for journal_id in gone - self._gone:
            log.error("the folder of journal %s is gone: `openmaas ledger write-off` gives its leases back", journal_id)
        self._gone = gone
        for journal_id in self._tails.keys() - (found.keys() - gone):  # or it was written off
            del self._tails[journal_id]
        for row in found.values():
            if row.id not in self._tails and row.id not in gone:
                floor = Position(row.floor_segment, row.floor_offset)
                self._tails[row.id] = Tail(row.id, floor, Position(row.cursor_segment, row.cursor_offset))

    def _post_all(self, tail: Tail) -> int:
        """What was read, or the cursor alone; returns how many requests were posted."""
        posted = self._post(tail)
        while tail.closed:
            posted += self._post(tail)
        return posted

    def _post(self, tail: Tail) -> int:
        """One batch. A transaction that takes long meets every lease of its accounts on PostgreSQL, and begins again:
        so a batch has as many requests as are posted in ``POST_BATCH_S``, and half as many at each new try."""
        if not tail.closed and tail.at.pair() == tail.cursor:
            return 0
        estimated = (record.opened for record in tail.closed[: self.batch] if record.usage.estimated)
        counts, tries, size, began_s = self._counts(_deployments(estimated)), itertools.count(), 0, 0.0

        def book(tx: sa.Connection) -> int:
            nonlocal size, began_s
            size, began_s = max(1, self.batch >> next(tries)), self._clock.mono_s()
            # With a rest waiting only the floor may move: what is not posted must be read again after a crash.
            rest, floor = len(tail.closed) > size, tail.floor()
            cursor, floor = (tail.cursor, min(floor, tail.cursor)) if rest else (tail.at.pair(), floor)
            fresh = post(tx, self._clock, tail.id, tail.closed[:size], cursor=cursor, floor=floor)
            post_unbilled(tx, self._clock, counts)
            self._also(tx, fresh)
            return len(fresh)

        try:
            count = self._database.call(book)
        finally:
            full, self.batch = len(tail.closed) >= size, max(1, size)
        if self._clock.mono_s() - began_s > POST_BATCH_S:
            self.batch = max(1, size // 2)
        elif full:
            self.batch = min(2 * size, POST_BATCH_MAX)
        tail.closed = tail.closed[size:]
        if not tail.closed:
            tail.cursor = tail.at.pair()
        time.sleep(BUSY_LEAVE_S)  # a relay may wait to lease
        return count

    def _look_whether_broken(self, tail: Tail) -> None:
        """One that cannot be read on stays open, with all that its relay leases, until somebody has looked into it."""
        before, tail.broken = tail.broken, broken(self._folder / tail.id, tail.at)
        if tail.broken and tail.broken != before:
            log.error("%s", tail.broken)

    def _bury(self, tail: Tail) -> int:
        now_s = self._clock.mono_s()
        if tail.dead_s is None:
            tail.dead_s = now_s
        if tail.open and now_s - tail.dead_s < ORPHAN_GRACE_S:
            return 0  # the engines are still writing their counts
        orphans = len(tail.open)
        if orphans:
            tail.closed.extend(self._settle_orphans(tail))
        posted = self._post_all(tail)
        tail.open.clear()  # not before: while they are open, a crash between two batches reads them again
        freed = self._database.call(retire, tail.id)
        log.info(
            "journal %s replayed: %d orphans settled, leases of %d accounts came back", tail.id, orphans, len(freed)
        )
        del self._tails[tail.id]
        return posted

    def _settle_orphans(self, tail: Tail) -> list[Closed]:
        counts = self._counts(_deployments(opened for opened, _ in tail.open.values()))
        book = self._database.look(price_book)
        answered = self._database.look(answered_of, [opened.request_id for opened, _ in tail.open.values()])
        found = []
        for request_id, (opened, _) in tail.open.items():
            noted = tail.delivered.get(request_id)
            delivered = noted or Usage()
            usage = counts.get(request_id) or msgspec.structs.replace(delivered, estimated=True)
            if comes_back(opened.job_id) and request_id not in answered:
                usage = Usage(estimated=True)  # the job asks again, and pays then
            paid, excess = book.bill(opened.legs, usage, opened.opened_ms, batch=opened.batch)
            seen = None if noted is None else noted.completion_tokens
            found.append(Closed(opened, self._clock.wall_ms(), 0, "orphaned", usage, paid, excess, seen))
        return found

    def _reconcile(self) -> bool:
        """Book what engines counted meanwhile for one page of the receipts that were billed by estimate; True after the
        last page. The next page is the next step's, so that posting never waits for many."""
        since = (self._clock.wall_ms() - RECONCILE_SINCE_S * 1000, "")
        page = self._database.look(_estimated, max(self._reconciled, since))
        counts = self._counts({row.request_id: row.deployment_id for row in page})
        met = self._database.call(post_unbilled, self._clock, counts) if counts else 0
        if met:
            log.info("engine work of %d requests was not billed", met)
        if len(page) == POST_BATCH_MAX:
            self._reconciled = (page[-1].posted_ms, page[-1].request_id)
            return False
        self._reconciled, self._reconciled_s = _BEGIN, self._clock.mono_s()
        return True

    def _prune(self) -> None:
        now_ms = self._clock.wall_ms()
        self._database.call(
            mark_settled, {tail.id: tail.settled_ms(now_ms) for tail in self._tails.values() if not tail.broken}
        )
        forget_rows(self._database, now_ms)
        forget_journals(self._database, self._folder, now_ms)
        forget_strays(self._database, self._folder)
        for tail in self._tails.values():
            forget_segments(self._folder, tail.id, tail.floor()[0])
        # An orphan is settled by its engine's count, however old it is.
        needed = [opened.opened_ms for tail in self._tails.values() for opened, _ in tail.open.values()]
        self._forget_counts(min([now_ms - METER_KEPT_S * 1000, *needed]))


def _deployments(opened: Iterable[Opened]) -> dict[str, str]:
    return {one.request_id: one.deployment_id for one in opened}


def _open_journals(tx: sa.Connection, home: str) -> list[sa.Row[tuple[object, ...]]]:
    ours = (journals.c.state == "open") & (journals.c.home == home)
    return list(tx.execute(sa.select(journals).where(ours).order_by(journals.c.id)))


def _estimated(tx: sa.Connection, after: tuple[int, str]) -> list[sa.Row[tuple[int, str, str]]]:
    at = sa.tuple_(receipts.c.posted_ms, receipts.c.request_id)
    query = sa.select(receipts.c.posted_ms, receipts.c.request_id, receipts.c.deployment_id)
    estimated = query.where(sa.text("receipts.estimated"), at > after)  # as it stands in the index
    return list(tx.execute(estimated.order_by(receipts.c.posted_ms, receipts.c.request_id).limit(POST_BATCH_MAX)))
