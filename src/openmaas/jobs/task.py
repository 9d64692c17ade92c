"""An async task: one request, asked until its answer is final, at the ordinary price."""

from __future__ import annotations

import asyncio

import msgspec

from openmaas.core.bounds import FUNDS_PAUSE_S, FUNDS_TRIES_MAX, LINE_PAUSE_S, LINE_PAUSE_S_MAX, LINE_TRIES_MAX
from openmaas.jobs.lease import Ended, Lease, Waits
from openmaas.work.asking import Relays, Told, Verdict, judge
from openmaas.work.wanted import TaskProgress, TaskWanted, text


class Tasks:
    """The kind of job that is an async task."""

    def __init__(self, relays: Relays, tasks_max: int) -> None:
        self._relays = relays
        self._seats = asyncio.Semaphore(tasks_max)

    async def work(self, lease: Lease) -> Ended | Waits:
        """Ask until the answer is final. Part of ``Kind``."""
        wanted = msgspec.json.decode(lease.job.wanted, type=TaskWanted)
        failures = shortages = tries = 0
        while not lease.over:
            async with self._seats:
                told = await self._relays.post(
                    wanted.target, lease.token(""), f"{lease.job.id}:1", wanted.body.encode()
                )
            verdict, wait_s = judge(told)
            if verdict is Verdict.STOP and await lease.key_lives():
                verdict = Verdict.AGAIN
            failures += verdict is Verdict.AGAIN
            shortages += verdict is Verdict.BROKE
            tries += 1
            if verdict in (Verdict.DONE, Verdict.FAILED, Verdict.STOP):
                return _ended(lease, told)
            if failures == LINE_TRIES_MAX or shortages == FUNDS_TRIES_MAX:
                return _ended(lease, told)
            if verdict is Verdict.WAIT and wait_s > LINE_PAUSE_S_MAX:
                return Waits(wait_s)
            pause_s = min(LINE_PAUSE_S * 2.0 ** min(tries, 10), LINE_PAUSE_S_MAX)
            await lease.pause(max(wait_s, FUNDS_PAUSE_S if verdict is Verdict.BROKE else pause_s))
        if lease.cancelled:
            return Ended("cancelled")
        return self.give_up(lease, "task_expired", "nobody could answer it in time") if lease.expired else Waits()

    def give_up(self, lease: Lease, code: str, message: str) -> Ended:
        """Part of ``Kind``."""
        error = {"error": {"code": code, "message": message}}
        lease.progress = text(TaskProgress(503, msgspec.json.encode(error).decode()))
        return Ended("expired" if lease.expired else "failed")


def _ended(lease: Lease, told: Told) -> Ended:
    lease.progress = text(TaskProgress(told.status, told.body.decode("utf-8", "replace")))
    return Ended("done" if told.status == 200 else "failed")
