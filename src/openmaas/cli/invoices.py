"""``openmaas invoices``: issue a month, list what was issued, show one as text, HTML or PDF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from openmaas.cli.rooms import OPERATOR, one_organisation, opened
from openmaas.cli.say import AS_JSON, DATA, LIMIT, plainly, show, table
from openmaas.control.invoices import show_invoice
from openmaas.core.clock import Clock
from openmaas.core.errors import FieldInvalid
from openmaas.documents.html import render_html
from openmaas.documents.page import page_of
from openmaas.documents.pdf import render_pdf
from openmaas.house.invoicing import issuer_of
from openmaas.house.settings import read
from openmaas.identity.book import organisation_name
from openmaas.ledger.papers import invoicing
from openmaas.store.audit_log import audited

_COLUMNS = ("number", "period", "organisation_id", "total_shown", "currency", "id")


@click.group()
def invoices() -> None:
    """Issue and show monthly invoices."""


@invoices.command()
@DATA
@click.argument("period")
@click.option("--organisation", help="Its name or id; not needed when there is one.")
@AS_JSON
@plainly
def issue(data: str, period: str, organisation: str | None, as_json: bool) -> None:
    """Issue the invoices of PERIOD, a month such as 2026-11. The same again shows the same ones."""
    issuer = issuer_of(read({"data": data}).settings)
    with opened(data) as (database, _):
        owner = database.look(one_organisation, organisation)
        name = database.look(organisation_name, owner)
        issuing = audited(OPERATOR, "invoice.issue", owner, invoicing.issue, {"period": period})
        made = database.call(issuing, Clock(), owner, period, name=name, issuer=issuer, render=render_html)
    _show_all([show_invoice(one) for one in made], as_json=as_json)


@invoices.command("list")
@DATA
@click.option("--organisation", help="Only its invoices.")
@click.option("--after", default="", help="Go on after this id.")
@LIMIT
@AS_JSON
@plainly
def list_(data: str, organisation: str | None, after: str, limit: int, as_json: bool) -> None:
    """List what was issued."""
    with opened(data) as (database, _):
        owner = database.look(one_organisation, organisation) if organisation else None
        rows = database.look(invoicing.list_invoices, organisation_id=owner, after=after, limit=limit)
    _show_all([show_invoice(one) for one in rows], as_json=as_json)


@invoices.command("show")
@DATA
@click.argument("number")
@click.option("--to", type=click.Path(dir_okay=False, path_type=Path), help="Write it there: a name in .html or .pdf.")
@AS_JSON
@plainly
def show_(data: str, number: str, to: Path | None, as_json: bool) -> None:
    """Show the invoice with this NUMBER, or id."""
    if to is not None and to.suffix not in (".html", ".pdf"):
        raise FieldInvalid("--to must end in .html or .pdf", field="to")
    with opened(data) as (database, _):
        found = database.look(invoicing.find_invoice, number)
    if to is not None:
        to.write_bytes(found.html.encode() if to.suffix == ".html" else render_pdf(found.invoice))
    page = page_of(found.invoice)
    lines = [f"{page.title} {found.invoice.number}", ""]
    lines += [f"{label}: {' · '.join(texts)}" for label, texts in page.parties]
    rows = [dict(zip(page.columns, row, strict=True)) for row in page.rows]
    lines += ["", table(rows, page.columns), ""]
    lines += [f"{label}: {amount}" for label, amount in (*page.sums, *page.balance)]
    show(show_invoice(found.invoice), as_json=as_json, text="\n".join(lines))


def _show_all(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    show(rows, as_json=as_json, text=table(rows, _COLUMNS))
