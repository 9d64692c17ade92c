"""Kept answers, as a relay and the control plane meet them."""

from __future__ import annotations

from openmaas.core.clock import Clock
from openmaas.responses import book
from openmaas.responses.book import Kept, days_ms
from openmaas.store.database import Database


class Archive:
    """``days``: how long a project keeps answers that has not said otherwise; 0: nothing is kept here at all."""

    def __init__(self, database: Database, clock: Clock, days: int) -> None:
        self._database = database
        self._clock = clock
        self._days = days

    async def term_ms(self, project_id: str) -> int:
        """How long an answer of this project is kept; 0 when it is not."""
        if self._days == 0:
            return 0
        own = await self._database.read(book.retention, project_id)
        return days_ms(self._days if own is None else own)

    async def chain(self, project_id: str, last_id: str) -> list[tuple[bytes, bytes]]:
        """See ``book.chain``."""
        return await self._database.read(book.chain, project_id, last_id, self._clock.wall_ms())

    async def find(self, project_id: str, response_id: str) -> Kept:
        """See ``book.find``."""
        return await self._database.read(book.find, project_id, response_id, self._clock.wall_ms())

    async def delete(self, project_id: str, response_id: str) -> None:
        """See ``book.delete``."""
        await self._database.run(book.delete, project_id, response_id)
