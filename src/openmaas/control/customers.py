"""What a customer may read with their own key: receipts, usage and balance of their organisation.

Annotations are evaluated here (no ``from __future__``): FastAPI must see the local ``Reader``.
"""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from openmaas.control.rooms import Rooms
from openmaas.control.show import check_limit, page, show
from openmaas.control.usage import usage_page
from openmaas.core.bounds import PAGE_SIZE
from openmaas.identity.face import Caller
from openmaas.ledger import book, receipts


def routes(rooms: Rooms, caller: Callable[[Request], Coroutine[Any, Any, Caller]]) -> APIRouter:
    """The routes over ``rooms`` for whoever ``caller`` recognises."""
    router = APIRouter(tags=["customers"])
    database = rooms.database

    async def reader(found: Annotated[Caller, Depends(caller)]) -> Caller:
        found.need("usage")
        return found

    Reader = Annotated[Caller, Depends(reader)]  # noqa: N806 - a type

    @router.get("/receipts/{request_id}")
    async def receipt(request_id: str, who: Reader) -> dict[str, Any]:
        found = await receipts.find(database, rooms.journals, request_id, who.organisation_id)
        shown = show(found)
        if found["status"] != "posted":
            shown.pop("balance", None)  # known once posted
        return {"object": "receipt", **shown}

    @router.get("/receipts")
    async def list_receipts(
        who: Reader, key_id: str | None = None, model: str | None = None, after: str = "", limit: int = PAGE_SIZE
    ) -> dict[str, Any]:
        rows = await database.read(
            receipts.list_receipts,
            organisation_id=who.organisation_id,
            key_id=key_id,
            model=model,
            after=after,
            limit=check_limit(limit) + 1,
        )
        return page([show(row) for row in rows], limit, "request_id")

    @router.get("/usage")
    async def usage(
        who: Reader, by: str = "day", since: str = "", until: str = "", after: int = 0, limit: int = PAGE_SIZE
    ) -> dict[str, Any]:
        return await usage_page(database, by, who.organisation_id, since, until, after, limit)

    @router.get("/balance")
    async def balance(who: Reader) -> dict[str, Any]:
        rows = await database.read(book.list_accounts, owner=who.organisation_id)
        return {
            "object": "list",
            "data": [{**show(row), "free": show({"f_nanos": row.free_nanos})["f"]} for row in rows],
        }

    return router
