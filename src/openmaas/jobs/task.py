"""An async task: one request, asked until its answer is final, at the ordinary price."""

from __future__ import annotations

import asyncio

import msgspec

from openmaas.jobs.lease import Ended, Lease, Waits
from openmaas.jobs.patience import answered
from openmaas.work.asking import Relays, Told
from openmaas.work.wanted import TaskProgress, TaskWanted, text


class Tasks:
    """The kind of job that is an async task."""

    def __init__(self, relays: Relays, tasks_max: int) -> None:
        self._relays = relays
        self._seats = asyncio.Semaphore(tasks_max)

    async def work(self, lease: Lease) -> Ended | Waits:
        """Ask until the answer is final. Part of ``Kind``."""
        wanted = msgspec.json.decode(lease.job.wanted, type=TaskWanted)
        once, body = f"{lease.job.id}:1", wanted.body.encode()
        told = await answered(self._relays, lease, self._seats, wanted.target, once, body)
        if isinstance(told, Told):
            lease.progress = text(TaskProgress(told.status, told.body.decode("utf-8", "replace")))
            return Ended("done" if told.status == 200 else "failed")
        if lease.cancelled:
            return Ended("cancelled")
        return self.give_up(lease, "task_expired", "nobody could answer it in time") if lease.expired else told

    def give_up(self, lease: Lease, code: str, message: str) -> Ended:
        """Part of ``Kind``."""
        error = {"error": {"code": code, "message": message}}
        lease.progress = text(TaskProgress(503, msgspec.json.encode(error).decode()))
        return Ended("expired" if lease.expired else "failed")
