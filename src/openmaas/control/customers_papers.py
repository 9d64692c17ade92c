"""What a customer may take home with their own key: invoices, statements of their accounts, their usage as a file.

Annotations are evaluated here (no ``from __future__``): FastAPI must see the local ``Reader``.
"""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from openmaas.control.exports import EXPORTED, Export, Form, Since, Until
from openmaas.control.invoices import invoices_page, one_invoice
from openmaas.control.reading import Recognise, reading
from openmaas.control.rooms import Rooms
from openmaas.control.shapes import PageSize
from openmaas.core.bounds import PAGE_SIZE
from openmaas.core.errors import ThingUnknown
from openmaas.identity.face import Caller
from openmaas.ledger import book


def routes(rooms: Rooms, caller: Recognise) -> APIRouter:
    """The routes over ``rooms`` for whoever ``caller`` recognises."""
    router = APIRouter(tags=["customers"])
    database = rooms.database
    Reader = Annotated[Caller, Depends(reading(caller))]  # noqa: N806 - a type

    @router.get("/invoices")
    async def list_invoices(who: Reader, after: str = "", limit: PageSize = PAGE_SIZE) -> dict[str, Any]:
        return await invoices_page(rooms, who.organisation_id, after, limit)

    @router.get("/invoices/{invoice_id}")
    async def invoice(invoice_id: str, request: Request, who: Reader) -> Response:
        return await one_invoice(rooms, request, invoice_id, who.organisation_id)

    @router.get("/accounts/{account_id:path}/statement")
    async def statement(
        account_id: str, who: Reader, since: Since = "", until: Until = "", form: Form = "csv", bom: bool = False
    ) -> Response:
        account = await database.read(book.find_account, account_id)
        if account.owner != who.organisation_id:
            raise ThingUnknown(f"there is no account {account_id}", field="account")
        export = Export(since, until, form, bom)
        return export.answer(await asyncio.to_thread(export.statement, database, account_id), "statement")

    @router.get("/usage/export", response_class=Response, responses=EXPORTED)
    async def usage_export(
        who: Reader, since: Since = "", until: Until = "", form: Form = "csv", bom: bool = False
    ) -> Response:
        export = Export(since, until, form, bom)
        return export.answer(export.usage(database, who.organisation_id), "usage")

    return router
