"""The book of leases: slices of accounts that a relay may spend, as pure functions of one transaction.

Every account with a bound is leased alike. An account that counts one window (of a plan, or of a budget) is made by the
first lease that meets it (``filling``); a rolling one gets back what is due.

A relay numbers its steps on each account. A step that was done before returns what it returned then: a relay whose
commit went through and whose answer was lost asks again.
"""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from openmaas.core.clock import Clock
from openmaas.core.errors import StoreFailed
from openmaas.core.money import show_amount
from openmaas.ledger.book import Account, add, find_account, open_account, own_id, transfer
from openmaas.ledger.law import journals, leases, returns
from openmaas.ledger.spending.filling import filled
from openmaas.ledger.spending.holds import Fill
from openmaas.store.changes import note
from openmaas.store.outbox import announce


class Step(msgspec.Struct, frozen=True):
    """Who leases: one relay's life, and the number of its step on this account."""

    journal_id: str
    turn: int


def open_journal(tx: sa.Connection, journal_id: str, home: str, now_ms: int) -> None:
    """Register the journal of a relay's life; its leases hang on it. The same again changes nothing."""
    if tx.execute(sa.select(journals.c.id).where(journals.c.id == journal_id)).scalar() is None:
        start = {"cursor_segment": 1, "cursor_offset": 0, "floor_segment": 1, "floor_offset": 0}
        tx.execute(journals.insert().values(id=journal_id, home=home, started_ms=now_ms, state="open", **start))


def need_open(tx: sa.Connection, journal_id: str) -> None:
    """Raises ``StoreFailed`` when the journal was posted to its end or written off: what comes then is too late, as a
    commit is that was on its way when its relay died."""
    state = tx.execute(sa.select(journals.c.state).where(journals.c.id == journal_id)).scalar()
    if state != "open":
        raise StoreFailed(f"the journal {journal_id} is {state}: its relay may lease and post no more")


def last_turn(tx: sa.Connection, account_id: str, journal_id: str) -> int:
    """The number of the last step that this relay did on this account; 0 before the first."""
    return int(tx.execute(sa.select(leases.c.turn).where(_of(account_id, journal_id))).scalar() or 0)


def lease(
    tx: sa.Connection,
    clock: Clock,
    account_id: str,
    step: Step,
    *,
    least_nanos: int,
    wish_nanos: int,
    share: int,
    fill: Fill | None = None,
) -> int:
    """Lease a slice of an account to a relay: ``wish_nanos``, at most one part in ``share`` of what is free, but at
    least ``least_nanos``. Returns the slice: less than ``least_nanos`` when there is no more, 0 when all is gone."""
    done = _done(tx, step, account_id)
    if done is not None:
        return done
    account = filled(tx, clock, account_id, fill) if fill else open_account(tx, account_id)
    if account.returns_after_ms is not None:
        account = refill(tx, clock, account)
    if account.cut_nanos:
        account = take_cut(tx, clock, account)
    granted = max(0, min(account.free_nanos, max(least_nanos, min(wish_nanos, account.free_nanos // share))))
    if granted < least_nanos and not account.leased_nanos:  # nobody can give any back
        _exhausted(tx, clock, account, least_nanos)
    add(tx, account_id, leased_nanos=granted)
    _note(tx, step, account_id, granted, granted)
    return granted


def give_back(tx: sa.Connection, account_id: str, step: Step, nanos: int) -> int:
    """Return an unused part of a lease; grants 0. The CHECKs refuse more than was granted."""
    if _done(tx, step, account_id) is None:
        add(tx, account_id, leased_nanos=-nanos)
        _note(tx, step, account_id, -nanos, 0)
    return 0


def _exhausted(tx: sa.Connection, clock: Clock, account: Account, need_nanos: int) -> None:
    hour = clock.wall_ms() // 3_600_000
    amounts = {"free": show_amount(account.free_nanos), "needed": show_amount(need_nanos)}
    told = {"account_id": account.id, "kind": account.kind, "currency": account.currency, **amounts}
    announce(tx, clock, account.owner, "account.exhausted", told, once=f"exhausted:{account.id}:{hour}")


def leased_elsewhere(tx: sa.Connection, account_id: str, journal_id: str) -> tuple[Account, int]:
    """The account, and how much of it other relays lease."""
    others = (leases.c.account_id == account_id) & (leases.c.journal_id != journal_id)
    nanos = tx.execute(sa.select(sa.func.coalesce(sa.func.sum(leases.c.granted_nanos), 0)).where(others)).scalar_one()
    return find_account(tx, account_id), int(nanos)


def recall(tx: sa.Connection, account_id: str, asker: str = "") -> None:
    """Ask every relay but ``asker`` to give back what it leases of this account and does not use."""
    note(tx, "recall", f"{account_id} {asker}")


def refill(tx: sa.Connection, clock: Clock, account: Account) -> Account:
    """Give a rolling window back what was charged long enough ago."""
    due = (returns.c.account_id == account.id) & (returns.c.due_ms <= clock.wall_ms())
    rows = tx.execute(sa.select(returns.c.transfer_id, returns.c.amount_nanos).where(due)).all()
    if not rows:
        return account
    last, nanos = max(row.transfer_id for row in rows), sum(row.amount_nanos for row in rows)
    if nanos:  # nothing, when corrections gave all of it back before
        debit, key = own_id("counted", account.currency), f"return:{last}"
        transfer(tx, clock, request_key=key, kind="return", debit=debit, credit=account.id, amount_nanos=nanos)
    tx.execute(returns.delete().where(due))
    return open_account(tx, account.id)


def take_cut(tx: sa.Connection, clock: Clock, account: Account) -> Account:
    """Take of what is free what a lowered budget is to give up. Every lease does it first."""
    nanos = min(account.cut_nanos, account.free_nanos)
    if nanos == 0:
        return account
    transfer(
        tx,
        clock,
        request_key=f"cut:{clock.new_id('cut')}",
        kind="grant",
        debit=account.id,
        credit=own_id("allowance", account.currency),
        amount_nanos=nanos,
    )
    add(tx, account.id, cut_nanos=-nanos)
    return open_account(tx, account.id)


def free_again_ms(tx: sa.Connection, account_id: str, nanos: int) -> int | None:
    """When a rolling window will have got ``nanos`` back; None when it will not."""
    query = sa.select(returns.c.amount_nanos, returns.c.due_ms).where(returns.c.account_id == account_id)
    for row in tx.execute(query.order_by(returns.c.due_ms)):
        nanos -= row.amount_nanos
        if nanos <= 0:
            return int(row.due_ms)
    return None


def _done(tx: sa.Connection, step: Step, account_id: str) -> int | None:
    """What this step granted when it was done before; None when it was not. Raises as ``need_open``."""
    need_open(tx, step.journal_id)
    row = tx.execute(sa.select(leases.c.turn, leases.c.turn_nanos).where(_of(account_id, step.journal_id))).first()
    if row is None or row.turn < step.turn:
        return None
    # An older one comes late: whoever asked has left, and it was asked again before the newer one.
    return int(row.turn_nanos) if row.turn == step.turn else 0


def _note(tx: sa.Connection, step: Step, account_id: str, change_nanos: int, turn_nanos: int) -> None:
    changed = tx.execute(
        leases.update()
        .where(_of(account_id, step.journal_id))
        .values(granted_nanos=leases.c.granted_nanos + change_nanos, turn=step.turn, turn_nanos=turn_nanos)
    )
    if changed.rowcount == 0:
        row = {"account_id": account_id, "journal_id": step.journal_id, "granted_nanos": change_nanos}
        tx.execute(leases.insert().values(**row, turn=step.turn, turn_nanos=turn_nanos))


def _of(account_id: str, journal_id: str) -> sa.ColumnElement[bool]:
    return (leases.c.account_id == account_id) & (leases.c.journal_id == journal_id)
