"""A database that breaks on cue: before a transaction, or after it, so that its answer is lost or never comes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openmaas.core.errors import StoreFailed
from openmaas.store.database import Database
from servers import postgres

#: What can become of a transaction. ``held`` commits, and answers when the test says so.
CUES = ("well", "refused", "lost", "held")


class Shaky(Database):
    """The real thing; the next transactions end as ``cues`` say, all later ones well."""

    def __init__(self, address: str | Path) -> None:
        super().__init__(address)
        self.cues: deque[str] = deque()
        self._calm = asyncio.Event()

    def calm(self) -> None:
        """From now on all goes well, and what was held is answered."""
        self.cues.clear()
        self._calm.set()
        self._calm = asyncio.Event()

    async def run(self, book: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """As the database's, but for the cue."""
        cue = self.cues.popleft() if self.cues else "well"
        if cue == "refused":
            raise StoreFailed("on cue, before")
        found = await super().run(book, *args, **kwargs)
        if cue == "lost":
            raise StoreFailed("on cue, after")
        if cue == "held":
            await self._calm.wait()  # or until the caller is cancelled
        return found


def shaky_database(store: str, folder: Path) -> Shaky:
    """A new, empty one with every table."""
    database = Shaky(folder / "db" if store == "sqlite" else postgres().database())
    database.prepare()
    return database
