"""All client connections of a relay: admitted, their deadlines swept, drained at the end.

Deadlines are looked at by one sweep for all, so that a request costs no timer.
"""

from __future__ import annotations

import asyncio
from email.utils import formatdate

from openmaas.core import bounds
from openmaas.core.clock import Clock
from openmaas.relay.door.connection import Connection, Hall
from openmaas.relay.door.message import Front


class Doorkeeper:
    """Keeps the connections of one relay."""

    def __init__(self, front: Front, clock: Clock) -> None:
        self.hall = Hall(front)
        self._clock = clock
        self.sweep_once()

    def __len__(self) -> int:
        return len(self.hall.connections)

    def connection(self) -> Connection:
        """A protocol for ``loop.create_server``."""
        return Connection(self.hall)

    def sweep_once(self) -> None:
        """Look at the clock and at every deadline."""
        self.hall.now_s = self._clock.mono_s()
        self.hall.date = b"date: %b\r\n" % formatdate(self._clock.wall_ms() / 1000, usegmt=True).encode()
        for connection in list(self.hall.connections):
            connection.check(self.hall.now_s)

    async def sweep(self) -> None:
        """Look every ``SWEEP_INTERVAL_S`` until cancelled."""
        while True:
            await asyncio.sleep(bounds.SWEEP_INTERVAL_S)
            self.sweep_once()

    async def drain(self, timeout_s: float) -> None:
        """Close idle connections, let the others finish, cut what is left after ``timeout_s`` and wait for the engines'
        last words."""
        await self._empty(timeout_s)
        for connection in list(self.hall.connections):
            connection.transport.abort()
        await self._empty(bounds.CANCEL_TIMEOUT_S + 2 * bounds.SWEEP_INTERVAL_S)

    async def _empty(self, timeout_s: float) -> None:
        deadline_s = self._clock.mono_s() + timeout_s
        while self.hall.connections and self._clock.mono_s() < deadline_s:
            for connection in list(self.hall.connections):
                connection.close_when_idle()
            await asyncio.sleep(bounds.DRAIN_POLL_S)
