"""What became of a request is written before its last byte leaves; when the database is out, as soon as it is back.

An answer that was paid for never waits for a database, and is never lost to one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Protocol

import sqlalchemy as sa

from openmaas.core.bounds import LATE_BYTES_MAX, LATE_INTERVAL_S
from openmaas.core.errors import StoreFailed
from openmaas.store.database import Database

log = logging.getLogger(__name__)


class Writing(Protocol):
    """Something to write. Its text names it in the log."""

    @property
    def size_bytes(self) -> int:
        """How much memory it holds."""

    def write(self, tx: sa.Connection) -> None:
        """Write it; twice is as once."""

    def lighter(self) -> Writing | None:
        """The same with less, for when there is no more room; None: it is given up."""


class Late:
    """Writes now, or remembers and writes later, in order."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[Writing] = deque()  # no more than run at once: a relay that cannot read takes no new ones
        self._waiting_bytes = 0

    async def run(self) -> None:
        """Write what is late, until cancelled."""
        while True:
            await asyncio.sleep(LATE_INTERVAL_S)
            await self.write_late()

    async def write_late(self) -> None:
        """Write what the database did not take before, oldest first, as far as it takes it now."""
        while self._waiting:
            what = self._waiting[0]
            try:
                await self._database.run(what.write)
            except StoreFailed:
                return
            self._waiting.popleft()
            self._waiting_bytes -= what.size_bytes

    async def write(self, what: Writing) -> None:
        """Write it, now or as soon as the database answers."""
        if self._waiting:  # the database is out: an answer does not wait for it to be out once more
            self._remember(what)
            return
        try:
            await self._database.run(what.write)
        except StoreFailed as error:
            log.warning("%s is written later: %s", what, error)
            self._remember(what)

    def _remember(self, what: Writing) -> None:
        if self._waiting_bytes + what.size_bytes > LATE_BYTES_MAX:
            lighter = what.lighter()
            if lighter is None:
                log.error("%s is given up: too much waits for the database", what)
                return
            what = lighter
        self._waiting_bytes += what.size_bytes
        self._waiting.append(what)
