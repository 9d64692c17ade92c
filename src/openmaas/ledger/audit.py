"""The audit: proves that the books balance and that engines, journals, receipts and accounts say the same.

Each check is one query or one pass that returns sentences about what disagrees; an empty list is the proof. Runs on
one snapshot of the database, beside living relays; it changes nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from openmaas.core.money import show_amount
from openmaas.core.usage import Usage
from openmaas.ledger.journal import Position, read_on
from openmaas.ledger.law import accounts, journals, leases, receipts, transfers, usage_days
from openmaas.ledger.prices import PriceBook, price_book
from openmaas.ledger.records import Closed


class Report(msgspec.Struct):
    """What the audit found. ``disagreements`` is empty when all agrees."""

    accounts: int
    transfers: int
    receipts: int
    journaled: int
    engine_counts: int
    charged: dict[str, str]
    disagreements: list[str]


def audit(tx: sa.Connection, folder: Path, counts: dict[str, Usage]) -> Report:
    """Check everything. ``counts`` are the engines' own, by request id; ``folder`` holds the journals."""
    book = price_book(tx)
    rows = {row.request_id: row for row in tx.execute(sa.select(receipts))}
    found = [*_double_entry(tx), *_leases(tx), *_charges(tx), *_days(tx), *_prices(rows, book)]
    journaled, told = _journals(tx, folder, rows)
    found += told
    found += _engines(tx, rows, book, counts)
    charged: dict[str, int] = {}
    for row in rows.values():
        charged[row.currency] = charged.get(row.currency, 0) + row.amount_nanos
    return Report(
        accounts=_count(tx, accounts),
        transfers=_count(tx, transfers),
        receipts=len(rows),
        journaled=journaled,
        engine_counts=len(counts),
        charged={currency: show_amount(nanos) for currency, nanos in charged.items()},
        disagreements=found,
    )


def _double_entry(tx: sa.Connection) -> list[str]:
    found = []
    posted = transfers.c.state == "posted"
    credit, debit = _sums(tx, transfers.c.credit, posted), _sums(tx, transfers.c.debit, posted)
    ended = sa.select(transfers.c.pending_id).where(transfers.c.pending_id.is_not(None))
    pending = _sums(tx, transfers.c.debit, (transfers.c.state == "pending") & transfers.c.id.not_in(ended))
    totals: dict[str, int] = {}
    for row in tx.execute(sa.select(accounts)):
        totals[row.currency] = totals.get(row.currency, 0) + row.posted_nanos
        by_transfers = credit.get(row.id, 0) - debit.get(row.id, 0)
        if row.posted_nanos != by_transfers:
            found.append(f"account {row.id} says {row.posted_nanos}, its transfers say {by_transfers}")
        if row.pending_nanos != pending.get(row.id, 0):
            found.append(f"account {row.id} has {row.pending_nanos} pending, its transfers {pending.get(row.id, 0)}")
        if row.kind == "wallet" and row.posted_nanos - row.pending_nanos - row.leased_nanos < 0:
            found.append(f"account {row.id} is overdrawn")
    return found + [f"the accounts of {c} sum to {total}, not to 0" for c, total in totals.items() if total]


def _leases(tx: sa.Connection) -> list[str]:
    granted = {
        row[0]: int(row[1])
        for row in tx.execute(
            sa.select(leases.c.account_id, sa.func.sum(leases.c.granted_nanos)).group_by(leases.c.account_id)
        )
    }
    return [
        f"account {row.id} has {row.leased_nanos} leased, its leases say {granted.get(row.id, 0)}"
        for row in tx.execute(sa.select(accounts.c.id, accounts.c.leased_nanos))
        if row.leased_nanos != granted.get(row.id, 0)
    ]


def _charges(tx: sa.Connection) -> list[str]:
    billed = {
        row[0]: int(row[1])
        for row in tx.execute(
            sa.select(receipts.c.transfer_id, sa.func.sum(receipts.c.amount_nanos)).group_by(receipts.c.transfer_id)
        )
    }
    found = [
        f"charge {row.id} moved {row.amount_nanos}, its receipts say {billed.get(row.id, 0)}"
        for row in tx.execute(sa.select(transfers).where(transfers.c.kind == "charge"))
        if row.amount_nanos != billed.get(row.id, 0)
    ]
    excess = tx.execute(sa.select(sa.func.coalesce(sa.func.sum(receipts.c.excess_nanos), 0))).scalar_one()
    moved = tx.execute(
        sa.select(sa.func.coalesce(sa.func.sum(transfers.c.amount_nanos), 0)).where(transfers.c.kind == "excess")
    ).scalar_one()
    if int(excess) != int(moved):
        found.append(f"receipts say {excess} of excess, transfers {moved}")
    return found


def _days(tx: sa.Connection) -> list[str]:
    names = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens", "amount_nanos")
    days = tx.execute(sa.select(*[sa.func.coalesce(sa.func.sum(usage_days.c[name]), 0) for name in names])).one()
    lines = tx.execute(
        sa.select(
            sa.func.count(), *[sa.func.coalesce(sa.func.sum(receipts.c[name]), 0) for name in names[1:]]
        ).select_from(receipts)
    ).one()
    return [
        f"usage by day says {day} {name}, receipts say {line}"
        for name, day, line in zip(names, days, lines, strict=True)
        if int(day) != int(line)
    ]


def _prices(rows: dict[str, Any], book: PriceBook) -> list[str]:
    found = []
    for row in rows.values():
        cost = book.version(row.price_version).charge(_usage(row))
        if cost != row.amount_nanos + row.excess_nanos:
            found.append(
                f"receipt {row.request_id} says {row.amount_nanos} + {row.excess_nanos}, its tokens cost {cost}"
            )
    return found


def _journals(tx: sa.Connection, folder: Path, rows: dict[str, Any]) -> tuple[int, list[str]]:
    waiting, found = 0, []
    for journal in tx.execute(sa.select(journals)):
        at, cursor = Position(1, 0), (journal.cursor_segment, journal.cursor_offset)
        while records := read_on(folder / journal.id, at):
            for record, position in records:
                if not isinstance(record, Closed):
                    continue
                row = rows.get(record.opened.request_id)
                if row is None and journal.state == "open" and position >= cursor:
                    waiting += 1
                elif row is None:
                    found.append(f"journal {journal.id} closed {record.opened.request_id}, there is no receipt")
                elif (row.amount_nanos, row.excess_nanos) != (record.amount_nanos, record.excess_nanos):
                    found.append(f"receipt {row.request_id} differs from its journal")
    return waiting, found


def _engines(tx: sa.Connection, rows: dict[str, Any], book: PriceBook, counts: dict[str, Usage]) -> list[str]:
    prefix = "unbilled:"
    unbilled = {
        row.request_key.removeprefix(prefix): row.amount_nanos
        for row in tx.execute(sa.select(transfers).where(transfers.c.kind == "unbilled"))
    }
    found = []
    for request_id, usage in counts.items():
        row = rows.get(request_id)
        if row is None:
            continue  # still open or journaled, or a probe of the operator's own
        worth = book.version(row.price_version).charge(usage)
        booked = row.amount_nanos + row.excess_nanos + unbilled.get(request_id, 0)
        if worth > booked:
            found.append(f"the engine counted {worth} for {request_id}, the books have {booked}")
        if worth < booked and not row.estimated:
            found.append(f"{request_id} was billed {booked}, the engine counted {worth}")
    return found


def _usage(row: Any) -> Usage:
    return Usage(row.prompt_tokens, row.completion_tokens, row.cached_tokens)


def _sums(tx: sa.Connection, column: sa.ColumnElement[str], where: sa.ColumnElement[bool]) -> dict[str, int]:
    query = sa.select(column, sa.func.sum(transfers.c.amount_nanos)).where(where).group_by(column)
    return {row[0]: int(row[1]) for row in tx.execute(query)}


def _count(tx: sa.Connection, table: sa.Table) -> int:
    return int(tx.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())
