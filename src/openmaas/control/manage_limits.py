"""Limits: requests in flight, requests and tokens a minute."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter

from openmaas.catalog.book import find_model
from openmaas.control.acting import Acting, by_id
from openmaas.control.rooms import Rooms
from openmaas.control.shapes import NewLimit, PageSize
from openmaas.control.show import check_limit, page, show
from openmaas.core.bounds import PAGE_SIZE
from openmaas.core.clock import Clock
from openmaas.core.errors import ThingUnknown
from openmaas.identity.law import keys, organisations, projects
from openmaas.limits import book
from openmaas.limits.law import EVERY_MODEL
from openmaas.store.audit_log import audited

_SUBJECTS = {"organisation": organisations, "project": projects, "key": keys}


def routes(rooms: Rooms) -> APIRouter:
    """The routes over ``rooms``."""
    router = APIRouter(tags=["limits"])
    database = rooms.database

    @router.get("/limits")
    async def list_limits(
        subject_id: str | None = None, after: str = "", limit: PageSize = PAGE_SIZE
    ) -> dict[str, Any]:
        rows = await database.read(book.list_limits, subject_id=subject_id, after=after, limit=check_limit(limit) + 1)
        return page([show(row) for row in rows], limit)

    @router.put("/limits")
    async def set_limit(body: NewLimit, who: Acting) -> dict[str, Any]:
        place = audited(who, "limit.set", by_id, place_limit, body.told())
        return show(await database.run(place, rooms.clock, **body.model_dump()))

    @router.delete("/limits/{limit_id}")
    async def remove_limit(limit_id: str, who: Acting) -> dict[str, Any]:
        await database.run(audited(who, "limit.remove", limit_id, book.remove_limit), limit_id)
        return {"id": limit_id, "removed": True}

    return router


def place_limit(
    tx: sa.Connection, clock: Clock, *, scope: str, subject_id: str, model: str, kind: str, amount: int
) -> book.Limit:
    """Set a limit on what there is. Raises ``ThingUnknown``, ``ModelUnknown`` and ``FieldInvalid``."""
    table = _SUBJECTS.get(scope)
    query = None if table is None or not subject_id else sa.select(table.c.id).where(table.c.id == subject_id)
    if query is not None and tx.execute(query).first() is None:
        raise ThingUnknown(f"there is no {scope} {subject_id}", field="subject_id")
    if model != EVERY_MODEL:
        find_model(tx, model)
    return book.set_limit(tx, clock, scope=scope, subject_id=subject_id, model=model, kind=kind, amount=amount)
