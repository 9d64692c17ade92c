"""The audit: proves that the books balance and that engines, journals, receipts and accounts say the same.

Each check is one query or one pass that returns sentences about what disagrees; an empty list is the proof. Runs on
one snapshot of the database, beside living relays; it changes nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from openmaas.core.money import NANO, show_amount
from openmaas.core.usage import UNITS, Usage
from openmaas.ledger.law import BOUNDED, accounts, charges, corrections, leases, receipts, transfers, usage_days
from openmaas.ledger.law_sold import voucher_batches as batches
from openmaas.ledger.law_sold import vouchers
from openmaas.ledger.legs import Leg
from openmaas.ledger.papers.invoice_audit import check_invoices
from openmaas.ledger.papers.rerating import right
from openmaas.ledger.posting.batch import gaps_of, unbilled_key
from openmaas.ledger.posting.journal_audit import check_counted, check_journals
from openmaas.ledger.posting.rows import legs_of, usage_of
from openmaas.ledger.posting.writing_off import lost
from openmaas.ledger.prices import PriceBook, list_prices, price_book

#: What usage by day counts beside amounts.
_COUNTS = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens")
_UNITS = {unit: f"units_{unit}" for unit in UNITS}


class Report(msgspec.Struct):
    """What the audit found. ``disagreements`` is empty when all agrees; ``lost`` names journals that are not here."""

    accounts: int
    transfers: int
    receipts: int
    journaled: int
    engine_counts: int
    charged: dict[str, str]
    lost: list[str]
    disagreements: list[str]


def audit(tx: sa.Connection, folder: Path, counts: dict[str, Usage]) -> Report:
    """Check everything. ``counts`` are all that engines here counted, by request id, read before; ``folder`` holds the
    journals."""
    book = price_book(tx)
    rows = {row.request_id: row for row in tx.execute(sa.select(receipts))}
    lines: dict[str, list[Any]] = defaultdict(list)
    for line in tx.execute(sa.select(charges)):
        lines[line.request_id].append(line)
    legs = legs_of(line for each in lines.values() for line in each)
    found = [
        *_double_entry(tx),
        *_leases(tx),
        *_charges(tx),
        *_vouchers(tx),
        *_days(tx, rows, lines),
        *check_invoices(tx),
        *_prices(rows, lines, legs, book),
        *_corrections(tx, rows, lines, legs),
    ]
    waiting, told = check_journals(tx, folder, rows, lines)
    found += told
    found += _engines(tx, rows, legs, book, counts)
    found += check_counted(tx, folder, [name for name in counts if name not in rows and name not in waiting])
    charged: Counter[str] = Counter()
    for each in lines.values():
        charged.update({_currency(line): line.amount_nanos for line in each if line.part == 0})
    return Report(
        accounts=_count(tx, accounts),
        transfers=_count(tx, transfers),
        receipts=len(rows),
        journaled=sum(waiting.values()),
        engine_counts=len(counts),
        charged={currency: show_amount(nanos) for currency, nanos in charged.items()},
        lost=lost(tx, folder),
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
        free = row.posted_nanos + row.credit_nanos - row.pending_nanos - row.leased_nanos
        if row.kind in BOUNDED and free < 0:
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
            sa.select(charges.c.transfer_id, sa.func.sum(charges.c.amount_nanos)).group_by(charges.c.transfer_id)
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


def _vouchers(tx: sa.Connection) -> list[str]:
    worth = sa.select(vouchers.c.transfer_id, batches.c.amount_nanos).join(batches, batches.c.id == vouchers.c.batch_id)
    redeemed = {row[0]: row[1] for row in tx.execute(worth.where(vouchers.c.transfer_id.is_not(None)))}
    moved = {row.id: row.amount_nanos for row in tx.execute(sa.select(transfers).where(transfers.c.kind == "voucher"))}
    return [
        f"voucher transfer {name} moved {moved.get(name, 0)}, its voucher says {redeemed.get(name, 0)}"
        for name in sorted(redeemed.keys() | moved.keys())
        if moved.get(name) != redeemed.get(name)
    ]


def _days(tx: sa.Connection, rows: dict[str, Any], lines: dict[str, list[Any]]) -> list[str]:
    said: Counter[str] = Counter()
    for row in tx.execute(sa.select(usage_days)):
        said.update({name: getattr(row, name) for name in (*_COUNTS, *_UNITS.values())})
        said[row.currency] += row.amount_nanos
    told = Counter({"requests": len(rows)})
    for receipt in rows.values():
        told.update({name: getattr(receipt, name) for name in _COUNTS[1:]})
        told.update({_UNITS[unit]: count for unit, count in usage_of(receipt).units})
    for charge in (line for each in lines.values() for line in each if line.part == 0):
        told[_currency(charge)] += charge.amount_nanos
    first = (charges.c.request_id == corrections.c.request_id) & (charges.c.account_id == corrections.c.account_id)
    for row in tx.execute(sa.select(corrections).join(charges, first).where(charges.c.part == 0)):
        told[_currency(row)] -= row.change_nanos
    names = sorted(said.keys() | told.keys())
    return [f"usage by day says {said[n]} {n}, receipts say {told[n]}" for n in names if said[n] != told[n]]


def _prices(
    rows: dict[str, Any], lines: dict[str, list[Any]], legs: dict[str, list[Leg]], book: PriceBook
) -> list[str]:
    found = []
    for request_id, row in rows.items():
        usage = usage_of(row)
        paid, excess = book.bill(legs[request_id], usage, row.opened_ms, batch=row.batch)
        if any(line.amount_nanos != paid[line.leg] for line in lines[request_id]) or row.excess_nanos != excess:
            said = ", ".join(f"{line.account_id} {line.amount_nanos}" for line in lines[request_id])
            found.append(f"receipt {request_id} says {said}, excess {row.excess_nanos}; it costs {paid}, {excess}")
    return found


def _corrections(
    tx: sa.Connection, rows: dict[str, Any], lines: dict[str, list[Any]], legs: dict[str, list[Leg]]
) -> list[str]:
    """Transfers against their rows; and every corrected charge against the prices that there were when it was."""
    moved: Counter[str] = Counter()
    net: Counter[tuple[str, str]] = Counter()
    newest: dict[tuple[str, str], int] = {}
    for row in tx.execute(sa.select(corrections).order_by(corrections.c.price_version)):
        moved[row.transfer_id] += row.change_nanos
        net[row.request_id, row.account_id] += row.change_nanos
        newest[row.request_id, row.account_id] = row.price_version
    found = [
        f"correction {row.id} moved {row.amount_nanos}, its rows say {moved[row.id]}"
        for row in tx.execute(sa.select(transfers).where(transfers.c.kind == "correction"))
        if (row.amount_nanos if row.debit.startswith(("revenue:", "counted:")) else -row.amount_nanos) != moved[row.id]
    ]
    known = list_prices(tx) if newest else []
    books = {v: PriceBook([price for price in known if price.version <= v]) for v in set(newest.values())}
    for (request_id, account_id), version in newest.items():
        due, _ = right(rows[request_id], legs[request_id], books[version])
        line = next(line for line in lines[request_id] if line.account_id == account_id)
        paid = line.amount_nanos - net[request_id, account_id]
        if paid != due[line.leg]:
            found.append(f"receipt {request_id} was corrected to {paid} of {account_id}; it costs {due[line.leg]}")
    return found


def _engines(
    tx: sa.Connection, rows: dict[str, Any], legs: dict[str, list[Leg]], book: PriceBook, counts: dict[str, Usage]
) -> list[str]:
    unbilled = {
        row.request_key: row.amount_nanos
        for row in tx.execute(sa.select(transfers).where(transfers.c.kind == "unbilled"))
    }
    found = []
    for request_id, usage in counts.items():
        row = rows.get(request_id)
        if row is None:
            continue  # see ``check_counted``
        for number, gap in enumerate(gaps_of(row, legs[request_id], book, usage)):
            rest = gap - unbilled.get(unbilled_key(request_id, number), 0)
            if rest > 0:
                found.append(f"the engine counted {rest} for {request_id} that the books do not have")
            if rest < 0 and not row.estimated:
                found.append(f"{request_id} was billed {-rest} that the engine did not count")
    return found


def _currency(charge: Any) -> str:
    return str(charge.account_id.rpartition(":")[2])


def _sums(tx: sa.Connection, column: sa.ColumnElement[str], where: sa.ColumnElement[bool]) -> dict[str, int]:
    """By account: what moved in all its life, which is more than SQLite's ``sum`` can hold. So in two parts."""
    parts = sa.func.sum(transfers.c.amount_nanos // NANO), sa.func.sum(transfers.c.amount_nanos % NANO)
    query = sa.select(column, *parts).where(where).group_by(column)
    return {row[0]: int(row[1]) * NANO + int(row[2]) for row in tx.execute(query)}


def _count(tx: sa.Connection, table: sa.Table) -> int:
    return int(tx.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())
