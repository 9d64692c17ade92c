"""Files for programs: rows and bytes together, in the order that a crash can interrupt anywhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from openmaas.core.bounds import FILE_CHORE_MAX
from openmaas.core.clock import Clock
from openmaas.files.book import File, add_file, find_file, known, remove_expired, remove_file
from openmaas.files.depot import Depot, Draft
from openmaas.store.database import Database


class Owner(msgspec.Struct, frozen=True):
    """Whose a file is."""

    organisation_id: str
    project_id: str


class Files:
    """The files of an installation, as this host can reach them."""

    def __init__(self, database: Database, depot: Depot, clock: Clock, *, project_bytes_max: int) -> None:
        self.depot = depot
        self._database = database
        self._clock = clock
        self._project_bytes_max = project_bytes_max

    def new(self, draft: Draft, owner: Owner, *, purpose: str, filename: str, expires_s: int | None = None) -> File:
        """What ``draft`` will be called."""
        now_ms = self._clock.wall_ms()
        return File(
            id=self._clock.new_id("file"),
            organisation_id=owner.organisation_id,
            project_id=owner.project_id,
            purpose=purpose,
            filename=filename,
            size_bytes=draft.size_bytes,
            digest=draft.digest,
            place=self.depot.place,
            created_ms=now_ms,
            expires_ms=None if expires_s is None else now_ms + expires_s * 1000,
        )

    async def keep(self, draft: Draft, file: File, also: Callable[[sa.Connection], Any] = lambda _tx: None) -> Any:
        """Bytes first, then the row, and what ``also`` books with it. Raises ``TooLarge``, ``StoreFailed``."""

        def book(tx: sa.Connection) -> Any:
            add_file(tx, file, project_bytes_max=self._project_bytes_max)
            return also(tx)

        await asyncio.to_thread(draft.close)
        await asyncio.to_thread(self.depot.keep, draft, file)
        try:
            return await self._database.run(book)
        except Exception:
            self.depot.remove([file])
            raise

    async def path(self, file_id: str, project_id: str) -> tuple[File, Path]:
        """A file and where its bytes are. Raises ``ThingUnknown``, ``StoreFailed``."""
        file = await self._database.read(find_file, file_id, project_id)
        return file, self.depot.path(file)

    async def remove(self, file_id: str, project_id: str) -> File:
        """The row first, then the bytes. Raises ``ThingUnknown``."""
        file = await self._database.run(remove_file, file_id, project_id)
        self.depot.remove([file])
        return file

    async def tidy(self) -> int:
        """Remove what has expired, and what a crash left. Returns how many files expired."""
        expired = await self._database.run(remove_expired, self._clock.wall_ms(), FILE_CHORE_MAX)
        self.depot.remove(expired)
        await asyncio.to_thread(self.depot.sweep, lambda ids: self._database.look(known, ids))
        return len(expired)
