"""The audit log, page by page."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter

from openmaas.control.rooms import Rooms
from openmaas.control.shapes import After, PageSize
from openmaas.control.show import check_limit, page, show
from openmaas.core.bounds import PAGE_SIZE
from openmaas.store.audit_log import list_entries


def routes(rooms: Rooms) -> APIRouter:
    """The routes over ``rooms``."""
    router = APIRouter(tags=["audit log"])

    @router.get("/audit-log")
    async def list_audit_log(after: After = 0, limit: PageSize = PAGE_SIZE) -> dict[str, Any]:
        rows = await rooms.database.read(list_entries, after=after, limit=check_limit(limit) + 1)
        shown = [
            {**show(entry), "detail": msgspec.json.decode(entry.detail), "hash": kept.hex()} for entry, kept in rows
        ]
        return page(shown, limit, "seq")

    return router
