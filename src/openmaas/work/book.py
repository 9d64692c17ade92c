"""The book of jobs: pure functions of one transaction.

A job is claimed by one conditional update and belongs to its worker until its lease ends; the worker renews the lease
while it lives. Whoever claims it next has a higher ``turn``, and what is written under an older one is refused
(``LeaseLost``). Changes are noted as ``jobs``, so that workers need not poll.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec
import sqlalchemy as sa

from openmaas.core.bounds import BATCH_KEPT_S, JOB_ATTEMPTS_MAX, JOB_LEASE_S, TASK_KEPT_S
from openmaas.core.clock import Clock
from openmaas.core.errors import FieldInvalid, LeaseLost, ThingUnknown
from openmaas.store.changes import note
from openmaas.work.law import jobs
from openmaas.work.wanted import AGENT, BATCH, EMBEDDING, MESSAGE_BATCH, PATIENT, TASK, TUNING

#: How long jobs are told of after their end, by kind.
KEPT_S = {
    BATCH: BATCH_KEPT_S,
    MESSAGE_BATCH: BATCH_KEPT_S,
    TASK: TASK_KEPT_S,
    AGENT: TASK_KEPT_S,
    TUNING: BATCH_KEPT_S,
    EMBEDDING: TASK_KEPT_S,
}


class Job(msgspec.Struct, frozen=True):
    """A job as it stands."""

    id: str
    kind: str
    organisation_id: str
    project_id: str
    key_id: str
    place: str
    wanted: str
    progress: str
    state: str
    created_ms: int
    due_ms: int
    expires_ms: int
    cancel_ms: int | None
    ended_ms: int | None
    worker: str
    turn: int
    attempts: int
    lease_until_ms: int


class Asker(msgspec.Struct, frozen=True):
    """Who asks for a job: it is done under this key."""

    organisation_id: str
    project_id: str
    key_id: str


def add_job(
    tx: sa.Connection,
    clock: Clock,
    kind: str,
    asker: Asker,
    *,
    wanted: str,
    progress: str,
    lives_s: int,
    place: str = "",
) -> Job:
    """A new job, to be begun at once and ended within ``lives_s``; its id begins with ``kind``."""
    now_ms = clock.wall_ms()
    job = Job(
        id=clock.new_id(kind),
        kind=kind,
        organisation_id=asker.organisation_id,
        project_id=asker.project_id,
        key_id=asker.key_id,
        place=place,
        wanted=wanted,
        progress=progress,
        state="open",
        created_ms=now_ms,
        due_ms=now_ms,
        expires_ms=now_ms + lives_s * 1000,
        cancel_ms=None,
        ended_ms=None,
        worker="",
        turn=0,
        attempts=0,
        lease_until_ms=0,
    )
    tx.execute(jobs.insert().values(msgspec.structs.asdict(job)))
    note(tx, "jobs", job.id)
    return job


def claim(tx: sa.Connection, clock: Clock, worker: str, kinds: Collection[str], place: str) -> Job | None:
    """The next job of these kinds that is due and nobody's, for ``JOB_LEASE_S``; None when there is none. Of several,
    one of the organisation that has the fewest under way, then the one that is due for longest."""
    now_ms = clock.wall_ms()
    other = jobs.alias()
    under_way = (
        sa.select(sa.func.count())
        .where(other.c.state == "open", other.c.lease_until_ms > now_ms)
        .where(other.c.organisation_id == jobs.c.organisation_id)
        .scalar_subquery()
    )
    query = sa.select(jobs.c.id).where(_waiting(kinds, place), jobs.c.due_ms <= now_ms, jobs.c.lease_until_ms <= now_ms)
    job_id = tx.execute(query.order_by(under_way, jobs.c.due_ms, jobs.c.id).limit(1)).scalar()
    if job_id is None:
        return None
    values = {
        "worker": worker,
        "turn": jobs.c.turn + 1,
        "attempts": jobs.c.attempts + 1,
        "lease_until_ms": now_ms + int(JOB_LEASE_S * 1000),
    }
    return _changed(tx, jobs.update().where(jobs.c.id == job_id).values(values))


def beat(tx: sa.Connection, clock: Clock, job: Job, progress: str) -> Job:
    """Renew the lease and note how far the job is. Raises ``LeaseLost``."""
    values = {"lease_until_ms": clock.wall_ms() + int(JOB_LEASE_S * 1000), "progress": progress}
    if progress != job.progress:
        values["attempts"] = 1
    return _changed(tx, _ours(job).values(values))


def give_back(
    tx: sa.Connection, clock: Clock, job: Job, progress: str, wait_s: float = 0.0, *, failed: bool = False
) -> Job:
    """Let somebody go on with it, not before ``wait_s``; ``failed`` counts as an attempt. Raises ``LeaseLost``."""
    due_ms, attempts = clock.wall_ms() + int(wait_s * 1000), job.attempts if failed else 0
    back = _changed(tx, _ours(job).values(lease_until_ms=0, due_ms=due_ms, progress=progress, attempts=attempts))
    note(tx, "jobs", job.id)
    return back


def end(tx: sa.Connection, clock: Clock, job: Job, state: str, progress: str) -> Job:
    """The job has ended, in ``done``, ``failed``, ``expired`` or ``cancelled``. Raises ``LeaseLost``."""
    return _changed(tx, _ours(job).values(state=state, progress=progress, ended_ms=clock.wall_ms(), lease_until_ms=0))


def cancel(tx: sa.Connection, clock: Clock, job_id: str, project_id: str | None = None) -> Job:
    """Ask for an end; its worker hears of it at once. A patient one that nobody has begun has ended with this. One that
    has ended stays as it is. Raises ``ThingUnknown``."""
    found = find_job(tx, job_id, project_id)
    if found.state != "open" or found.cancel_ms is not None:
        return found
    if found.kind in PATIENT and found.turn == 0:
        return end(tx, clock, found, "cancelled", found.progress)
    now_ms = clock.wall_ms()
    note(tx, "jobs", job_id)
    return _changed(tx, jobs.update().where(jobs.c.id == job_id).values(cancel_ms=now_ms, due_ms=now_ms))


def take_over(tx: sa.Connection, home: str) -> int:
    """The workers of this home are gone, as their successor knows: their jobs are nobody's. Returns how many."""
    theirs = (jobs.c.state == "open") & jobs.c.worker.startswith(f"{home}/", autoescape=True)
    return tx.execute(jobs.update().where(theirs, jobs.c.lease_until_ms > 0).values(lease_until_ms=0)).rowcount


def next_due_ms(tx: sa.Connection, kinds: Collection[str], place: str) -> int | None:
    """When the next of these jobs can be claimed; None when there is none."""
    ready = sa.case((jobs.c.due_ms > jobs.c.lease_until_ms, jobs.c.due_ms), else_=jobs.c.lease_until_ms)
    return tx.execute(sa.select(sa.func.min(ready)).where(_waiting(kinds, place))).scalar()


def find_job(tx: sa.Connection, job_id: str, project_id: str | None = None, kind: str | None = None) -> Job:
    """A job, of this project and kind when they are named. Raises ``ThingUnknown``."""
    query = sa.select(jobs).where(jobs.c.id == job_id)
    for column, value in ((jobs.c.project_id, project_id), (jobs.c.kind, kind)):
        if value is not None:
            query = query.where(column == value)
    found = tx.execute(query).mappings().first()
    if found is None:
        raise ThingUnknown(f"there is no {kind or 'job'} {job_id!r}", field="id")
    return Job(**found)


def list_jobs(
    tx: sa.Connection,
    *,
    project_id: str | None = None,
    kind: str | Collection[str] | None = None,
    state: str | None = None,
    after: str = "",
    limit: int,
) -> list[Job]:
    """Jobs, newest first, before ``after`` (an id; empty to begin). Raises ``FieldInvalid`` when there is none."""
    query = sa.select(jobs).order_by(jobs.c.created_ms.desc(), jobs.c.id.desc()).limit(limit)
    if kind is not None:
        query = query.where(jobs.c.kind.in_([kind] if isinstance(kind, str) else kind))
    for column, value in ((jobs.c.project_id, project_id), (jobs.c.state, state)):
        if value is not None:
            query = query.where(column == value)
    if after:
        created_ms = tx.execute(sa.select(jobs.c.created_ms).where(jobs.c.id == after)).scalar()
        if created_ms is None:
            raise FieldInvalid(f"after: there is no {after!r}", field="after")
        query = query.where(sa.tuple_(jobs.c.created_ms, jobs.c.id) < (created_ms, after))
    return [Job(**row) for row in tx.execute(query).mappings()]


def count_open(tx: sa.Connection, now_ms: int) -> dict[tuple[str, str], int]:
    """How many open jobs there are, by kind and by ``running`` or ``waiting``."""
    leased = sa.case((jobs.c.lease_until_ms > now_ms, "running"), else_="waiting")
    query = sa.select(jobs.c.kind, leased, sa.func.count()).where(jobs.c.state == "open").group_by(jobs.c.kind, leased)
    return {(kind, how): count for kind, how, count in tx.execute(query)}


def remove_job(tx: sa.Connection, job_id: str) -> None:
    """Forget a job that has ended."""
    tx.execute(jobs.delete().where(jobs.c.id == job_id, jobs.c.state != "open"))


def still_open(tx: sa.Connection, job_ids: list[str]) -> set[str]:
    """Those of ``job_ids`` that have not ended."""
    query = sa.select(jobs.c.id).where(jobs.c.id.in_(job_ids), jobs.c.state == "open")
    return set(tx.execute(query).scalars())


def known_jobs(tx: sa.Connection, job_ids: list[str]) -> set[str]:
    """Those of ``job_ids`` that are still told of."""
    return set(tx.execute(sa.select(jobs.c.id).where(jobs.c.id.in_(job_ids))).scalars())


def prune(tx: sa.Connection, now_ms: int) -> int:
    """Forget jobs that ended long enough ago for their kind. Returns how many."""
    forgotten = 0
    for kind, kept_s in KEPT_S.items():
        over = (jobs.c.kind == kind) & (jobs.c.state != "open") & (jobs.c.ended_ms < now_ms - kept_s * 1000)
        forgotten += tx.execute(jobs.delete().where(over)).rowcount
    return forgotten


def worn_out(job: Job) -> bool:
    """True for a job that was begun again and again without going on: it would kill workers for ever."""
    return job.attempts > JOB_ATTEMPTS_MAX


def _waiting(kinds: Collection[str], place: str) -> sa.ColumnElement[bool]:
    return (jobs.c.state == "open") & jobs.c.kind.in_(kinds) & jobs.c.place.in_(("", place))


def _ours(job: Job) -> sa.Update:
    return jobs.update().where(jobs.c.id == job.id, jobs.c.turn == job.turn, jobs.c.state == "open")


def _changed(tx: sa.Connection, statement: sa.Update) -> Job:
    row = tx.execute(statement.returning(*jobs.c)).mappings().first()
    if row is None:
        raise LeaseLost
    return Job(**row)
