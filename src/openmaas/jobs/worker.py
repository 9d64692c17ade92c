"""A job's life: from the book, through the relay, to its end. Read this file first.

    1 claim    the next job             → a Lease        work: ours until it ends, renewed while we live
    2 work     as its kind does         → Ended, Waits   batch.py, task.py: asks the relay on behalf of whoever pays
    3 settle   how it ended             → the book       in one transaction with what belongs to it

Three promises: a job is one worker's at a time; what it asked is paid once, though workers die at any moment; nobody's
job keeps the others from theirs. A worker that is killed leaves nothing to mend: the next one claims the job, finds
what was answered, and asks for the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec
import sqlalchemy as sa

from openmaas.core.bounds import JOB_DRAIN_S, JOB_LOOK_S, JOB_WAIT_S_MAX, RESTART_DELAY_S_MAX
from openmaas.core.clock import Clock
from openmaas.core.errors import LeaseLost, OpenmaasError, StoreFailed
from openmaas.identity.seal import MasterKeys
from openmaas.jobs.lease import Ended, Lease, Waits
from openmaas.ledger.writing.idempotency import forget_job
from openmaas.store.changes import Follower
from openmaas.store.database import Database
from openmaas.work.book import Job, claim, next_due_ms, take_over, worn_out

log = logging.getLogger(__name__)


class Kind(Protocol):
    """What knows how to do one kind of job."""

    async def work(self, lease: Lease) -> Ended | Waits:
        """Do it, or as much as can be done now."""

    def give_up(self, lease: Lease, code: str, message: str) -> Ended:
        """It cannot be done."""


class Lane(msgspec.Struct, frozen=True):
    """Kinds that share ``jobs_max`` places of a worker."""

    kinds: tuple[str, ...]
    jobs_max: int


class Worker:
    """Does jobs until told to stop. ``place`` is the depot that it reaches, ``home`` the data folder it belongs to."""

    def __init__(
        self,
        database: Database,
        follower: Follower,
        clock: Clock,
        master: MasterKeys,
        kinds: Mapping[str, Kind],
        lanes: Sequence[Lane],
        *,
        home: str,
        place: str,
    ) -> None:
        self._database = database
        self._clock = clock
        self._master = master
        self._kinds = kinds
        self._lanes = lanes
        self._home = home
        self._place = place
        self._name = f"{home}/{clock.new_id('wrk').lower()}"
        self._woken = asyncio.Event()
        self._stopping = False
        self.ended: Counter[tuple[str, str]] = Counter()  # by kind and state, since we began
        self.running: dict[str, tuple[Lease, asyncio.Task[None]]] = {}
        follower.on("jobs", self._hear)

    async def run(self) -> None:
        """Take over what an earlier worker of this home left, then work until ``stop``."""
        while not self._stopping:
            self._woken.clear()
            try:
                await self._database.run(take_over, self._home) if not self.running else None
                wait_s = await self._claim_all()
            except StoreFailed as error:
                log.warning("the book of jobs cannot be read: %s", error)
                wait_s = 1.0
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._woken.wait()

    async def stop(self) -> None:
        """Begin nothing new, let what was asked be answered for ``JOB_DRAIN_S``, and give the jobs back."""
        self._stopping = True
        self._woken.set()
        for lease, _ in self.running.values():
            lease.stop()
        tasks = [task for _, task in self.running.values()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=JOB_DRAIN_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _claim_all(self) -> float:
        """Fill every lane; returns for how long there is nothing more to claim (seconds)."""
        wait_s = JOB_LOOK_S
        for lane in self._lanes:
            while not self._stopping:
                if sum(lease.job.kind in lane.kinds for lease, _ in self.running.values()) >= lane.jobs_max:
                    break
                job = await self._database.run(claim, self._clock, self._name, lane.kinds, self._place)
                if job is None:
                    due_ms = await self._database.read(next_due_ms, lane.kinds, self._place)
                    if due_ms is not None:
                        wait_s = min(wait_s, max(0.05, (due_ms - self._clock.wall_ms()) / 1000))
                    break
                self._begin(job, lane)
        return wait_s

    def _begin(self, job: Job, lane: Lane) -> None:
        lease = Lease(job, self._database, self._clock, self._master, lane.kinds)
        task = asyncio.ensure_future(self._live(lease))
        self.running[job.id] = lease, task
        task.add_done_callback(lambda _: self._leave(job.id))

    async def _live(self, lease: Lease) -> None:
        """One claim of a job, from step 1 to step 3. Whatever happens in it, the others go on."""
        job = lease.job
        beating = asyncio.ensure_future(lease.run())
        working = asyncio.ensure_future(self._work(lease))
        try:
            await asyncio.wait({beating, working}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                lease.hush()
            await beating  # raises why it is not ours any more
            await self._settle(lease, working.result())
        except LeaseLost:
            log.warning("%s is another worker's now", job.id)
        except asyncio.CancelledError:
            working.cancel()
            await _given_back(lease, 0.0, failed=False)
        except OpenmaasError as error:
            log.warning("%s cannot go on: %s", job.id, error.message)
            await _given_back(lease, _pause_s(job), failed=True)
        except Exception:
            log.exception("%s broke", job.id)
            await _given_back(lease, _pause_s(job), failed=True)
        finally:
            beating.cancel()
            working.cancel()
            await asyncio.gather(beating, working, return_exceptions=True)

    async def _work(self, lease: Lease) -> Ended | Waits:
        kind = self._kinds[lease.job.kind]
        if worn_out(lease.job):
            return kind.give_up(lease, "worker_failed", f"it was begun {lease.job.attempts} times and never went on")
        return await kind.work(lease)

    async def _settle(self, lease: Lease, outcome: Ended | Waits) -> None:
        job = lease.job
        if isinstance(outcome, Waits):
            await lease.give_back(min(outcome.wait_s, JOB_WAIT_S_MAX))
            return

        def also(tx: sa.Connection) -> None:
            outcome.also(tx)
            forget_job(tx, job.key_id, job.id)

        await lease.end(Ended(outcome.state, also, outcome.after))
        self.ended[job.kind, outcome.state] += 1
        log.info("%s is %s", job.id, outcome.state)

    def _leave(self, job_id: str) -> None:
        del self.running[job_id]
        self._woken.set()

    def _hear(self, job_id: str) -> None:
        if job_id in self.running:
            self.running[job_id][0].poke()
        self._woken.set()


async def _given_back(lease: Lease, wait_s: float, *, failed: bool) -> None:
    with contextlib.suppress(LeaseLost, StoreFailed):  # then its lease ends by itself
        await lease.give_back(wait_s, failed=failed)


def _pause_s(job: Job) -> float:
    """Before a job that failed is begun again."""
    return min(0.5 * 2.0**job.attempts, RESTART_DELAY_S_MAX)
