"""Delivers what is due, a few at a time, fewer of one organisation and one at a time for each endpoint; run by the
poster program beside its work, in threads of its own: however slow endpoints are, posting waits for none.

It keeps nothing in memory that the database does not know: killed at any moment, it has claimed for a while, and then
somebody delivers again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from openmaas.core.bounds import FORGET_INTERVAL_S, WEBHOOK_IDLE_S, WEBHOOKS_AT_ONCE
from openmaas.core.clock import Clock
from openmaas.core.errors import OpenmaasError, StoreFailed
from openmaas.store.audit_log import SYSTEM, Actor, audited
from openmaas.store.database import Database
from openmaas.webhooks import delivering
from openmaas.webhooks.book import Endpoint
from openmaas.webhooks.delivering import Claimed
from openmaas.webhooks.sending import send
from openmaas.webhooks.unsealing import Unseal, secrets_of

log = logging.getLogger(__name__)


class Deliverer:
    """``private`` lets endpoints be in private networks, and speak plain HTTP."""

    def __init__(self, database: Database, clock: Clock, unseal: Unseal, *, private: bool) -> None:
        self._database = database
        self._clock = clock
        self._unseal = unseal
        self._private = private
        self._threads = ThreadPoolExecutor(WEBHOOKS_AT_ONCE, thread_name_prefix="webhook")
        self._running: dict[asyncio.Task[None], Endpoint] = {}

    async def run(self) -> None:
        """Deliver until cancelled."""
        forgot_s = self._clock.mono_s()
        while True:
            with contextlib.suppress(StoreFailed):  # the database does not answer: events wait in it
                await self.step()
                if self._clock.mono_s() - forgot_s > FORGET_INTERVAL_S:
                    forgot_s = self._clock.mono_s()
                    await self._database.run(delivering.forget, self._clock)
            if self._running:
                await asyncio.wait(self._running, timeout=WEBHOOK_IDLE_S, return_when=asyncio.FIRST_COMPLETED)
            else:
                await asyncio.sleep(WEBHOOK_IDLE_S)

    async def step(self) -> None:
        """Fan out what is new and begin to deliver what is due, as far as there is room."""
        busy = {endpoint.id: endpoint.organisation_id for endpoint in self._running.values()}
        if not await self._database.read(delivering.waiting, self._clock, busy):
            return
        await self._database.run(delivering.fan_out, self._clock)
        for each in await self._database.run(delivering.claim, self._clock, busy):
            task = asyncio.ensure_future(self._deliver(each))
            self._running[task] = each.endpoint
            task.add_done_callback(self._ended)

    async def drained(self) -> None:
        """Return when what is on its way has ended: nothing begins after ``run`` was cancelled."""
        while self._running:
            await asyncio.wait(self._running)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, StoreFailed):
            log.warning("how a delivery ended is not written, it is made again: %s", error)
        else:
            log.error("a delivery failed by our own fault; it is made again", exc_info=error)

    async def _deliver(self, what: Claimed) -> None:
        now_ms = self._clock.wall_ms()
        try:
            secrets = secrets_of(what.endpoint, self._unseal, now_ms)
        except OpenmaasError as error:
            log.error("the secret of webhook %s cannot be opened: %s", what.endpoint.id, error.message)
            return
        attempt = partial(send, what.endpoint.url, what.event, now_ms // 1000, secrets, private=self._private)
        status, answer = await asyncio.get_running_loop().run_in_executor(self._threads, attempt)
        jitter = random.random()  # noqa: S311 - it spreads retries and hides nothing
        gone = await self._database.run(delivering.note_attempt, self._clock, what, status, answer, jitter)
        if gone:
            await self._tell_gone(what.endpoint, status)

    async def _tell_gone(self, endpoint: Endpoint, status: int) -> None:
        """An endpoint was disabled by us: the audit log says so."""
        log.warning("webhook %s of %s is disabled: it answered %d", endpoint.id, endpoint.organisation_id, status)
        who = Actor(SYSTEM, self._clock)
        done = audited(who, "webhook.disable", endpoint.id, lambda _tx: None, {"status": status})
        await self._database.run(done)
