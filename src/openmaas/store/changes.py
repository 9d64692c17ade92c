"""The change sequence: how every process learns of a change within ``STALE_AFTER_S``.

A book function that changes something a relay remembers calls ``note`` in the same transaction. A ``Follower`` reads
what is new and tells its listeners; when it could not read for longer than ``STALE_AFTER_S`` it is ``stale``, and the
relay refuses rather than trust an old view. Numbers have no gaps, so that a follower notices when it lags behind what
is kept (``CHANGES_KEPT``): then ``EVERYTHING`` may have changed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec
import sqlalchemy as sa

from openmaas.core.bounds import CHANGES_KEPT, FOLLOW_INTERVAL_S, STALE_AFTER_S
from openmaas.core.clock import Clock
from openmaas.core.errors import StoreFailed
from openmaas.store.database import Database
from openmaas.store.law import LAW

T = TypeVar("T")
log = logging.getLogger(__name__)

#: The subject of a change when nobody can say any more which one it was.
EVERYTHING = ""
#: One row: the number of the last change. Its lock puts changes in the order of their commits.
counter = sa.Table(
    "change_counter",
    LAW,
    sa.Column("one", sa.Integer, primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.CheckConstraint("one = 1"),
)
changes = sa.Table(
    "changes",
    LAW,
    sa.Column("seq", sa.BigInteger, primary_key=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("subject", sa.String, nullable=False),
)


class Change(msgspec.Struct, frozen=True):
    """Something a relay may remember has changed; ``kind`` says what: a ``key``, the ``catalog``, ``limits`` …"""

    seq: int
    kind: str
    subject: str


def note(tx: sa.Connection, kind: str, subject: str) -> int:
    """Add a change; visible to followers once the transaction commits. Returns its number."""
    seq = tx.execute(counter.update().values(seq=counter.c.seq + 1).returning(counter.c.seq)).scalar()
    if seq is None:
        seq = 1
        tx.execute(counter.insert().values(one=1, seq=seq))
    tx.execute(changes.insert().values(seq=seq, kind=kind, subject=subject))
    return int(seq)


def latest(tx: sa.Connection) -> int:
    """The number of the last change; 0 before the first."""
    return int(tx.execute(sa.select(counter.c.seq)).scalar() or 0)


def since(tx: sa.Connection, seq: int, limit: int = 1_000) -> list[Change]:
    """The changes after ``seq``, oldest first."""
    rows = tx.execute(sa.select(changes).where(changes.c.seq > seq).order_by(changes.c.seq).limit(limit))
    return [Change(row.seq, row.kind, row.subject) for row in rows]


def forget(tx: sa.Connection) -> None:
    """Keep the last ``CHANGES_KEPT`` changes."""
    tx.execute(changes.delete().where(changes.c.seq <= latest(tx) - CHANGES_KEPT))


class Snapshot(Generic[T]):
    """``value``: what one book function reads, read again after every change of its kind."""

    value: T

    def __init__(self, database: Database, follower: Follower, kind: str, book: Callable[[sa.Connection], T]) -> None:
        self._database = database
        self._book = book
        self._changed = asyncio.Event()
        self._listeners: list[Callable[[T], None]] = []
        follower.on(kind, lambda _subject: self._changed.set())

    def on_change(self, listener: Callable[[T], None]) -> None:
        """Call ``listener(value)`` after every read."""
        self._listeners.append(listener)

    async def load(self) -> None:
        """Read now. Raises ``StoreFailed``."""
        self._changed.clear()
        self.value = await self._database.read(self._book)
        for listener in self._listeners:
            listener(self.value)

    async def run(self) -> None:
        """Read again after each change, until cancelled."""
        while True:
            await self._changed.wait()
            try:
                await self.load()
            except StoreFailed as error:
                log.warning("a snapshot cannot be renewed: %s", error)
                self._changed.set()
                await asyncio.sleep(FOLLOW_INTERVAL_S)


class Follower:
    """Reads the sequence every ``FOLLOW_INTERVAL_S`` and calls the listeners of each kind with the subject."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._seq = -1
        self._fresh_s = -STALE_AFTER_S
        self._listeners: dict[str, list[Callable[[str], None]]] = {}

    @property
    def stale(self) -> bool:
        """True when what this process remembers may be older than ``STALE_AFTER_S``."""
        return self._clock.mono_s() - self._fresh_s > STALE_AFTER_S

    def on(self, kind: str, listener: Callable[[str], None]) -> None:
        """Call ``listener(subject)`` for each later change of ``kind``; ``EVERYTHING`` when some were missed."""
        self._listeners.setdefault(kind, []).append(listener)

    async def start(self) -> None:
        """Begin after the last change there is. Call before anything is remembered."""
        began = self._clock.mono_s()
        self._seq = await self._database.read(latest)
        self._fresh_s = began

    async def step(self) -> int:
        """Read once; returns how many changes there were. Freshness counts from *before* the read."""
        began = self._clock.mono_s()
        found = await self._database.read(since, self._seq)
        if found and found[0].seq > self._seq + 1:
            log.warning("%d changes are forgotten: all that is remembered is read again", found[0].seq - self._seq - 1)
            for listener in [listener for listeners in self._listeners.values() for listener in listeners]:
                listener(EVERYTHING)
        for change in found:
            for listener in self._listeners.get(change.kind, ()):
                listener(change.subject)
            self._seq = change.seq
        self._fresh_s = began
        return len(found)

    async def run(self) -> None:
        """Follow until cancelled. A database that does not answer makes us stale, not dead."""
        while True:
            try:
                if not await self.step():
                    await asyncio.sleep(FOLLOW_INTERVAL_S)
            except StoreFailed as error:
                log.warning("the change sequence cannot be read: %s", error)
                await asyncio.sleep(FOLLOW_INTERVAL_S)
