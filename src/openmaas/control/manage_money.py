"""Prices, top-ups, accounts and transfers of everybody."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from openmaas.catalog.book import find_model
from openmaas.control.acting import Acting, by_id
from openmaas.control.pricing import show_price, terms_of
from openmaas.control.rooms import Rooms
from openmaas.control.shapes import After, NewPrice, NewTopUp, PageSize
from openmaas.control.show import check_limit, page, parse_time, show
from openmaas.core.bounds import PAGE_SIZE
from openmaas.core.errors import FieldInvalid
from openmaas.core.money import parse_amount
from openmaas.identity.book import need_organisation
from openmaas.ledger import book, prices
from openmaas.store.audit_log import audited


def routes(rooms: Rooms) -> APIRouter:
    """The routes over ``rooms``."""
    router = APIRouter(tags=["money"])
    database = rooms.database

    @router.post("/prices", status_code=201)
    async def set_price(body: NewPrice, who: Acting) -> dict[str, Any]:
        await database.read(find_model, body.model)
        if body.organisation_id:
            await database.read(need_organisation, body.organisation_id)
        from_ms = rooms.clock.wall_ms() if body.from_time is None else parse_time(body.from_time, "from_time")
        made = await database.run(
            audited(who, "price.set", lambda made: str(made.version), prices.set_price, body.told()),
            model=body.model,
            currency=body.currency or rooms.currency,
            organisation_id=body.organisation_id,
            terms=terms_of(body),
            from_ms=from_ms,
            until_ms=None if body.until_time is None else parse_time(body.until_time, "until_time"),
            memo=body.memo,
        )
        return show_price(made)

    @router.get("/prices")
    async def list_prices(model: str | None = None, after: After = 0, limit: PageSize = PAGE_SIZE) -> dict[str, Any]:
        rows = await database.read(prices.list_prices, model=model, after=after, limit=check_limit(limit) + 1)
        return page([show_price(row) for row in rows], limit, "version")

    @router.post("/organisations/{organisation_id}/topups", status_code=201)
    async def top_up(organisation_id: str, body: NewTopUp, who: Acting) -> dict[str, Any]:
        await database.read(need_organisation, organisation_id)
        amount = parse_amount(body.amount)
        if amount <= 0:
            raise FieldInvalid("amount must be above 0", field="amount")
        made = await database.run(
            audited(who, "topup.create", by_id, book.top_up, {"organisation_id": organisation_id, **body.told()}),
            rooms.clock,
            organisation_id,
            currency=body.currency or rooms.currency,
            amount_nanos=amount,
            request_key=body.request_key,
            memo=body.memo,
        )
        return show(made)

    @router.get("/accounts")
    async def list_accounts(owner: str | None = None, after: str = "", limit: PageSize = PAGE_SIZE) -> dict[str, Any]:
        rows = await database.read(book.list_accounts, owner=owner, after=after, limit=check_limit(limit) + 1)
        return page([{**show(row), "free": show({"free_nanos": row.free_nanos})["free"]} for row in rows], limit)

    @router.get("/transfers")
    async def list_transfers(
        account_id: str | None = None, after: str = "", limit: PageSize = PAGE_SIZE
    ) -> dict[str, Any]:
        rows = await database.read(
            book.list_transfers, account_id=account_id, after=after, limit=check_limit(limit) + 1
        )
        return page([show(row) for row in rows], limit)

    return router
