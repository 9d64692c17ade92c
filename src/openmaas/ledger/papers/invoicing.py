"""The book of invoices: issued once for each organisation, month and currency, in order, and never changed.

A month is issued when it has ended, an hour has passed, and every relay's journal is posted beyond it. What is posted
later still (a machine that was away) is a line of the next invoice, so that all invoices together are the ledger.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import accumulate, groupby, pairwise
from typing import Any

import msgspec
import sqlalchemy as sa

from openmaas.core.bounds import INVOICE_GRACE_S
from openmaas.core.clock import Clock, iso_utc
from openmaas.core.errors import Conflict, FieldInvalid, ThingUnknown
from openmaas.core.invoice import Balance, Invoice, Issuer, Line, Party, TaxLine
from openmaas.core.money import MILLION, Rounding, share_nanos
from openmaas.ledger.book import Account
from openmaas.ledger.law import invoices, journals
from openmaas.ledger.papers.billing import balance_at, first_ms, moved, used, wallets
from openmaas.ledger.papers.months import month_after, month_bounds, month_of
from openmaas.ledger.selling.payers import Payer, find_payer
from openmaas.store.outbox import announce

#: An invoice as HTML.
Render = Callable[[Invoice], str]
_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(Invoice).decode


class Issued(msgspec.Struct, frozen=True):
    """An invoice as it stands in the books."""

    invoice: Invoice
    html: str
    html_hash: str


def issue(
    tx: sa.Connection, clock: Clock, organisation_id: str, period: str, *, name: str, issuer: Issuer, render: Render
) -> list[Invoice]:
    """The invoices of a month (``2026-11``), one for each currency that moved; those that are there are returned.

    ``name`` is the customer's, when nobody said a legal one. Raises ``FieldInvalid`` for what is no month or has not
    ended, ``Conflict`` when requests may be missing, an earlier month has no invoice, or only later ones have. A wallet
    that is further on hinders no other: what is posted too late for this month is on its next invoice.
    """
    payer = find_payer(tx, organisation_id)
    until_ms = month_bounds(period, payer.zone)[1]
    _check_over(tx, clock, until_ms)
    found, beyond = [], ""
    for wallet in wallets(tx, organisation_id):
        last = _last(tx, wallet)
        ours = (invoices.c.period == period) & (invoices.c.currency == wallet.currency)
        row = tx.execute(sa.select(invoices).where(ours, invoices.c.organisation_id == organisation_id)).first()
        made = read_invoice(row).invoice if row is not None else None
        if row is None and last is not None and last.until_ms >= until_ms:
            beyond = last.period
        elif row is None:
            made = _draft(tx, clock, payer, wallet, period, last)
        if made is not None and row is None:
            made = _keep(tx, issuer, msgspec.structs.replace(made, customer=_customer(payer, name)), render)
            told = {"invoice_id": made.id, "number": made.number, "period": period, "currency": made.currency}
            announce(tx, clock, organisation_id, "invoice.issued", told)
        found += [made] if made is not None else []
    if beyond and not found:
        raise Conflict(f"the invoice of {beyond} is issued: {period} lies before it", field="period")
    return found


def list_invoices(tx: sa.Connection, *, organisation_id: str | None, after: str = "", limit: int) -> list[Invoice]:
    """Invoices by id, which is by the time of issue, after ``after``."""
    query = sa.select(invoices).where(invoices.c.id > after).order_by(invoices.c.id).limit(limit)
    if organisation_id is not None:
        query = query.where(invoices.c.organisation_id == organisation_id)
    return [read_invoice(row).invoice for row in tx.execute(query)]


def find_invoice(tx: sa.Connection, invoice_id: str, organisation_id: str | None = None) -> Issued:
    """The invoice of this id, or of this number. Raises ``ThingUnknown``, also for one of somebody else."""
    prefix, _, rest = invoice_id.rpartition("-")[0].rpartition("-")
    sequence = invoice_id.rpartition("-")[2]
    named = invoices.c.id == invoice_id
    if prefix and rest.isdecimal() and sequence.isdecimal():
        number = (invoices.c.year == int(rest[:4])) & (invoices.c.sequence == int(sequence[:9]))
        named |= (invoices.c.prefix == prefix) & number
    row = tx.execute(sa.select(invoices).where(named)).first()
    if row is None or organisation_id not in (None, row.organisation_id):
        raise ThingUnknown(f"there is no invoice {invoice_id}", field="invoice_id")
    return read_invoice(row)


def due(tx: sa.Connection, clock: Clock, limit: int, after: str = "") -> list[tuple[str, str]]:
    """Organisations by id, after ``after``, and the next month of each that can be issued and was not; ``limit`` at
    most."""
    found: list[tuple[str, str]] = []
    for owner, ours in groupby(wallets(tx, after=after), key=lambda wallet: wallet.owner):
        periods = [period for wallet in ours if (period := _next_month(tx, clock, wallet)) is not None]
        found += [(owner, min(periods))] if periods else []
        if len(found) == limit:
            break
    return found


def _next_month(tx: sa.Connection, clock: Clock, wallet: Account) -> str | None:
    """The month of the first movement that no invoice tells of."""
    zone, last, first = find_payer(tx, wallet.owner).zone, _last(tx, wallet), first_ms(tx, wallet)
    if first is None:
        return None
    period, from_ms = (month_of(first, zone), first) if last is None else (month_after(last.period), last.until_ms)
    while _over(clock, (until_ms := month_bounds(period, zone)[1])):
        if _moved(tx, wallet, from_ms, until_ms):
            return None if _unposted(tx, until_ms) else period
        period = month_after(period)
    return None


def _draft(
    tx: sa.Connection, clock: Clock, payer: Payer, wallet: Account, period: str, last: Invoice | None
) -> Invoice | None:
    """The invoice without a number; None when nothing moved."""
    from_ms, until_ms = month_bounds(period, payer.zone)
    if last is not None and month_after(last.period) == period:
        from_ms = last.until_ms  # nothing is lost and nothing counted twice when the zone was changed
    elif (first := _next_month(tx, clock, wallet)) is not None and first < period:
        raise Conflict(f"issue {first} first", field="period")
    others, paid = moved(tx, wallet, from_ms, until_ms)
    lines = [*used(tx, wallet, from_ms, until_ms), *others]
    opening = last.balance.closing_nanos if last else 0
    closing = balance_at(tx, wallet, until_ms)
    late = opening + paid - sum(line.amount_nanos for line in lines) - closing
    if late:
        lines.append(Line("late", "", late))
    if not lines and not paid:
        return None
    lines, balance = _rounded(lines, opening, paid, closing, wallet.currency, last)
    net, taxes, total = taxed(balance.billed_minor, payer)
    return Invoice(
        clock.new_id("inv").lower(),
        "",
        wallet.owner,
        period,
        payer.zone,
        wallet.currency,
        payer.language_for(wallet.currency),
        from_ms,
        until_ms,
        clock.wall_ms(),
        Party(""),
        Party(""),
        tuple(lines),
        net,
        taxes,
        payer.tax_inclusive,
        total,
        balance,
    )


def _rounded(
    lines: list[Line], opening: int, paid: int, closing: int, currency: str, last: Invoice | None
) -> tuple[list[Line], Balance]:
    before = last.balance if last else None
    billing = Rounding(currency, before.billed_carry_nanos if before else 0)
    paying = Rounding(currency, before.paid_carry_nanos if before else 0)
    shown = [msgspec.structs.replace(line, amount_minor=billing.show(line.amount_nanos)) for line in lines]
    billed, billed_minor = sum(line.amount_nanos for line in lines), sum(line.amount_minor for line in shown)
    opening_minor = before.closing_minor if before else Rounding(currency).show(opening)
    paid_minor = paying.show(paid)
    exact = opening, paid, billed, closing
    minor = opening_minor, paid_minor, billed_minor, opening_minor + paid_minor - billed_minor
    return shown, Balance(*exact, *minor, billing.carry_nanos, paying.carry_nanos)


def taxed(billed_minor: int, payer: Payer) -> tuple[int, tuple[TaxLine, ...], int]:
    """Net, taxes and total. Each tax is rounded once, of the net amount; when prices hold the taxes, the net amount is
    what they leave."""
    if not payer.tax_inclusive:
        each = [share_nanos(billed_minor, tax.rate_ppm, MILLION) for tax in payer.taxes]
    else:  # by the running sum, so that net and taxes are the total
        rates = [tax.rate_ppm for tax in payer.taxes]
        upto = [share_nanos(billed_minor, part, MILLION + sum(rates)) for part in accumulate(rates)]
        each = [after - before for before, after in pairwise([0, *upto])]
    taxes = tuple(TaxLine(tax.name, tax.rate_ppm, minor) for tax, minor in zip(payer.taxes, each, strict=True))
    net = billed_minor - (sum(each) if payer.tax_inclusive else 0)
    return net, taxes, net + sum(each)


def _keep(tx: sa.Connection, issuer: Issuer, draft: Invoice, render: Render) -> Invoice:
    """Give the next number, in the transaction that keeps the invoice: a number is never lost."""
    year = int(month_of(draft.issued_ms, draft.zone)[:4])  # of the day that stands on it
    ours = (invoices.c.prefix == issuer.prefix) & (invoices.c.year == year)
    sequence = (tx.execute(sa.select(sa.func.max(invoices.c.sequence)).where(ours)).scalar() or 0) + 1
    number = f"{issuer.prefix}-{year}-{sequence:06d}"
    made = msgspec.structs.replace(draft, number=number, issuer=issuer.party)
    html = render(made)
    tx.execute(
        invoices.insert().values(
            id=made.id,
            prefix=issuer.prefix,
            year=year,
            sequence=sequence,
            organisation_id=made.organisation_id,
            period=made.period,
            currency=made.currency,
            until_ms=made.until_ms,
            issued_ms=made.issued_ms,
            content=_encode(made).decode(),
            html=html,
            html_hash=hash_of(html),
        )
    )
    return made


def hash_of(html: str) -> str:
    """What is kept beside a rendered invoice, to show that it is still the same."""
    return hashlib.sha256(html.encode()).hexdigest()


def _customer(payer: Payer, name: str) -> Party:
    return Party(payer.legal_name or name, payer.address, payer.tax_id)


def _check_over(tx: sa.Connection, clock: Clock, until_ms: int) -> None:
    if not _over(clock, until_ms):
        when = iso_utc(until_ms + INVOICE_GRACE_S * 1000)
        raise FieldInvalid(f"this month can be issued from {when} on", field="period")
    journal = _unposted(tx, until_ms)
    if journal is not None:
        raise Conflict(
            f"the journal {journal} is not posted beyond this month yet; its poster must run", field="period"
        )


def _over(clock: Clock, until_ms: int) -> bool:
    return clock.wall_ms() >= until_ms + INVOICE_GRACE_S * 1000


def _unposted(tx: sa.Connection, until_ms: int) -> str | None:
    """A relay's journal that may have more of the month. A job that holds for days does not keep everybody's invoices
    back: its charge is late, and stands on the next one."""
    behind = journals.c.settled_ms < until_ms + INVOICE_GRACE_S * 1000
    open_here = (journals.c.state == "open") & (journals.c.home != "")
    query = sa.select(journals.c.id).where(open_here, journals.c.started_ms < until_ms, behind)
    return tx.execute(query.order_by(journals.c.id).limit(1)).scalar()


def _moved(tx: sa.Connection, wallet: Account, from_ms: int, until_ms: int) -> bool:
    lines, paid = moved(tx, wallet, from_ms, until_ms)
    return bool(lines or paid or used(tx, wallet, from_ms, until_ms))


def _last(tx: sa.Connection, wallet: Account) -> Invoice | None:
    ours = (invoices.c.organisation_id == wallet.owner) & (invoices.c.currency == wallet.currency)
    row = tx.execute(sa.select(invoices).where(ours).order_by(invoices.c.until_ms.desc()).limit(1)).first()
    return None if row is None else read_invoice(row).invoice


def read_invoice(row: Any) -> Issued:
    """The invoice of a row of ``invoices``."""
    return Issued(_decode(row.content), row.html, row.html_hash)
