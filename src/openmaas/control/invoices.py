"""Invoices as the API gives them: JSON, HTML or PDF, by the end of the path or by ``Accept``."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from fastapi import Request, Response

from openmaas.control.rooms import Rooms
from openmaas.control.show import check_limit, page, show
from openmaas.core.invoice import Invoice
from openmaas.core.money import show_minor
from openmaas.documents.pdf import render_pdf
from openmaas.ledger.papers import invoicing
from openmaas.ledger.papers.invoicing import Issued

#: Of the path, and of ``Accept``.
_FORMS = {"pdf": "application/pdf", "html": "text/html", "json": "application/json"}


async def invoices_page(rooms: Rooms, organisation_id: str | None, after: str, limit: int) -> dict[str, Any]:
    """A page of invoices, in the order in which they were issued."""
    rows = await rooms.database.read(
        invoicing.list_invoices, organisation_id=organisation_id, after=after, limit=check_limit(limit) + 1
    )
    return page([show_invoice(row) for row in rows], limit)


async def one_invoice(rooms: Rooms, request: Request, named: str, organisation_id: str | None) -> Response:
    """One invoice in the form that is asked for. Raises ``ThingUnknown`` and ``ExtraMissing``."""
    name, dot, ending = named.rpartition(".")
    form = ending if dot and ending in _FORMS else None
    found = await rooms.database.read(invoicing.find_invoice, name if form else named, organisation_id)
    return await _answer(found, form or _accepted(request.headers.get("accept", "")))


def show_invoice(invoice: Invoice) -> dict[str, Any]:
    """Amounts as the document shows them are ``…_shown``; the others are exact."""
    lines = [_show(line, invoice.currency) for line in invoice.lines]
    taxes = [_show(tax, invoice.currency) for tax in invoice.taxes]
    balance = _show(invoice.balance, invoice.currency)
    parties = {name: msgspec.structs.asdict(getattr(invoice, name)) for name in ("issuer", "customer")}
    return {**_show(invoice, invoice.currency), "lines": lines, "taxes": taxes, "balance": balance, **parties}


def _show(value: msgspec.Struct, currency: str) -> dict[str, Any]:
    shown = {}
    for name, one in show(value).items():
        if name.endswith("_minor"):
            shown[f"{name.removesuffix('_minor')}_shown"] = show_minor(one, currency).replace(",", "")
        else:
            shown[name] = one
    return shown


def _accepted(accept: str) -> str:
    """The first of ours that ``Accept`` names; JSON for whoever takes anything."""
    for part in accept.split(","):
        kind = part.partition(";")[0].strip().lower()
        found = [form for form, ours in _FORMS.items() if ours == kind]
        if found:
            return found[0]
    return "json"


async def _answer(found: Issued, form: str) -> Response:
    headers = {"vary": "accept"}
    if form == "json":
        body = msgspec.json.encode({**show_invoice(found.invoice), "html_hash": found.html_hash})
    elif form == "html":  # it holds nothing active, and is to stay so
        headers["content-security-policy"] = "default-src 'none'; style-src 'unsafe-inline'"
        body = found.html.encode()
    else:
        headers["content-disposition"] = f'inline; filename="{found.invoice.number}.pdf"'
        body = await asyncio.to_thread(render_pdf, found.invoice)
    kind = _FORMS[form] + ("; charset=utf-8" if form == "html" else "")
    return Response(body, headers=headers, media_type=kind)
