"""Invoices, statements and usage of everybody as files, and the daily reconciliation."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response

from openmaas.control.acting import Acting
from openmaas.control.exports import EXPORTED, Export, Form, Since, Until
from openmaas.control.invoices import invoices_page, one_invoice, show_invoice
from openmaas.control.rooms import Rooms
from openmaas.control.shapes import PageSize
from openmaas.control.shapes_funds import NewInvoices
from openmaas.control.show import check_limit, page, show
from openmaas.control.usage import parse_day
from openmaas.core.bounds import PAGE_SIZE
from openmaas.core.clock import iso_utc
from openmaas.core.usage import Usage
from openmaas.documents.html import render_html
from openmaas.engines import meter
from openmaas.identity.book import organisation_name
from openmaas.ledger.papers import invoicing
from openmaas.ledger.papers.reconciling import reconcile
from openmaas.store.audit_log import audited


def routes(rooms: Rooms) -> APIRouter:
    """The routes over ``rooms``."""
    router = APIRouter(tags=["documents"])
    database = rooms.database

    @router.post("/organisations/{organisation_id}/invoices", status_code=201)
    async def issue_invoices(organisation_id: str, body: NewInvoices, who: Acting) -> dict[str, Any]:
        name = await database.read(organisation_name, organisation_id)
        made = await database.run(
            audited(who, "invoice.issue", organisation_id, invoicing.issue, body.told()),
            rooms.clock,
            organisation_id,
            body.period,
            name=name,
            issuer=rooms.issuer,
            render=render_html,
        )
        return {"object": "list", "data": [show_invoice(one) for one in made], "next_after": None}

    @router.get("/organisations/{organisation_id}/invoices")
    async def list_invoices(organisation_id: str, after: str = "", limit: PageSize = PAGE_SIZE) -> dict[str, Any]:
        return await invoices_page(rooms, organisation_id, after, limit)

    @router.get("/invoices")
    async def all_invoices(after: str = "", limit: PageSize = PAGE_SIZE) -> dict[str, Any]:
        return await invoices_page(rooms, None, after, limit)

    @router.get("/invoices/{invoice_id}")
    async def invoice(invoice_id: str, request: Request) -> Response:
        return await one_invoice(rooms, request, invoice_id, None)

    @router.get("/accounts/{account_id:path}/statement")
    async def statement(
        account_id: str, since: Since = "", until: Until = "", form: Form = "csv", bom: bool = False
    ) -> Response:
        export = Export(since, until, form, bom)
        pieces = await asyncio.to_thread(export.statement, database, account_id)
        return export.answer(pieces, "statement")

    @router.get("/usage/export", response_class=Response, responses=EXPORTED)
    async def usage(
        organisation_id: str | None = None, since: Since = "", until: Until = "", form: Form = "csv", bom: bool = False
    ) -> Response:
        export = Export(since, until, form, bom)
        return export.answer(export.usage(database, organisation_id), "usage")

    @router.get("/reconciliation")
    async def reconciliation(day: str = "", after: str = "", limit: PageSize = PAGE_SIZE) -> dict[str, Any]:
        asked = parse_day(day or iso_utc(rooms.clock.wall_ms())[:10], "day", ends=True)

        def counts(request_ids: list[str]) -> dict[str, Usage]:
            return meter.usages(meter.find(rooms.meters, request_ids))

        wanted = check_limit(limit) + 1
        found = await asyncio.to_thread(reconcile, database, asked, counts, after=after, limit=wanted)
        return {**page([{"id": row.id, **show(row)} for row in found], limit), "day": asked}

    return router
