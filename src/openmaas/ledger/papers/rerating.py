"""Re-rating: receipts of a period are priced again with what counts for it now, after an operator set a version with a
beginning in the past. The difference is booked as corrections; receipts and charges stay as they were.

What the customer gets back is always booked; what is dearer only when asked, and only as far as funds are free. Nobody
pays more than was held. Twice is once: only what differs from the charge and its corrections so far is moved.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from openmaas.core.bounds import RERATE_BATCH
from openmaas.core.clock import Clock, iso_utc
from openmaas.ledger.book import open_account, own_id, transfer
from openmaas.ledger.law import accounts, corrections, receipts, returns, usage_days
from openmaas.ledger.legs import Leg
from openmaas.ledger.posting.rows import Row, charges_of, legs_of, usage_of
from openmaas.ledger.prices import PriceBook, price_book
from openmaas.store.audit_log import Actor, audited
from openmaas.store.database import Database, upsert

#: Where a receipt stands: when it was opened (ms), and its id.
Place = tuple[int, str]


class Period(msgspec.Struct, frozen=True):
    """Whose receipts are priced again: of ``model``, opened from ``since_ms`` until before ``until_ms``."""

    model: str
    since_ms: int
    until_ms: int
    organisation_id: str | None = None


class Change(msgspec.Struct, frozen=True):
    """What one account gets back of one request (above 0), or pays more; ``booked`` says whether it is moved."""

    receipt: Any
    charge: Any
    price_version: int
    change_nanos: int
    booked: bool


class Outcome(msgspec.Struct):
    """What became of a period, by account: ``owed`` is what is dearer and was not taken."""

    receipts: int = 0
    given_nanos: dict[str, int] = {}
    taken_nanos: dict[str, int] = {}
    owed_nanos: dict[str, int] = {}

    def add(self, changes: list[Change], count: int) -> None:
        """Count a batch in."""
        self.receipts += count
        for change in changes:
            into = self.given_nanos if change.change_nanos > 0 else self.taken_nanos
            into = into if change.booked else self.owed_nanos
            into[change.charge.account_id] = into.get(change.charge.account_id, 0) + abs(change.change_nanos)


def rerate(
    database: Database, clock: Clock, period: Period, *, surcharge: bool, dry_run: bool, who: Actor | None = None
) -> Outcome:
    """Price a period again, each batch of receipts in a transaction of its own; a dry run books nothing. ``who`` did it
    is an entry of the audit log beside each batch."""
    done, after = Outcome(), (period.since_ms, "")
    told = {
        "since": iso_utc(period.since_ms),
        "until": iso_utc(period.until_ms),
        "organisation_id": period.organisation_id,
        "surcharge": surcharge,
    }
    correct = _correct if who is None else audited(who, "ledger.rerate", period.model, _correct, told)
    while True:
        promised = done.taken_nanos if dry_run else {}
        if dry_run:
            places, changes = database.look(plan, period, after, promised, surcharge=surcharge)
        else:
            places, changes = database.call(correct, clock, period, after, surcharge=surcharge)
        done.add(changes, len(places))
        if len(places) < RERATE_BATCH:
            return done
        after = places[-1]


def batch_of(period: Period, after: Place) -> sa.Select[Any]:
    """The query for the next receipts: along the index ``receipts_by_model``, however many others there are."""
    place = sa.tuple_(receipts.c.opened_ms, receipts.c.request_id)
    query = sa.select(receipts).where(
        receipts.c.model == period.model, receipts.c.opened_ms < period.until_ms, place > after
    )
    if period.organisation_id is not None:
        query = query.where(receipts.c.organisation_id == period.organisation_id)
    return query.order_by(receipts.c.opened_ms, receipts.c.request_id).limit(RERATE_BATCH)


def plan(
    tx: sa.Connection, period: Period, after: Place, promised: Mapping[str, int], *, surcharge: bool
) -> tuple[list[Place], list[Change]]:
    """The receipts of the next batch and what differs. ``promised`` was taken by batches before, and is not booked."""
    rows = tx.execute(batch_of(period, after)).all()
    ids = [row.request_id for row in rows]
    lines = tx.execute(charges_of(ids)).all()
    legs, book, before = legs_of(lines), price_book(tx), _corrected(tx, ids)
    by_leg: dict[tuple[str, int], list[Any]] = defaultdict(list)
    for line in lines:
        by_leg[line.request_id, line.leg].append(line)
    changes, free = [], _Free(tx, promised)
    for row in rows:
        paid, version = right(row, legs[row.request_id], book)
        for number, due in enumerate(paid):
            found = [
                (line, line.amount_nanos - before.get((row.request_id, line.account_id), 0) - due)
                for line in by_leg[row.request_id, number]
            ]
            found = [(line, change) for line, change in found if change and free.open_to(line)]
            booked = all(change > 0 for _, change in found) or (surcharge and free.take(found))
            changes += [Change(row, line, version, change, booked) for line, change in found]
    return [(row.opened_ms, row.request_id) for row in rows], changes


def right(receipt: Any, legs: list[Leg], book: PriceBook) -> tuple[tuple[int, ...], int]:
    """What each leg should have paid by ``book``, and the newest of the prices that say so."""
    ours = []
    for leg in legs:
        price = book.at(receipt.model, receipt.opened_ms, leg.currency, receipt.organisation_id)
        version = leg.price_version if price is None else price.version
        ours.append(Leg(leg.accounts, leg.currency, version, leg.hold_nanos))
    paid, _ = book.bill(ours, usage_of(receipt), receipt.opened_ms, batch=receipt.batch)
    return paid, max(leg.price_version for leg in ours)


class _Free:
    """What accounts have free, less what this batch takes."""

    def __init__(self, tx: sa.Connection, promised: Mapping[str, int]) -> None:
        self._tx = tx
        self._promised = promised
        self._left: dict[str, int] = {}

    def open_to(self, line: Any) -> bool:
        """False for a rolling window that has got the charge back already: there is nothing left to correct."""
        rolls = sa.select(accounts.c.returns_after_ms).where(accounts.c.id == line.account_id)
        if not line.account_id.startswith("window:") or self._tx.execute(rolls).scalar() is None:
            return True
        due = sa.select(returns.c.transfer_id).where(returns.c.transfer_id == line.transfer_id)
        return self._tx.execute(due).scalar() is not None

    def take(self, found: list[tuple[Any, int]]) -> bool:
        """Take a leg's surcharge from all of its accounts, or from none."""
        if any(self._of(line.account_id) + change < 0 for line, change in found):
            return False
        for line, change in found:
            self._left[line.account_id] += change
        return True

    def _of(self, account_id: str) -> int:
        if account_id not in self._left:
            free = open_account(self._tx, account_id).free_nanos
            self._left[account_id] = free - self._promised.get(account_id, 0)
        return self._left[account_id]


def _corrected(tx: sa.Connection, ids: list[str]) -> dict[tuple[str, str], int]:
    given: dict[tuple[str, str], int] = defaultdict(int)
    for row in tx.execute(sa.select(corrections).where(corrections.c.request_id.in_(ids))):
        given[row.request_id, row.account_id] += row.change_nanos
    return given


def _correct(
    tx: sa.Connection, clock: Clock, period: Period, after: Place, *, surcharge: bool
) -> tuple[list[Place], list[Change]]:
    places, changes = plan(tx, period, after, {}, surcharge=surcharge)
    moves: dict[tuple[bool, str], list[Change]] = defaultdict(list)
    for change in changes:
        if change.booked:
            moves[change.change_nanos < 0, change.charge.account_id].append(change)
    for (taken, account_id), group in sorted(moves.items()):  # in one order, and what is given back comes first
        _book(tx, clock, account_id, group, taken=taken)
    _count_days(tx, [change for group in moves.values() for change in group if change.charge.part == 0])
    return places, changes


def _book(tx: sa.Connection, clock: Clock, account_id: str, group: list[Change], *, taken: bool) -> None:
    account = open_account(tx, account_id)
    own = own_id("revenue" if account.kind == "wallet" else "counted", account.currency)
    first = group[0]
    moved = transfer(
        tx,
        clock,
        request_key=f"correction:{account_id}:{first.receipt.request_id}:{first.price_version}",
        kind="correction",
        debit=account_id if taken else own,
        credit=own if taken else account_id,
        amount_nanos=sum(abs(change.change_nanos) for change in group),
    )
    tx.execute(corrections.insert(), [_row(change, moved.id, moved.at_ms) for change in group])
    # A rolling window gets back what was paid, not what was first charged. Of what is nothing now the row stays, until
    # it is due: a request of the same transfer may yet pay more.
    if account.returns_after_ms is not None:
        for change in group:
            due = returns.c.transfer_id == change.charge.transfer_id
            tx.execute(returns.update().where(due).values(amount_nanos=returns.c.amount_nanos - change.change_nanos))


def _row(change: Change, transfer_id: str, at_ms: int) -> Row:
    return {
        "request_id": change.receipt.request_id,
        "price_version": change.price_version,
        "account_id": change.charge.account_id,
        "change_nanos": change.change_nanos,
        "transfer_id": transfer_id,
        "at_ms": at_ms,
    }


def _count_days(tx: sa.Connection, changes: list[Change]) -> None:
    sums: dict[tuple[str, ...], int] = defaultdict(int)
    for change in changes:
        row, currency = change.receipt, change.charge.account_id.rpartition(":")[2]
        day = iso_utc(row.opened_ms)[:10]
        sums[day, row.organisation_id, row.project_id, row.key_id, row.model, currency] -= change.change_nanos
    names = [column.name for column in usage_days.columns]
    if sums:
        none = dict.fromkeys(names, 0)  # it is money alone that changes
        rows = [{**none, **dict(zip(names, key, strict=False)), "amount_nanos": nanos} for key, nanos in sums.items()]
        upsert(tx, usage_days, rows)
