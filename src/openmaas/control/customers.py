"""What a customer may do with their own key: read receipts, usage and balance, redeem vouchers.

Annotations are evaluated here (no ``from __future__``): FastAPI must see the local ``Reader``.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from openmaas.control.acting import Acting, by_id
from openmaas.control.reading import Recognise, reading
from openmaas.control.rooms import Rooms
from openmaas.control.shapes import After, PageSize
from openmaas.control.shapes_money import Redeemed
from openmaas.control.show import check_limit, page, show
from openmaas.control.usage import usage_page
from openmaas.core.bounds import PAGE_SIZE, PAGE_SIZE_MAX
from openmaas.identity.face import Caller
from openmaas.ledger import book
from openmaas.ledger.posting import receipts
from openmaas.ledger.selling import vouchers
from openmaas.ledger.selling.standing import standing
from openmaas.store.audit_log import audited


def routes(rooms: Rooms, caller: Recognise) -> APIRouter:
    """The routes over ``rooms`` for whoever ``caller`` recognises."""
    router = APIRouter(tags=["customers"])
    database = rooms.database
    finder = receipts.Finder(database, rooms.journals)

    Reader = Annotated[Caller, Depends(reading(caller))]  # noqa: N806 - a type

    @router.get("/receipts/{request_id}")
    async def receipt(request_id: str, who: Reader) -> dict[str, Any]:
        found = await finder.find(request_id, who.organisation_id)
        shown = show(found)
        for name in ("charges", "corrections"):
            if name in shown:
                shown[name] = [show(line) for line in shown[name]]
        if found["status"] != "posted":
            for each in (shown, *shown.get("charges", ())):
                each.pop("balance", None)  # known once posted
        return {"object": "receipt", **shown}

    @router.get("/receipts")
    async def list_receipts(
        who: Reader, key_id: str | None = None, model: str | None = None, after: str = "", limit: PageSize = PAGE_SIZE
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
        who: Reader, by: str = "day", since: str = "", until: str = "", after: After = 0, limit: PageSize = PAGE_SIZE
    ) -> dict[str, Any]:
        return await usage_page(database, by, who.organisation_id, since, until, after, limit)

    @router.get("/standing")
    async def where_we_stand(who: Reader) -> dict[str, Any]:
        found = await database.read(standing, rooms.clock, who.organisation_id)
        plans = [
            {"subscription_id": name, "windows": [show(each) for each in all_]} for name, all_ in found.plans.items()
        ]
        shown = {"packs": [show(each) for each in found.packs], "budgets": [show(each) for each in found.budgets]}
        return {"object": "standing", "plans": plans, **shown}

    @router.get("/balance")
    async def balance(who: Reader, after: str = "", limit: PageSize = PAGE_SIZE_MAX) -> dict[str, Any]:
        rows = await database.read(
            book.list_accounts, owner=who.organisation_id, after=after, limit=check_limit(limit) + 1
        )
        return page([{**show(row), "free": show({"f_nanos": row.free_nanos})["f"]} for row in rows], limit)

    @router.post("/vouchers/redeem", status_code=201)
    async def redeem(body: Redeemed, actor: Acting, who: Reader) -> dict[str, Any]:
        book = audited(actor, "voucher.redeem", by_id, vouchers.redeem, {"organisation_id": who.organisation_id})
        return show(await database.run(book, rooms.clock, who.organisation_id, body.code))

    return router
