"""What an invoice is made of: the lines of one wallet between two moments, and its balance at one.

A request belongs to the moment at which it was opened, whenever it was posted; every other movement to its own moment.
So a month holds what was used in it, and what is posted too late for its invoice can still be told: it is in the
balance (``balance_at``) and on no line.
"""

from __future__ import annotations

import json
from collections import Counter
from itertools import groupby
from operator import attrgetter
from typing import Any

import msgspec
import sqlalchemy as sa

from openmaas.core.invoice import Line, LineKind
from openmaas.ledger.book import Account, find_account, own_id
from openmaas.ledger.law import accounts, charges, receipts, transfers

_TOKENS = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
#: What is billed beside use. What goes to or comes from revenue is; all else of a wallet is money paid in or back.
BILLED = ("purchase", "correction", "credit_note")
#: Of which each transfer is one; corrections of many requests are one.
COUNTED = ("purchase", "credit_note")


def wallets(tx: sa.Connection, organisation_id: str | None = None, *, after: str = "") -> list[Account]:
    """The wallets of one organisation, or of all after ``after``, by organisation."""
    ours = (accounts.c.kind == "wallet") & (accounts.c.owner > after)
    query = sa.select(accounts.c.id).where(ours).order_by(accounts.c.owner, accounts.c.id)
    if organisation_id is not None:
        query = query.where(accounts.c.owner == organisation_id)
    return [find_account(tx, id_) for id_ in tx.execute(query).scalars().all()]


def used(tx: sa.Connection, wallet: Account, from_ms: int, until_ms: int) -> list[Line]:
    """A line for each model: what was asked of it, and what of that the wallet paid."""
    units = sa.cast(receipts.c.units, sa.String).label("units")  # as text, which both databases can group by
    sums = [sa.func.sum(receipts.c[name]).label(name) for name in _TOKENS]
    query = (
        sa.select(receipts.c.model, units, sa.func.count().label("requests"), *sums, _charged())
        .join_from(receipts, charges, charges.c.request_id == receipts.c.request_id)
        .where(_asked(wallet, from_ms), receipts.c.opened_ms < until_ms)
        .group_by(receipts.c.model, units)
        .order_by(receipts.c.model)
    )
    return [_line(model, list(rows)) for model, rows in groupby(tx.execute(query), key=attrgetter("model"))]


def _line(model: str, rows: list[Any]) -> Line:
    """What the requests of one model are together; those of a row used the same units each."""
    counted: Counter[str] = Counter()
    for row in rows:
        for unit, count in json.loads(row.units or "null") or ():
            counted[unit] += count * row.requests
    sums = {name: sum(int(getattr(row, name)) for row in rows) for name in ("requests", *_TOKENS)}
    charged, units = sum(int(row.charged) for row in rows), tuple(sorted(counted.items()))
    return msgspec.structs.replace(Line("usage", model, charged, units=units), **sums)


def moved(tx: sa.Connection, wallet: Account, from_ms: int, until_ms: int) -> tuple[list[Line], int]:
    """The lines that are no use (above 0: the customer pays), and what came in less what was paid back."""
    change = _change(wallet)
    name = sa.case((transfers.c.kind == "purchase", transfers.c.memo), else_="")
    revenue = own_id("revenue", wallet.currency)
    earned = sa.case(((transfers.c.debit == revenue) | (transfers.c.credit == revenue), 1), else_=0)
    query = (
        sa.select(
            transfers.c.kind,
            name.label("name"),
            earned.label("earned"),
            sa.func.sum(change).label("change"),
            sa.func.count().label("transfers"),
        )
        .where(_touches(wallet), transfers.c.at_ms >= from_ms, transfers.c.at_ms < until_ms)
        .group_by(transfers.c.kind, name, earned)
    )
    lines, paid = [], 0
    for row in tx.execute(query):
        if row.earned:
            kind: LineKind = "credit_note"
            if row.kind in BILLED:
                kind = row.kind
            units = ((row.kind, int(row.transfers)),) if row.kind in COUNTED else ()
            lines.append(Line(kind, row.name, -int(row.change), units=units))
        else:
            paid += int(row.change)
    return sorted(lines, key=lambda line: (BILLED.index(line.kind), line.name)), paid


def balance_at(tx: sa.Connection, wallet: Account, ms: int) -> int:
    """What the wallet had when every request opened before ``ms`` was charged: counted back from what it has now."""
    later = sa.select(sa.func.coalesce(sa.func.sum(_change(wallet)), 0)).where(
        _touches(wallet), transfers.c.at_ms >= ms
    )
    asked = (
        sa.select(_charged())
        .join_from(receipts, charges, charges.c.request_id == receipts.c.request_id)
        .where(_asked(wallet, ms))
    )
    return wallet.posted_nanos - int(tx.execute(later).scalar_one()) + int(tx.execute(asked).scalar_one())


def first_ms(tx: sa.Connection, wallet: Account) -> int | None:
    """When the wallet first moved: a request that it owes for can be older than any transfer."""
    transferred = sa.select(sa.func.min(transfers.c.at_ms)).where(_touches(wallet))
    asked = (
        sa.select(receipts.c.opened_ms)
        .join(charges, charges.c.request_id == receipts.c.request_id)
        .where(_asked(wallet, 0))
        .order_by(receipts.c.opened_ms)
        .limit(1)
    )
    found = (tx.execute(query).scalar() for query in (transferred, asked))
    return min((int(ms) for ms in found if ms is not None), default=None)


def _charged() -> sa.Label[int]:
    return sa.func.coalesce(sa.func.sum(charges.c.amount_nanos), 0).label("charged")


def _asked(wallet: Account, from_ms: int) -> sa.ColumnElement[bool]:
    ours = (receipts.c.organisation_id == wallet.owner) & (receipts.c.opened_ms >= from_ms)
    return ours & (charges.c.account_id == wallet.id)


def _touches(wallet: Account) -> sa.ColumnElement[bool]:
    """Transfers of this wallet, without those that sum up charges."""
    ours = (transfers.c.debit == wallet.id) | (transfers.c.credit == wallet.id)
    return ours & (transfers.c.state == "posted") & (transfers.c.kind != "charge")


def _change(wallet: Account) -> sa.Case[int]:
    return sa.case((transfers.c.credit == wallet.id, transfers.c.amount_nanos), else_=-transfers.c.amount_nanos)
