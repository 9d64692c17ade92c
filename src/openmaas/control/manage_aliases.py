"""Other names of models, everybody's and a project's own."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter

from openmaas.catalog import aliases
from openmaas.catalog.book import find_model
from openmaas.control.acting import Acting
from openmaas.control.rooms import Rooms
from openmaas.control.shapes import NewAlias, PageSize
from openmaas.control.show import check_limit, page, show
from openmaas.core.bounds import PAGE_SIZE
from openmaas.core.clock import Clock
from openmaas.core.errors import ModelUnknown, ThingUnknown
from openmaas.identity.law import projects
from openmaas.store.audit_log import audited


def routes(rooms: Rooms) -> APIRouter:
    """The routes over ``rooms``."""
    router = APIRouter(tags=["catalogue"])
    database = rooms.database

    @router.get("/aliases")
    async def list_aliases(project_id: str = "", after: str = "", limit: PageSize = PAGE_SIZE) -> dict[str, Any]:
        rows = await database.read(
            aliases.list_aliases, project_id=project_id, after=after, limit=check_limit(limit) + 1
        )
        return page([show(row) for row in rows], limit, "pattern")

    @router.put("/aliases")
    async def set_alias(body: NewAlias, who: Acting) -> dict[str, Any]:
        place = audited(who, "alias.set", attrgetter("pattern"), place_alias, body.told())
        return show(await database.run(place, rooms.clock, body.pattern, body.model, body.project_id))

    @router.delete("/aliases/{pattern:path}")
    async def remove_alias(pattern: str, who: Acting, project_id: str = "") -> dict[str, Any]:
        await database.run(audited(who, "alias.remove", pattern, aliases.remove_alias), pattern, project_id)
        return {"pattern": pattern, "project_id": project_id, "removed": True}

    return router


def place_alias(tx: sa.Connection, clock: Clock, pattern: str, model: str, project_id: str = "") -> aliases.Alias:
    """Let ``pattern`` name ``model``, for one project if it is named. Raises ``ThingUnknown`` and as the book does."""
    if project_id:
        owner = tx.execute(sa.select(projects.c.organisation_id).where(projects.c.id == project_id)).scalar()
        if owner is None:
            raise ThingUnknown(f"there is no project {project_id}", field="project_id")
        if not find_model(tx, model).is_for(owner):
            raise ModelUnknown(f"the project's organisation has no model {model!r}", field="model")
    return aliases.set_alias(tx, clock, pattern, model, project_id)
