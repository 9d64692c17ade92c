"""How organisations pay: currency and zone, credit lines, resource packs, budgets."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from openmaas.catalog.book import need_models
from openmaas.control.acting import Acting, by_id
from openmaas.control.rooms import Rooms
from openmaas.control.shapes import PageSize
from openmaas.control.shapes_funds import NewCredit, NewPack, NewPayer
from openmaas.control.show import check_limit, page, parse_time, show
from openmaas.core.bounds import PAGE_SIZE
from openmaas.core.invoice import Tax
from openmaas.core.money import MILLION, NANO, parse_amount, show_amount
from openmaas.identity.book import need_organisation
from openmaas.ledger.book import wallet_id
from openmaas.ledger.selling import packs, payers
from openmaas.ledger.spending.drawing import draw
from openmaas.store.audit_log import audited


def routes(rooms: Rooms) -> APIRouter:
    """The routes over ``rooms``."""
    router = APIRouter(tags=["funds"])
    database = rooms.database

    @router.put("/organisations/{organisation_id}/payer")
    async def set_payer(organisation_id: str, body: NewPayer, who: Acting) -> dict[str, Any]:
        await database.read(need_organisation, organisation_id)
        taxes = tuple(Tax(tax.name, parse_amount(tax.rate, field="taxes") * MILLION // NANO) for tax in body.taxes)
        said = body.model_dump(exclude={"taxes", "alert"})
        alert = None if body.alert is None else parse_amount(body.alert, field="alert")
        payer = payers.Payer(organisation_id=organisation_id, taxes=taxes, alert_nanos=alert, **said)
        put = audited(who, "payer.set", organisation_id, payers.set_payer, body.told())
        return _show_payer(await database.run(put, payer))

    @router.get("/organisations/{organisation_id}/payer")
    async def get_payer(organisation_id: str) -> dict[str, Any]:
        return _show_payer(await database.read(payers.find_payer, organisation_id))

    @router.put("/organisations/{organisation_id}/credit")
    async def set_credit(organisation_id: str, body: NewCredit, who: Acting) -> dict[str, Any]:
        await database.read(need_organisation, organisation_id)
        credit, currency = parse_amount(body.credit, field="credit"), body.currency or rooms.currency
        put = audited(who, "credit.set", by_id, payers.set_credit, body.told())
        return show(await database.run(put, organisation_id, currency=currency, credit_nanos=credit))

    @router.post("/organisations/{organisation_id}/packs", status_code=201)
    async def add_pack(organisation_id: str, body: NewPack, who: Acting) -> dict[str, Any]:
        await database.read(need_organisation, organisation_id)
        await database.read(need_models, body.models)
        price_currency = body.price_currency or rooms.currency
        made = await draw(
            database,
            wallet_id(organisation_id, price_currency),
            audited(who, "pack.create", lambda made: made.account_id, packs.add_pack, body.told()),
            rooms.clock,
            organisation_id,
            request_key=body.request_key,
            name=body.name,
            currency=body.currency,
            amount_nanos=parse_amount(body.amount),
            models=None if body.models is None else tuple(body.models),
            from_ms=None if body.from_time is None else parse_time(body.from_time, "from_time"),
            until_ms=parse_time(body.until_time, "until_time"),
            price_nanos=parse_amount(body.price, field="price"),
            price_currency=price_currency,
        )
        return show(made)

    @router.get("/organisations/{organisation_id}/packs")
    async def list_packs(organisation_id: str, after: str = "", limit: PageSize = PAGE_SIZE) -> dict[str, Any]:
        rows = await database.read(packs.list_packs, organisation_id, after=after, limit=check_limit(limit) + 1)
        return page([show(row) for row in rows], limit, "account_id")

    return router


def _show_payer(payer: payers.Payer) -> dict[str, Any]:
    taxes = [{"name": tax.name, "rate": show_amount(tax.rate_ppm * NANO // MILLION)} for tax in payer.taxes]
    return {**show(payer), "taxes": taxes}
