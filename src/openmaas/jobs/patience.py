"""One request of a job, asked until its answer is final: how often, how long apart, and when the job must wait."""

from __future__ import annotations

import asyncio

from openmaas.core.bounds import FUNDS_PAUSE_S, FUNDS_TRIES_MAX, LINE_PAUSE_S, LINE_PAUSE_S_MAX, LINE_TRIES_MAX
from openmaas.jobs.lease import Lease, Waits
from openmaas.work.asking import Relays, Told, Verdict, judge


async def answered(
    relays: Relays, lease: Lease, seats: asyncio.Semaphore, target: str, once: str, body: bytes
) -> Told | Waits:
    """The final answer, good or bad; ``Waits`` when the job must wait, or is over for this claim. Each try takes one of
    ``seats``, at the ordinary price. Raises ``LeaseLost``, ``StoreFailed``."""
    failures = shortages = tries = 0
    while not lease.over:
        async with seats:
            told = await relays.post(target, lease.token(""), once, body)
        verdict, wait_s = judge(told)
        if verdict is Verdict.STOP and await lease.key_lives():
            verdict = Verdict.AGAIN
        failures += verdict is Verdict.AGAIN
        shortages += verdict is Verdict.BROKE
        tries += 1
        if verdict in (Verdict.DONE, Verdict.FAILED, Verdict.STOP):
            return told
        if failures == LINE_TRIES_MAX or shortages == FUNDS_TRIES_MAX:
            return told
        if verdict is Verdict.WAIT and wait_s > LINE_PAUSE_S_MAX:
            return Waits(wait_s)
        pause_s = min(LINE_PAUSE_S * 2.0 ** min(tries, 10), LINE_PAUSE_S_MAX)
        await lease.pause(max(wait_s, FUNDS_PAUSE_S if verdict is Verdict.BROKE else pause_s))
    return Waits()
