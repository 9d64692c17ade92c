"""The audit of invoices: numbers without gaps, papers that are still what they were, sums that follow each other."""

from __future__ import annotations

import sqlalchemy as sa

from openmaas.core.invoice import Invoice
from openmaas.core.money import Rounding
from openmaas.ledger.law import invoices
from openmaas.ledger.papers.invoicing import hash_of, read_invoice


def check_invoices(tx: sa.Connection) -> list[str]:
    """Sentences about what disagrees."""
    return [*_numbers(tx), *_papers(tx)]


def _numbers(tx: sa.Connection) -> list[str]:
    """Each prefix counts from 1 in each year."""
    found: list[str] = []
    counted: dict[tuple[str, int], int] = {}
    for row in tx.execute(sa.select(invoices).order_by(invoices.c.sequence, invoices.c.year, invoices.c.prefix)):
        series = (row.prefix, row.year)
        if row.sequence != counted.get(series, 0) + 1:
            found.append(f"before invoice {read_invoice(row).invoice.number} a number is missing")
        counted[series] = row.sequence
    return found


def _papers(tx: sa.Connection) -> list[str]:
    """Those of one customer in one currency follow each other in time, whatever their numbers are."""
    found: list[str] = []
    before: dict[tuple[str, str], Invoice] = {}
    for row in tx.execute(sa.select(invoices).order_by(invoices.c.until_ms, invoices.c.id)):
        one, customer = read_invoice(row).invoice, (row.organisation_id, row.currency)
        if hash_of(row.html) != row.html_hash:
            found.append(f"invoice {one.number} is not what was issued")
        found += [f"invoice {one.number} {said}" for said in _sums(one, before.get(customer))]
        before[customer] = one
    return found


def _sums(one: Invoice, before: Invoice | None) -> list[str]:
    balance, last = one.balance, before.balance if before else None
    exact = balance.opening_nanos + balance.paid_nanos - balance.billed_nanos
    minor = balance.opening_minor + balance.paid_minor - balance.billed_minor
    rounding = Rounding(one.currency, last.billed_carry_nanos if last else 0)
    shown = [rounding.show(line.amount_nanos) for line in one.lines]
    found = []
    if (exact, minor) != (balance.closing_nanos, balance.closing_minor):
        found.append("does not add up")
    if shown != [line.amount_minor for line in one.lines] or rounding.carry_nanos != balance.billed_carry_nanos:
        found.append("is rounded in another way")
    ended = (last.closing_nanos, last.closing_minor) if last else (0, 0)
    if ended != (balance.opening_nanos, balance.opening_minor):
        told = f"go on where {before.number} ended" if before else "open with 0, though it is the first"
        found.append(f"does not {told}")
    return found
