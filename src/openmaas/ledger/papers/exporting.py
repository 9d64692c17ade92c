"""Long lists, a page at a time: every movement of an account with its running balance, every receipt of a period.

Each page is a read of its own that goes on behind the last row, so an export of any length holds nothing open and no
more than a page in memory. What is posted meanwhile is seen when it lies ahead.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from openmaas.core.bounds import EXPORT_PAGE_MAX
from openmaas.core.usage import UNITS
from openmaas.ledger.book import find_account
from openmaas.ledger.law import charges, receipts, transfers, usage_days
from openmaas.ledger.posting.rows import charges_of
from openmaas.store.database import Database

Row = dict[str, Any]
_NO_UNITS = {f"units_{unit}": 0 for unit in UNITS}


def statement(database: Database, account_id: str, from_ms: int, until_ms: int) -> Iterator[list[Row]]:
    """The transfers of an account from ``from_ms`` until ``until_ms`` in the order of their times. The first row is the
    opening balance. What is pending or voided is listed, and changes nothing.

    Raises ``ThingUnknown`` at once, not with the first page.
    """
    opening = database.look(_opening, account_id, from_ms)
    return _statement(database, opening, until_ms)


def _statement(database: Database, opening: Row, until_ms: int) -> Iterator[list[Row]]:
    yield [opening]
    balance, after = opening["balance_nanos"], (opening["at_ms"], "")
    while rows := database.look(_transfers, opening["account_id"], after, until_ms):
        page = []
        for row in rows:
            change = row.amount_nanos if row.credit == opening["account_id"] else -row.amount_nanos
            change = change if row.state == "posted" else 0
            balance += change
            page.append(_line(row, opening, change, balance))
        yield page
        if len(rows) < EXPORT_PAGE_MAX:
            return
        after = rows[-1].at_ms, rows[-1].id


def receipt_pages(database: Database, organisation_id: str | None, from_ms: int, until_ms: int) -> Iterator[list[Row]]:
    """The posted receipts that were opened from ``from_ms`` until ``until_ms``, of one organisation or of all, each
    organisation's in the order in which they were opened. ``charges`` are what each account paid or counted, as
    ``(account_id, nanos)`` in the order in which they were asked."""
    owners = [organisation_id] if organisation_id is not None else database.look(_owners)
    for owner in owners:
        after = (from_ms, "")
        while rows := database.look(_receipts, owner, after, until_ms):
            yield rows
            if len(rows) < EXPORT_PAGE_MAX:
                break
            after = rows[-1]["opened_ms"], rows[-1]["request_id"]


def _opening(tx: sa.Connection, account_id: str, from_ms: int) -> Row:
    account = find_account(tx, account_id)
    change = sa.case((transfers.c.credit == account_id, transfers.c.amount_nanos), else_=-transfers.c.amount_nanos)
    later = sa.select(sa.func.coalesce(sa.func.sum(change), 0)).where(
        _of(account_id), transfers.c.state == "posted", transfers.c.at_ms >= from_ms
    )
    return {
        "account_id": account_id,
        "currency": account.currency,
        "at_ms": from_ms,
        "id": "",
        "kind": "opening",
        "state": "posted",
        "other_account_id": "",
        "change_nanos": 0,
        "balance_nanos": account.posted_nanos - int(tx.execute(later).scalar_one()),
        "memo": "",
    }


def _line(row: Any, opening: Row, change: int, balance: int) -> Row:
    return {
        **{name: opening[name] for name in ("account_id", "currency")},
        **{name: getattr(row, name) for name in ("at_ms", "id", "kind", "state", "memo")},
        "other_account_id": row.debit if row.credit == opening["account_id"] else row.credit,
        "change_nanos": change,
        "balance_nanos": balance,
    }


def _transfers(tx: sa.Connection, account_id: str, after: tuple[int, str], until_ms: int) -> list[Any]:
    query = sa.select(transfers).where(
        _of(account_id), sa.tuple_(transfers.c.at_ms, transfers.c.id) > after, transfers.c.at_ms < until_ms
    )
    return list(tx.execute(query.order_by(transfers.c.at_ms, transfers.c.id).limit(EXPORT_PAGE_MAX)))


def _owners(tx: sa.Connection) -> list[str]:
    owner = usage_days.c.organisation_id
    return list(tx.execute(sa.select(owner).distinct().order_by(owner)).scalars())


def _receipts(tx: sa.Connection, owner: str, after: tuple[int, str], until_ms: int) -> list[Row]:
    at = sa.tuple_(receipts.c.opened_ms, receipts.c.request_id)
    query = sa.select(receipts).where(receipts.c.organisation_id == owner, at > after, receipts.c.opened_ms < until_ms)
    ordered = query.order_by(receipts.c.opened_ms, receipts.c.request_id).limit(EXPORT_PAGE_MAX)
    found = {
        row["request_id"]: {**row, **_NO_UNITS, **{f"units_{unit}": n for unit, n in row["units"] or ()}, "charges": []}
        for row in tx.execute(ordered).mappings()
    }
    lines = charges_of(list(found)).order_by(charges.c.leg, charges.c.part)
    for line in tx.execute(lines):
        found[line.request_id]["charges"].append((line.account_id, line.amount_nanos))
    return list(found.values())


def _of(account_id: str) -> sa.ColumnElement[bool]:
    return (transfers.c.debit == account_id) | (transfers.c.credit == account_id)
