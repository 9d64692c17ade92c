"""Posting: closed requests become receipts, charges and transfers, each once, many in one transaction.

A receipt is the line of one request and its key is the request's id, so a record that is read twice is posted once.
Each batch makes one transfer per account, the sum of its charges. The journal's cursor moves in the same transaction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import msgspec
import sqlalchemy as sa

from openmaas.core.clock import Clock, iso_utc
from openmaas.core.money import CREDITS, TOKENS, show_amount
from openmaas.core.usage import UNITS, Usage
from openmaas.ledger.book import Account, make_room, open_account, own_id
from openmaas.ledger.law import accounts, charges, journals, leases, receipts, returns, transfers, usage_days
from openmaas.ledger.law_sold import payers
from openmaas.ledger.legs import Leg
from openmaas.ledger.posting.rows import Row, charge_rows, charges_of, legs_of, receipt_row, usage_of
from openmaas.ledger.prices import PriceBook, price_book
from openmaas.ledger.spending.leasing import need_open
from openmaas.ledger.writing.records import Closed
from openmaas.store.database import upsert
from openmaas.store.outbox import announce


def post(
    tx: sa.Connection,
    clock: Clock,
    journal_id: str,
    closed: list[Closed],
    *,
    cursor: tuple[int, int],
    floor: tuple[int, int],
) -> list[Closed]:
    """Post a batch and move the cursor. Returns those that were not posted before. Raises as ``need_open``."""
    need_open(tx, journal_id)
    known = set(
        tx.execute(
            sa.select(receipts.c.request_id).where(
                receipts.c.request_id.in_([record.opened.request_id for record in closed])
            )
        ).scalars()
    )
    fresh = [record for record in closed if record.opened.request_id not in known]
    lines = [line for record in fresh for line in charge_rows(record)]
    by_account: dict[str, list[Row]] = defaultdict(list)
    for line in lines:
        by_account[line["account_id"]].append(line)
    for account_id in sorted(by_account):  # one order for everybody, so that two posters never wait for each other
        _charge(tx, clock, journal_id, account_id, by_account[account_id])
    if fresh:
        balances = {line["request_id"]: line["balance_nanos"] for line in lines if line["part"] == 0}  # of the last leg
        now_ms = clock.wall_ms()
        rows = [receipt_row(r, journal_id, balances[r.opened.request_id], now_ms) for r in fresh]
        tx.execute(receipts.insert(), rows)
        tx.execute(charges.insert(), lines)
    _post_excess(tx, clock, fresh)
    _count_days(tx, fresh)
    tx.execute(
        journals.update()
        .where(journals.c.id == journal_id)
        .values(cursor_segment=cursor[0], cursor_offset=cursor[1], floor_segment=floor[0], floor_offset=floor[1])
    )
    return fresh


def retire(tx: sa.Connection, journal_id: str, state: str = "replayed") -> dict[str, int]:
    """The journal was posted to its end: what its relay still leased is free again. Returns that, by account.

    Raises as ``need_open``.
    """
    need_open(tx, journal_id)
    freed = {}
    for row in tx.execute(sa.select(leases).where(leases.c.journal_id == journal_id)).all():
        tx.execute(
            accounts.update()
            .where(accounts.c.id == row.account_id)
            .values(leased_nanos=accounts.c.leased_nanos - row.granted_nanos)
        )
        if row.granted_nanos:
            freed[row.account_id] = row.granted_nanos
    tx.execute(leases.delete().where(leases.c.journal_id == journal_id))
    tx.execute(journals.update().where(journals.c.id == journal_id).values(state=state))
    return freed


def mark_settled(tx: sa.Connection, settled: dict[str, int]) -> None:
    """Note, for each journal, that all that was opened before a moment (ms) is posted: invoices wait for it."""
    for journal_id, moment_ms in sorted(settled.items()):
        tx.execute(journals.update().where(journals.c.id == journal_id).values(settled_ms=moment_ms))


def post_unbilled(tx: sa.Connection, clock: Clock, counts: dict[str, Usage]) -> int:
    """Book what engines counted above what their receipts say, to ``unbilled``. Returns how many requests that met.

    The customer pays what the receipt says; the difference is work that was done and that nobody pays for, told for
    each leg in its own currency.
    """
    if not counts:
        return 0
    book, ids, met = price_book(tx), list(counts), 0
    legs = legs_of(tx.execute(charges_of(ids)).all())
    for row in tx.execute(sa.select(receipts).where(receipts.c.request_id.in_(ids))).all():
        gaps = gaps_of(row, legs[row.request_id], book, counts[row.request_id])
        for number, (leg, gap) in enumerate(zip(legs[row.request_id], gaps, strict=True)):
            key = unbilled_key(row.request_id, number)
            if gap > 0 and tx.execute(sa.select(transfers.c.id).where(transfers.c.request_key == key)).scalar() is None:
                debit, credit = own_id("unbilled", leg.currency), worth_of(leg.currency)
                _transfer(tx, clock, key, "unbilled", debit, credit, gap)
                met += number == len(gaps) - 1
    return met


def unbilled_key(request_id: str, leg: int) -> str:
    """The key of the transfer that books what an engine counted and nobody pays on this leg."""
    return f"unbilled:{request_id}:{leg}"


def gaps_of(receipt: Any, legs: list[Leg], book: PriceBook, counted: Usage) -> list[int]:
    """By leg, in its currency: what ``counted`` would have cost above what the receipt says; below 0 when less."""
    billed = usage_of(receipt)
    counted = msgspec.structs.replace(counted, reasoning_tokens=billed.reasoning_tokens)
    found = []
    for usage, sign in ((counted, 1), (billed, -1)):
        paid, excess = book.bill(legs, usage, receipt.opened_ms, batch=receipt.batch)
        found.append([sign * nanos for nanos in (*paid[:-1], paid[-1] + excess)])
    return [sum(pair) for pair in zip(*found, strict=True)]


def worth_of(currency: str) -> str:
    """The account that work of the operator's own goes to."""
    return own_id("counted" if currency in (CREDITS, TOKENS) else "revenue", currency)


def _charge(tx: sa.Connection, clock: Clock, journal_id: str, account_id: str, lines: list[Row]) -> None:
    account = open_account(tx, account_id)
    total = sum(line["amount_nanos"] for line in lines)
    transfer_id: str | None = None
    if total:
        key = f"charge:{account_id}:{lines[0]['request_id']}"
        # Money of a wallet is earned; everything else was sold or given before, and is only counted.
        credit = own_id("revenue" if account.kind == "wallet" else "counted", account.currency)
        transfer_id = _transfer(tx, clock, key, "charge", account_id, credit, total)
        held = (leases.c.account_id == account_id) & (leases.c.journal_id == journal_id)
        tx.execute(leases.update().where(held).values(granted_nanos=leases.c.granted_nanos - total))
        if account.returns_after_ms is not None:
            due_ms = clock.wall_ms() + account.returns_after_ms
            row = {"transfer_id": transfer_id, "account_id": account_id, "amount_nanos": total, "due_ms": due_ms}
            tx.execute(returns.insert().values(row))
        _alert(tx, clock, account, total)
    balance = account.posted_nanos
    for line in lines:
        balance -= line["amount_nanos"]
        line["balance_nanos"], line["transfer_id"] = balance, transfer_id if line["amount_nanos"] else None


def _alert(tx: sa.Connection, clock: Clock, account: Account, total: int) -> None:
    """Tell an organisation when a charge of ``total`` takes its wallet below the threshold that it has set."""
    if account.kind != "wallet":
        return
    alert = tx.execute(sa.select(payers.c.alert_nanos).where(payers.c.organisation_id == account.owner)).scalar()
    left = account.posted_nanos - total
    if alert is not None and left < alert <= account.posted_nanos:
        told = {"currency": account.currency, "balance": show_amount(left), "alert": show_amount(alert)}
        announce(tx, clock, account.owner, "wallet.low", told)


def _post_excess(tx: sa.Connection, clock: Clock, fresh: Iterable[Closed]) -> None:
    for record in fresh:
        if record.excess_nanos:
            currency = record.opened.legs[-1].currency
            key = f"excess:{record.opened.request_id}"
            debit, credit = own_id("operator_excess", currency), worth_of(currency)
            _transfer(tx, clock, key, "excess", debit, credit, record.excess_nanos)


def _transfer(tx: sa.Connection, clock: Clock, key: str, kind: str, debit: str, credit: str, nanos: int) -> str:
    make_room(tx, clock, open_account(tx, debit), -nanos)
    make_room(tx, clock, open_account(tx, credit), nanos)
    transfer_id = clock.new_id("tra")
    tx.execute(
        transfers.insert().values(
            id=transfer_id,
            request_key=key,
            kind=kind,
            state="posted",
            debit=debit,
            credit=credit,
            amount_nanos=nanos,
            memo="",
            at_ms=clock.wall_ms(),
        )
    )
    for account_id, change in ((debit, -nanos), (credit, nanos)):
        tx.execute(
            accounts.update()
            .where(accounts.c.id == account_id)
            .values(
                posted_nanos=accounts.c.posted_nanos + change,
                # one statement with the debit of a wallet, or the CHECK would see a moment of overdraft
                leased_nanos=accounts.c.leased_nanos + (change if kind == "charge" and account_id == debit else 0),
            )
        )
    return transfer_id


def _count_days(tx: sa.Connection, fresh: Iterable[Closed]) -> None:
    """Tokens and units count with the last leg, amounts with each."""
    sums: dict[tuple[str, ...], list[int]] = {}
    for record in fresh:
        opened, usage = record.opened, record.usage
        who = (iso_utc(opened.opened_ms)[:10], opened.organisation_id, opened.project_id, opened.key_id, opened.model)
        for number, (leg, paid) in enumerate(zip(opened.legs, record.paid_nanos, strict=True), 1 - len(opened.legs)):
            line = sums.setdefault((*who, leg.currency), [0] * (5 + len(UNITS)))
            if number == 0:
                units = dict(usage.units)
                counts = (1, usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens, 0)
                more = (*counts, *(units.get(unit, 0) for unit in UNITS))
                line[:] = [a + b for a, b in zip(line, more, strict=True)]
            line[4] += paid
    names = [column.name for column in usage_days.columns]
    if sums:
        upsert(tx, usage_days, [dict(zip(names, (*key, *line), strict=True)) for key, line in sums.items()])
