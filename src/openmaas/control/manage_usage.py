"""Usage and receipts of everybody."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from openmaas.control.rooms import Rooms
from openmaas.control.shapes import After, PageSize
from openmaas.control.show import check_limit, page, show
from openmaas.control.usage import usage_page
from openmaas.core.bounds import PAGE_SIZE
from openmaas.ledger.posting import receipts


def routes(rooms: Rooms) -> APIRouter:
    """The routes over ``rooms``."""
    router = APIRouter(tags=["usage"])
    database = rooms.database

    @router.get("/usage")
    async def usage(
        by: str = "day",
        organisation_id: str | None = None,
        since: str = "",
        until: str = "",
        after: After = 0,
        limit: PageSize = PAGE_SIZE,
    ) -> dict[str, Any]:
        return await usage_page(database, by, organisation_id, since, until, after, limit)

    @router.get("/receipts")
    async def list_receipts(
        organisation_id: str | None = None,
        key_id: str | None = None,
        model: str | None = None,
        after: str = "",
        limit: PageSize = PAGE_SIZE,
    ) -> dict[str, Any]:
        rows = await database.read(
            receipts.list_receipts,
            organisation_id=organisation_id,
            key_id=key_id,
            model=model,
            after=after,
            limit=check_limit(limit) + 1,
        )
        return page([show(row) for row in rows], limit, "request_id")

    return router
