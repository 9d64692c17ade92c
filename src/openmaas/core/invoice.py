"""What an invoice says. A value that the ledger makes and ``documents`` renders; every number is an integer.

``…_nanos`` are the ledger's exact amounts, ``…_minor`` what the document shows, in the smallest unit of the currency
that is paid (cents; yen). The difference is carried to the next invoice: ``core.money.Rounding``.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Language = Literal["zh", "en"]
LineKind = Literal["usage", "purchase", "correction", "credit_note", "late"]


class Party(msgspec.Struct, frozen=True):
    """Who issues an invoice, or who gets it."""

    name: str
    address: str = ""
    tax_id: str = ""


class Issuer(msgspec.Struct, frozen=True):
    """The operator, and what the numbers of its invoices begin with."""

    prefix: str
    party: Party


class Tax(msgspec.Struct, frozen=True):
    """A tax and its rate, in parts per million."""

    name: str
    rate_ppm: int


class TaxLine(msgspec.Struct, frozen=True):
    """A tax, and how much of it there is."""

    name: str
    rate_ppm: int
    amount_minor: int


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line. ``name`` is the model, or what was bought; ``late`` is what was posted after the invoice that it
    belonged to was issued. ``units`` are what was used beside tokens (``core.usage.UNITS``), or how many purchases or
    credit notes it is."""

    kind: LineKind
    name: str
    amount_nanos: int
    amount_minor: int = 0
    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    units: tuple[tuple[str, int], ...] = ()


class Balance(msgspec.Struct, frozen=True):
    """How the wallet went through the month: opening + paid in − billed = closing, in both columns."""

    opening_nanos: int
    paid_nanos: int
    billed_nanos: int
    closing_nanos: int
    opening_minor: int
    paid_minor: int
    billed_minor: int
    closing_minor: int
    billed_carry_nanos: int  # exact less shown, so far: goes on to the next invoice
    paid_carry_nanos: int


class Invoice(msgspec.Struct, frozen=True):
    """One invoice: an organisation's month in one currency."""

    id: str
    number: str
    organisation_id: str
    period: str
    zone: str
    currency: str
    language: Language
    from_ms: int
    until_ms: int
    issued_ms: int
    issuer: Party
    customer: Party
    lines: tuple[Line, ...]
    net_minor: int
    taxes: tuple[TaxLine, ...]
    tax_inclusive: bool
    total_minor: int
    balance: Balance
