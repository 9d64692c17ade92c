"""An invoice as the texts of one page, in its language; HTML and PDF set them."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec

from openmaas.core.invoice import Invoice, Line, Party, TaxLine
from openmaas.core.money import show_amount, show_minor
from openmaas.documents.words import WORDS


class Page(msgspec.Struct, frozen=True):
    """Everything that is written, in order. Rows have as many cells as ``columns``; the first is text, the others are
    numbers."""

    language: str
    title: str
    facts: tuple[tuple[str, str], ...]
    parties: tuple[tuple[str, tuple[str, ...]], ...]  # a label, and the lines below it
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    sums: tuple[tuple[str, str], ...]  # the last one is the total
    balance: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


def page_of(invoice: Invoice) -> Page:
    """What ``invoice`` says."""
    words, currency, balance = WORDS[invoice.language], invoice.currency, invoice.balance
    columns = ("what", "requests", "prompt", "cached", "completion", "units", "amount")
    begin, end = _day(invoice.from_ms, invoice.zone), _day(invoice.until_ms - 1, invoice.zone)
    exact, carry = show_amount(balance.billed_nanos), show_amount(balance.billed_carry_nanos)
    notes = [words["exact"].format(exact=exact, carry=carry, currency=currency)]
    if invoice.taxes and not invoice.tax_inclusive:
        notes.append(words["beside"])
    return Page(
        invoice.language,
        words["title"],
        (
            (words["number"], invoice.number),
            (words["issued"], _day(invoice.issued_ms, invoice.zone)),
            (words["period"], f"{begin} – {end} ({invoice.zone})"),
            (words["currency"], currency),
        ),
        (
            (words["from"], _party(invoice.issuer, words)),
            (words["to"], (*_party(invoice.customer, words), invoice.organisation_id)),
        ),
        tuple(words[name] for name in columns),
        tuple(_row(line, words, currency) for line in invoice.lines),
        _sums(invoice, words),
        tuple(
            (words[name], show_minor(getattr(balance, f"{name}_minor"), currency))
            for name in ("opening", "paid", "billed", "closing")
        ),
        tuple(notes),
    )


def _row(line: Line, words: dict[str, str], currency: str) -> tuple[str, ...]:
    amount, units = show_minor(line.amount_minor, currency), words["and"].join(_units(line, words))
    if line.kind == "usage":
        counts = (line.requests, line.prompt_tokens, line.cached_tokens, line.completion_tokens)
        return line.name, *(f"{count:,}" for count in counts), units, amount
    said = words[line.kind] + (words["join"] + line.name if line.name else "")
    return said, "", "", "", "", units, amount


def _units(line: Line, words: dict[str, str]) -> list[str]:
    """How many of each unit, such as ``1,200 calls``."""
    named = [(words[f"unit_{unit}"].partition("|"), count) for unit, count in line.units]
    return [f"{count:,} {one if count == 1 else many}" for (one, _, many), count in named]


def _sums(invoice: Invoice, words: dict[str, str]) -> tuple[tuple[str, str], ...]:
    currency = invoice.currency
    taxes = [(_tax(tax, words, inclusive=invoice.tax_inclusive), tax.amount_minor) for tax in invoice.taxes]
    sums = [(words["net"], invoice.net_minor), *taxes] if taxes else []
    sums.append((f"{words['total']} ({currency})", invoice.total_minor))
    return tuple((label, show_minor(minor, currency)) for label, minor in sums)


def _tax(tax: TaxLine, words: dict[str, str], *, inclusive: bool) -> str:
    whole, part = divmod(tax.rate_ppm, 10_000)
    rate = f"{whole}.{part:04d}".rstrip("0").rstrip(".")
    return f"{tax.name} {rate} %" + (f" ({words['included']})" if inclusive else "")


def _party(party: Party, words: dict[str, str]) -> tuple[str, ...]:
    tax_id = f"{words['tax_id']}{words['join']}{party.tax_id}" if party.tax_id else ""
    return tuple(text for text in (party.name, *party.address.split("\n"), tax_id) if text)


def _day(ms: int, zone: str) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone(ZoneInfo(zone)).date().isoformat()
