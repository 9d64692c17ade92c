"""What is offered right now, as one snapshot that the change sequence renews. Used by the relay and the supervisor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import sqlalchemy as sa

from openmaas.catalog.book import Deployment, Model, list_deployments, list_models
from openmaas.store.changes import Follower
from openmaas.store.database import Database


class Catalog:
    """``models`` by name, and ``deployments`` that are wanted running, by id."""

    def __init__(self, database: Database, follower: Follower) -> None:
        self.models: dict[str, Model] = {}
        self.deployments: dict[str, Deployment] = {}
        self._database = database
        self._changed = asyncio.Event()
        self._listeners: list[Callable[[], None]] = []
        follower.on("catalog", lambda _subject: self._changed.set())

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call ``listener()`` after every new snapshot."""
        self._listeners.append(listener)

    async def load(self) -> None:
        """Take a new snapshot now. Raises ``StoreFailed``."""
        self._changed.clear()
        models, deployments = await self._database.read(_snapshot)
        self.models = {model.name: model for model in models}
        self.deployments = {found.id: found for found in deployments if found.wanted == "running"}
        for listener in self._listeners:
            listener()

    async def run(self) -> None:
        """Reload after each change until cancelled."""
        while True:
            await self._changed.wait()
            await self.load()


def _snapshot(tx: sa.Connection) -> tuple[list[Model], list[Deployment]]:
    return list_models(tx), list_deployments(tx)
