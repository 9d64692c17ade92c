"""Prices, top-ups, accounts, transfers, usage and receipts of everybody."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from openmaas.catalog.book import find_model
from openmaas.control.rooms import Rooms
from openmaas.control.shapes import NewPrice, NewTopUp
from openmaas.control.show import check_limit, page, parse_time, show
from openmaas.control.usage import usage_page
from openmaas.core.bounds import PAGE_SIZE
from openmaas.core.errors import FieldInvalid
from openmaas.core.money import parse_amount
from openmaas.identity.book import need_organisation
from openmaas.ledger import book, prices, receipts


def routes(rooms: Rooms) -> APIRouter:
    """The routes over ``rooms``."""
    router = APIRouter(tags=["money"])
    database = rooms.database

    @router.post("/prices", status_code=201)
    async def set_price(body: NewPrice) -> dict[str, Any]:
        await database.read(find_model, body.model)
        from_ms = rooms.clock.wall_ms() if body.from_time is None else parse_time(body.from_time, "from_time")
        made = await database.run(
            prices.set_price,
            model=body.model,
            currency=body.currency or rooms.currency,
            input_nanos=parse_amount(body.input, field="input"),
            output_nanos=parse_amount(body.output, field="output"),
            cached_nanos=None if body.cached is None else parse_amount(body.cached, field="cached"),
            from_ms=from_ms,
        )
        return show(made)

    @router.get("/prices")
    async def list_prices(model: str | None = None, after: int = 0, limit: int = PAGE_SIZE) -> dict[str, Any]:
        rows = await database.read(prices.list_prices, model=model, after=after, limit=check_limit(limit) + 1)
        return page([show(row) for row in rows], limit, "version")

    @router.post("/organisations/{organisation_id}/topups", status_code=201)
    async def top_up(organisation_id: str, body: NewTopUp) -> dict[str, Any]:
        await database.read(need_organisation, organisation_id)
        amount = parse_amount(body.amount)
        if amount <= 0:
            raise FieldInvalid("amount must be above 0", field="amount")
        made = await database.run(
            book.top_up,
            rooms.clock,
            organisation_id,
            currency=body.currency or rooms.currency,
            amount_nanos=amount,
            request_key=body.request_key,
            memo=body.memo,
        )
        return show(made)

    @router.get("/accounts")
    async def list_accounts(owner: str | None = None, after: str = "", limit: int = PAGE_SIZE) -> dict[str, Any]:
        rows = await database.read(book.list_accounts, owner=owner, after=after, limit=check_limit(limit) + 1)
        return page([{**show(row), "free": show({"free_nanos": row.free_nanos})["free"]} for row in rows], limit)

    @router.get("/transfers")
    async def list_transfers(account_id: str | None = None, after: str = "", limit: int = PAGE_SIZE) -> dict[str, Any]:
        rows = await database.read(
            book.list_transfers, account_id=account_id, after=after, limit=check_limit(limit) + 1
        )
        return page([show(row) for row in rows], limit)

    @router.get("/usage")
    async def usage(
        by: str = "day",
        organisation_id: str | None = None,
        since: str = "",
        until: str = "",
        after: int = 0,
        limit: int = PAGE_SIZE,
    ) -> dict[str, Any]:
        return await usage_page(database, by, organisation_id, since, until, after, limit)

    @router.get("/receipts")
    async def list_receipts(
        organisation_id: str | None = None,
        key_id: str | None = None,
        model: str | None = None,
        after: str = "",
        limit: int = PAGE_SIZE,
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
