"""The book of the ledger: accounts, transfers and leases as pure functions of one transaction.

Each function either does all it says or raises and leaves nothing; the CHECKs of ``law.py`` stand behind it. Whoever
calls with the same ``request_key`` twice gets the first transfer again.
"""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from openmaas.core.clock import Clock
from openmaas.core.errors import Conflict, FieldInvalid, InsufficientFunds, ThingUnknown
from openmaas.core.money import show_amount
from openmaas.ledger.law import accounts, journals, leases, transfers
from openmaas.store.changes import note


class Account(msgspec.Struct, frozen=True):
    """An account and what it has promised. ``free_nanos`` is what can still be promised."""

    id: str
    kind: str
    owner: str
    currency: str
    posted_nanos: int
    pending_nanos: int
    leased_nanos: int

    @property
    def free_nanos(self) -> int:
        """Posted, less what is pending or leased."""
        return self.posted_nanos - self.pending_nanos - self.leased_nanos


class Transfer(msgspec.Struct, frozen=True):
    """One movement of money."""

    id: str
    request_key: str
    kind: str
    state: str
    debit: str
    credit: str
    amount_nanos: int
    pending_id: str | None
    memo: str
    at_ms: int


def wallet_id(organisation_id: str, currency: str) -> str:
    """The account an organisation pays from."""
    return f"wallet:{organisation_id}:{currency}"


def own_id(kind: str, currency: str) -> str:
    """One of the operator's own accounts: ``funding``, ``revenue``, ``unbilled``, ``operator_excess``."""
    return f"{kind}:{currency}"


def open_account(tx: sa.Connection, account_id: str) -> None:
    """Make the account when it is not there yet. The id says what it is."""
    kind, *owner, currency = account_id.split(":")
    found = tx.execute(sa.select(accounts.c.id).where(accounts.c.id == account_id)).scalar()
    if found is None:
        tx.execute(accounts.insert().values(id=account_id, kind=kind, owner="".join(owner), currency=currency))


def find_account(tx: sa.Connection, account_id: str) -> Account:
    """The account of this id. Raises ``ThingUnknown``."""
    row = tx.execute(sa.select(accounts).where(accounts.c.id == account_id)).mappings().first()
    if row is None:
        raise ThingUnknown(f"there is no account {account_id}", field="account")
    return Account(**row)


def list_accounts(
    tx: sa.Connection, *, owner: str | None = None, after: str = "", limit: int | None = None
) -> list[Account]:
    """Accounts by id, after ``after``."""
    query = sa.select(accounts).where(accounts.c.id > after).order_by(accounts.c.id).limit(limit)
    if owner is not None:
        query = query.where(accounts.c.owner == owner)
    return [Account(**row) for row in tx.execute(query).mappings()]


def transfer(
    tx: sa.Connection,
    clock: Clock,
    *,
    request_key: str,
    kind: str,
    debit: str,
    credit: str,
    amount_nanos: int,
    memo: str = "",
    pending: bool = False,
) -> Transfer:
    """Move ``amount_nanos`` from ``debit`` to ``credit``, or begin to (``pending``).

    Raises ``FieldInvalid`` for an amount that is not positive, ``InsufficientFunds`` when a wallet lacks it and
    ``Conflict`` when the key was used for another transfer.
    """
    if amount_nanos <= 0:
        raise FieldInvalid("amount must be above 0", field="amount")
    first = _by_key(tx, request_key)
    if first is not None:
        if (first.kind, first.debit, first.credit, first.amount_nanos) != (kind, debit, credit, amount_nanos):
            raise Conflict(f"the key {request_key!r} stands for another transfer", field="request_key")
        return first
    open_account(tx, debit)
    open_account(tx, credit)
    account = find_account(tx, debit)
    if account.kind == "wallet" and account.free_nanos < amount_nanos:
        missing = show_amount(amount_nanos - account.free_nanos, account.currency)
        raise InsufficientFunds(f"{missing} is missing")
    made = Transfer(
        id=clock.new_id("tra"),
        request_key=request_key,
        kind=kind,
        state="pending" if pending else "posted",
        debit=debit,
        credit=credit,
        amount_nanos=amount_nanos,
        pending_id=None,
        memo=memo,
        at_ms=clock.wall_ms(),
    )
    tx.execute(transfers.insert().values(msgspec.structs.asdict(made)))
    if pending:
        _add(tx, debit, pending_nanos=amount_nanos)
    else:
        _move(tx, made)
    return made


def settle(tx: sa.Connection, clock: Clock, pending_id: str, *, post: bool) -> Transfer:
    """Post or void a pending transfer, once. The same again returns the first; the opposite raises ``Conflict``."""
    row = tx.execute(sa.select(transfers).where(transfers.c.id == pending_id)).mappings().first()
    if row is None or row["state"] != "pending":
        raise ThingUnknown(f"there is no pending transfer {pending_id}", field="id")
    begun = Transfer(**row)
    state = "posted" if post else "voided"
    ended = _by_key(tx, f"end:{begun.id}")
    if ended is not None:
        if ended.state != state:
            raise Conflict(f"the transfer {pending_id} was already {ended.state}", field="id")
        return ended
    ended = msgspec.structs.replace(
        begun,
        id=clock.new_id("tra"),
        request_key=f"end:{begun.id}",
        state=state,
        pending_id=begun.id,
        at_ms=clock.wall_ms(),
    )
    tx.execute(transfers.insert().values(msgspec.structs.asdict(ended)))
    _add(tx, begun.debit, pending_nanos=-begun.amount_nanos)
    if post:
        _move(tx, ended)
    return ended


def top_up(
    tx: sa.Connection,
    clock: Clock,
    organisation_id: str,
    *,
    currency: str,
    amount_nanos: int,
    request_key: str,
    memo: str,
) -> Transfer:
    """Money that came in from outside, into the wallet of an organisation."""
    return transfer(
        tx,
        clock,
        request_key=f"topup:{organisation_id}:{request_key}",
        kind="topup",
        debit=own_id("funding", currency),
        credit=wallet_id(organisation_id, currency),
        amount_nanos=amount_nanos,
        memo=memo,
    )


def list_transfers(tx: sa.Connection, *, account_id: str | None, after: str, limit: int) -> list[Transfer]:
    """Transfers by id, which is the order in which they were made, after ``after``."""
    query = sa.select(transfers).where(transfers.c.id > after).order_by(transfers.c.id).limit(limit)
    if account_id is not None:
        query = query.where((transfers.c.debit == account_id) | (transfers.c.credit == account_id))
    return [Transfer(**row) for row in tx.execute(query).mappings()]


def open_journal(tx: sa.Connection, journal_id: str, now_ms: int) -> None:
    """Register the journal of a relay's life; its leases hang on it."""
    start = {"cursor_segment": 1, "cursor_offset": 0, "floor_segment": 1, "floor_offset": 0}
    tx.execute(journals.insert().values(id=journal_id, started_ms=now_ms, state="open", **start))


def lease(tx: sa.Connection, account_id: str, journal_id: str, *, least_nanos: int, wish_nanos: int, share: int) -> int:
    """Lease a slice of an account to a relay: ``wish_nanos``, at most one part in ``share`` of what is free, but at
    least ``least_nanos``. Returns the slice, or 0 when the free part is smaller than ``least_nanos``."""
    row = tx.execute(
        sa.select(accounts.c.posted_nanos - accounts.c.pending_nanos - accounts.c.leased_nanos).where(
            accounts.c.id == account_id
        )
    ).scalar()
    free = int(row or 0)
    if free < least_nanos:
        return 0
    granted = max(least_nanos, min(wish_nanos, free // share))
    _add(tx, account_id, leased_nanos=granted)
    known = (leases.c.account_id == account_id) & (leases.c.journal_id == journal_id)
    changed = tx.execute(leases.update().where(known).values(granted_nanos=leases.c.granted_nanos + granted))
    if changed.rowcount == 0:
        tx.execute(leases.insert().values(account_id=account_id, journal_id=journal_id, granted_nanos=granted))
    return granted


def give_back(tx: sa.Connection, account_id: str, journal_id: str, nanos: int) -> None:
    """Return an unused part of a lease. The CHECKs refuse more than was granted."""
    known = (leases.c.account_id == account_id) & (leases.c.journal_id == journal_id)
    tx.execute(leases.update().where(known).values(granted_nanos=leases.c.granted_nanos - nanos))
    _add(tx, account_id, leased_nanos=-nanos)


def recall(tx: sa.Connection, account_id: str) -> None:
    """Ask every relay to give back what it leases of this account and does not use."""
    note(tx, "recall", account_id)


def _by_key(tx: sa.Connection, request_key: str) -> Transfer | None:
    row = tx.execute(sa.select(transfers).where(transfers.c.request_key == request_key)).mappings().first()
    return None if row is None else Transfer(**row)


def _move(tx: sa.Connection, made: Transfer) -> None:
    _add(tx, made.debit, posted_nanos=-made.amount_nanos)
    _add(tx, made.credit, posted_nanos=made.amount_nanos)


def _add(tx: sa.Connection, account_id: str, **parts: int) -> None:
    values = {name: accounts.c[name] + nanos for name, nanos in parts.items()}
    tx.execute(accounts.update().where(accounts.c.id == account_id).values(values))
