"""Posting: closed requests become receipts and transfers, each once, many in one transaction.

A receipt is the line of one request and its key is the request's id, so a record that is read twice is posted once.
Each batch makes one transfer per wallet, the sum of its receipts. The journal's cursor moves in the same transaction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from openmaas.core.clock import Clock, iso_utc
from openmaas.core.usage import Usage
from openmaas.ledger.book import find_account, open_account, own_id, wallet_id
from openmaas.ledger.law import accounts, journals, leases, receipts, transfers, usage_days
from openmaas.ledger.prices import price_book
from openmaas.ledger.records import Closed
from openmaas.store.database import upsert


def post(
    tx: sa.Connection,
    clock: Clock,
    journal_id: str,
    closed: list[Closed],
    *,
    cursor: tuple[int, int],
    floor: tuple[int, int],
) -> list[Closed]:
    """Post a batch and move the cursor. Returns those that were not posted before."""
    known = set(
        tx.execute(
            sa.select(receipts.c.request_id).where(
                receipts.c.request_id.in_([record.opened.request_id for record in closed])
            )
        ).scalars()
    )
    fresh = [record for record in closed if record.opened.request_id not in known]
    by_wallet: dict[str, list[Closed]] = defaultdict(list)
    for record in fresh:
        by_wallet[wallet_id(record.opened.organisation_id, record.opened.currency)].append(record)
    for wallet, group in by_wallet.items():
        _post_wallet(tx, clock, journal_id, wallet, group)
    _post_excess(tx, clock, fresh)
    _count_days(tx, fresh)
    tx.execute(
        journals.update()
        .where(journals.c.id == journal_id)
        .values(cursor_segment=cursor[0], cursor_offset=cursor[1], floor_segment=floor[0], floor_offset=floor[1])
    )
    return fresh


def retire(tx: sa.Connection, journal_id: str, state: str = "replayed") -> int:
    """The journal was posted to its end: what its relay still leased is free again. Returns that amount."""
    freed = 0
    for row in tx.execute(sa.select(leases).where(leases.c.journal_id == journal_id)).all():
        tx.execute(
            accounts.update()
            .where(accounts.c.id == row.account_id)
            .values(leased_nanos=accounts.c.leased_nanos - row.granted_nanos)
        )
        freed += row.granted_nanos
    tx.execute(leases.delete().where(leases.c.journal_id == journal_id))
    tx.execute(journals.update().where(journals.c.id == journal_id).values(state=state))
    return freed


def post_unbilled(tx: sa.Connection, clock: Clock, counts: dict[str, Usage]) -> int:
    """Book what engines counted above what their receipts say, to ``unbilled``. Returns the sum.

    The customer pays what the receipt says; the difference is work that was done and that nobody pays for.
    """
    book = price_book(tx)
    total = 0
    rows = tx.execute(sa.select(receipts).where(receipts.c.request_id.in_(list(counts)))).all()
    for row in rows:
        gap = book.version(row.price_version).charge(counts[row.request_id]) - row.amount_nanos - row.excess_nanos
        key = f"unbilled:{row.request_id}"
        if gap > 0 and tx.execute(sa.select(transfers.c.id).where(transfers.c.request_key == key)).scalar() is None:
            _transfer(tx, clock, key, "unbilled", own_id("unbilled", row.currency), row.currency, gap)
            total += gap
    return total


def _post_wallet(tx: sa.Connection, clock: Clock, journal_id: str, wallet: str, group: list[Closed]) -> None:
    open_account(tx, wallet)
    account = find_account(tx, wallet)
    total = sum(record.amount_nanos for record in group)
    transfer_id: str | None = None
    if total:
        key = f"charge:{group[0].opened.request_id}"
        transfer_id = _transfer(tx, clock, key, "charge", wallet, account.currency, total)
        held = (leases.c.account_id == wallet) & (leases.c.journal_id == journal_id)
        tx.execute(leases.update().where(held).values(granted_nanos=leases.c.granted_nanos - total))
    balance = account.posted_nanos
    rows: list[dict[str, Any]] = []
    for record in group:
        balance -= record.amount_nanos
        rows.append(receipt_row(record, journal_id, transfer_id, balance, clock.wall_ms()))
    tx.execute(receipts.insert(), rows)


def receipt_row(
    record: Closed, journal_id: str, transfer_id: str | None, balance_nanos: int, posted_ms: int
) -> dict[str, Any]:
    """The row of ``receipts`` for a closed request."""
    opened, usage = record.opened, record.usage
    return {
        "request_id": opened.request_id,
        "journal_id": journal_id,
        "transfer_id": transfer_id if record.amount_nanos else None,
        "organisation_id": opened.organisation_id,
        "project_id": opened.project_id,
        "key_id": opened.key_id,
        "model": opened.model,
        "deployment_id": opened.deployment_id,
        "opened_ms": opened.opened_ms,
        "closed_ms": record.closed_ms,
        "first_byte_ms": record.first_byte_ms,
        "outcome": record.outcome,
        "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cached_tokens,
        "completion_tokens": usage.completion_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "estimated": usage.estimated,
        "price_version": opened.price_version,
        "currency": opened.currency,
        "hold_nanos": opened.hold_nanos,
        "amount_nanos": record.amount_nanos,
        "excess_nanos": record.excess_nanos,
        "balance_nanos": balance_nanos,
        "posted_ms": posted_ms,
    }


def _post_excess(tx: sa.Connection, clock: Clock, fresh: Iterable[Closed]) -> None:
    for record in fresh:
        if record.excess_nanos:
            currency = record.opened.currency
            key = f"excess:{record.opened.request_id}"
            _transfer(tx, clock, key, "excess", own_id("operator_excess", currency), currency, record.excess_nanos)


def _transfer(tx: sa.Connection, clock: Clock, key: str, kind: str, debit: str, currency: str, nanos: int) -> str:
    revenue = own_id("revenue", currency)
    open_account(tx, debit)
    open_account(tx, revenue)
    transfer_id = clock.new_id("tra")
    tx.execute(
        transfers.insert().values(
            id=transfer_id,
            request_key=key,
            kind=kind,
            state="posted",
            debit=debit,
            credit=revenue,
            amount_nanos=nanos,
            memo="",
            at_ms=clock.wall_ms(),
        )
    )
    for account_id, change in ((debit, -nanos), (revenue, nanos)):
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
    sums: dict[tuple[str, ...], list[int]] = {}
    for record in fresh:
        opened, usage = record.opened, record.usage
        day = iso_utc(opened.opened_ms)[:10]
        key = (day, opened.organisation_id, opened.project_id, opened.key_id, opened.model, opened.currency)
        line = sums.setdefault(key, [0, 0, 0, 0, 0])
        more = (1, usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens, record.amount_nanos)
        sums[key] = [a + b for a, b in zip(line, more, strict=True)]
    names = [column.name for column in usage_days.columns]
    if sums:
        upsert(tx, usage_days, [dict(zip(names, (*key, *line), strict=True)) for key, line in sums.items()])
