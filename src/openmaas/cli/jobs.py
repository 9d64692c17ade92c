"""``openmaas jobs`` and ``openmaas batches``: what runs in the background, and an end to it."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from openmaas.cli.rooms import OPERATOR, opened
from openmaas.cli.say import AS_JSON, DATA, LIMIT, plainly, show, table
from openmaas.control.show import show as shown
from openmaas.core.clock import Clock
from openmaas.store.audit_log import audited
from openmaas.work import book
from openmaas.work.book import Job
from openmaas.work.law import STATES
from openmaas.work.wanted import BATCH, MESSAGE_BATCH, BatchProgress, BatchWanted

AFTER = click.option("--after", default="", help="Go on after this id.")
STATE = click.option("--state", type=click.Choice(STATES), help="Only those in this state.")


@click.group()
def jobs() -> None:
    """List and cancel jobs: batches and async tasks."""


@jobs.command("list")
@DATA
@STATE
@AFTER
@LIMIT
@AS_JSON
@plainly
def list_(data: str, state: str | None, after: str, limit: int, as_json: bool) -> None:
    """List jobs, newest first."""
    with opened(data) as (database, _):
        found = database.look(book.list_jobs, state=state, after=after, limit=limit)
    rows = [_show(job) for job in found]
    columns = ("id", "kind", "state", "held", "organisation_id", "created_at", "due_at", "ended_at")
    _page(rows, columns, limit, as_json=as_json)


@jobs.command()
@DATA
@click.argument("job_id")
@AS_JSON
@plainly
def cancel(data: str, job_id: str, as_json: bool) -> None:
    """End a job; its worker hears of it within a second. What was answered is paid and kept."""
    with opened(data) as (database, _):
        job = database.call(audited(OPERATOR, "job.cancel", job_id, book.cancel), Clock(), job_id)
    said = f"{job.id} is to end" if job.state == "open" else f"{job.id} has ended: {job.state}"
    show(_show(job), as_json=as_json, text=said)


@click.group()
def batches() -> None:
    """List batches."""


@batches.command("list")
@DATA
@STATE
@AFTER
@LIMIT
@AS_JSON
@plainly
def list_batches(data: str, state: str | None, after: str, limit: int, as_json: bool) -> None:
    """List batches with how far they are, newest first."""
    with opened(data) as (database, _):
        kinds = (BATCH, MESSAGE_BATCH)
        found = database.look(book.list_jobs, kind=kinds, state=state, after=after, limit=limit)
    rows = []
    for job in found:
        progress = msgspec.json.decode(job.progress, type=BatchProgress)
        counts = {name: getattr(progress, name) for name in ("total", "completed", "failed")}
        endpoint = msgspec.json.decode(job.wanted, type=BatchWanted).endpoint
        rows.append({**_show(job), "endpoint": endpoint, **counts})
    columns = ("id", "state", "endpoint", "total", "completed", "failed", "organisation_id", "created_at", "ended_at")
    _page(rows, columns, limit, as_json=as_json)


def _show(job: Job) -> dict[str, Any]:
    """A job without what its customer asked: that is theirs."""
    row = shown(job)
    del row["wanted"], row["progress"]
    row["held"] = job.worker if job.lease_until_ms else ""
    return row


def _page(rows: list[dict[str, Any]], columns: tuple[str, ...], limit: int, *, as_json: bool) -> None:
    text = table(rows, columns)
    if len(rows) == limit:
        text += f"\nmore: --after {rows[-1]['id']}"
    show(rows, as_json=as_json, text=text)
