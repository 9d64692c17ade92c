"""A job that is ours for now: its lease renewed, its progress noted, its token made, its end heard of.

Nothing here survives the lease: the token that requests are sent with ends when the lease does, so that a worker that
was stopped for a while and wakes up can ask for nothing more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection

import msgspec
import sqlalchemy as sa

from openmaas.core.bounds import JOB_BEAT_S, JOB_SLICE_S
from openmaas.core.clock import Clock
from openmaas.core.errors import LeaseLost, StoreFailed
from openmaas.identity.behalf import OnBehalf, mint
from openmaas.identity.book import find_key
from openmaas.identity.seal import MasterKeys
from openmaas.store.database import Database
from openmaas.work.book import Job, beat, end, give_back, next_due_ms

log = logging.getLogger(__name__)

#: What is booked together with the end of a job.
Also = Callable[[sa.Connection], object]


class Ended(msgspec.Struct, frozen=True):
    """A job is over, in ``state``; ``also`` belongs to the same transaction, ``after`` follows it."""

    state: str
    also: Also = lambda _tx: None
    after: Callable[[], object] = lambda: None


class Waits(msgspec.Struct, frozen=True):
    """A job cannot go on for so long; others may."""

    wait_s: float = 0.0


class Lease:
    """One claim of a job. ``progress`` is what will be noted of it."""

    def __init__(self, job: Job, database: Database, clock: Clock, master: MasterKeys, kinds: Collection[str]) -> None:
        self.job = job
        self.progress = job.progress
        self.stopping = False  # this worker is told to leave
        self.yields = False  # others wait, and we had our time
        self._database = database
        self._clock = clock
        self._master = master
        self._kinds = kinds
        self._poked = asyncio.Event()
        self._turning = asyncio.Event()
        self._writing = asyncio.Lock()
        self._began_s = clock.mono_s()
        self._token = ("", 0)
        self._hushed = False

    @property
    def cancelled(self) -> bool:
        """True when somebody asked to stop."""
        return self.job.cancel_ms is not None

    @property
    def expired(self) -> bool:
        """True when its time is over."""
        return self._clock.wall_ms() >= self.job.expires_ms

    @property
    def over(self) -> bool:
        """True when nothing new is to be begun under this lease."""
        return self.stopping or self.yields or self.cancelled or self.expired

    def token(self, price_class: str) -> str:
        """What a request is sent with now. Raises ``LeaseLost``."""
        job = self.job
        if self._clock.wall_ms() >= job.lease_until_ms:
            raise LeaseLost
        if self._token[1] != job.lease_until_ms:
            ids = (job.organisation_id, job.project_id, job.key_id)
            self._token = (
                mint(self._master, OnBehalf(*ids, price_class, job.id, job.lease_until_ms)),
                job.lease_until_ms,
            )
        return self._token[0]

    async def key_lives(self) -> bool:
        """False when nothing may be asked under this key any more. A refusal alone does not tell: a token may have
        ended on its way, and each wire has its own words. Raises ``StoreFailed``."""
        key, now_ms = await self._database.read(find_key, self.job.key_id), self._clock.wall_ms()
        lives = key is not None and key.revoked_ms is None and (key.expires_ms is None or key.expires_ms > now_ms)
        return lives and key is not None and "inference" in key.scopes

    def poke(self) -> None:
        """Something is new about the job: look at once."""
        self._poked.set()

    def hush(self) -> None:
        """The work is done: renew no more."""
        self._hushed = True
        self._poked.set()

    def stop(self) -> None:
        """Begin nothing new."""
        self.stopping = True
        self._turning.set()

    async def pause(self, seconds: float) -> None:
        """Wait, but not longer than there is something to wait for."""
        if not self.over:
            await _at_most(self._turning, seconds)

    async def run(self) -> None:
        """Renew the lease until ``hush``. Raises ``LeaseLost``."""
        while not self._hushed:
            await _at_most(self._poked, JOB_BEAT_S)
            self._poked.clear()
            try:
                await self.save()
                if self._clock.mono_s() - self._began_s > JOB_SLICE_S:
                    due_ms = await self._database.read(next_due_ms, self._kinds, self.job.place)
                    self.yields = due_ms is not None and due_ms <= self._clock.wall_ms()
            except StoreFailed as error:
                if self._clock.wall_ms() >= self.job.lease_until_ms:
                    raise LeaseLost from error
                log.warning("the lease of %s cannot be renewed yet: %s", self.job.id, error)
            if self.over:
                self._turning.set()

    async def save(self, also: Also = lambda _tx: None) -> None:
        """Renew the lease and note the progress now, and what ``also`` books. Raises ``LeaseLost``, ``StoreFailed``."""

        def book(tx: sa.Connection) -> Job:
            also(tx)
            return beat(tx, self._clock, self.job, self.progress)

        async with self._writing:
            self.job = await self._database.run(book)

    async def end(self, ended: Ended) -> None:
        """The job is over. Raises ``LeaseLost``, ``StoreFailed``."""

        def book(tx: sa.Connection) -> None:
            end(tx, self._clock, self.job, ended.state, self.progress)
            ended.also(tx)

        async with self._writing:
            await self._database.run(book)
        ended.after()

    async def give_back(self, wait_s: float, *, failed: bool = False) -> None:
        """Let somebody go on with it. Raises ``LeaseLost``, ``StoreFailed``."""
        async with self._writing:
            await self._database.run(give_back, self._clock, self.job, self.progress, wait_s, failed=failed)


async def _at_most(event: asyncio.Event, seconds: float) -> None:
    """Return when ``event`` is set, or after so long."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
