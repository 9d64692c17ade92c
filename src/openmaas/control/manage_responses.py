"""How long a project keeps answers that its callers ask to keep."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from openmaas.control.acting import Acting
from openmaas.control.rooms import Rooms
from openmaas.control.shapes import Retention
from openmaas.responses import book
from openmaas.store.audit_log import audited


def routes(rooms: Rooms) -> APIRouter:
    """The routes over ``rooms``."""
    router = APIRouter(tags=["responses"])
    database = rooms.database

    @router.get("/projects/{project_id}/retention")
    async def retention(project_id: str) -> dict[str, Any]:
        return _shown(project_id, await database.read(book.retention, project_id))

    @router.put("/projects/{project_id}/retention")
    async def set_retention(project_id: str, body: Retention, who: Acting) -> dict[str, Any]:
        change = audited(who, "retention.set", project_id, book.set_retention, body.told())
        await database.run(change, project_id, body.responses_days)
        return _shown(project_id, body.responses_days)

    def _shown(project_id: str, days: int | None) -> dict[str, Any]:
        setting = rooms.responses_days
        kept = setting if days is None or setting == 0 else days
        return {"project_id": project_id, "responses_days": days, "days_kept": kept}

    return router
