"""The book of the ledger: accounts and transfers as pure functions of one transaction.

Each function either does all it says or raises and leaves nothing; the CHECKs of ``law.py`` stand behind it. Whoever
calls with the same ``request_key`` twice gets the first transfer again.
"""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from openmaas.core.clock import Clock
from openmaas.core.errors import Conflict, FieldInvalid, FundsMissing, ThingUnknown
from openmaas.core.money import ACCOUNT_NANOS_MAX, check_currency, show_amount
from openmaas.ledger.law import BOUNDED, OWN, accounts, transfers
from openmaas.store.outbox import announce

#: Which kinds of transfers customers are told of, when they are made and when a pending one ends.
_BEGUN = {
    "topup": "wallet.topped_up",
    "credit_note": "credit_note.made",
    "voucher": "voucher.redeemed",
    "refund": "refund.begun",
    "expiry": "pack.ended",
}
_ENDED = {"refund": "refund.ended"}


class Account(msgspec.Struct, frozen=True):
    """An account and what it has promised. ``free_nanos`` is what can still be promised."""

    id: str
    kind: str
    owner: str
    currency: str
    posted_nanos: int
    pending_nanos: int
    leased_nanos: int
    credit_nanos: int
    cut_nanos: int
    returns_after_ms: int | None

    @property
    def free_nanos(self) -> int:
        """Posted and credit line, less what is pending or leased."""
        return self.posted_nanos + self.credit_nanos - self.pending_nanos - self.leased_nanos

    @property
    def bounded(self) -> bool:
        """True when it can promise no more than it has."""
        return self.kind in BOUNDED


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
    """One of the operator's own accounts (``law.OWN``)."""
    return f"{kind}:{currency}"


def open_account(tx: sa.Connection, account_id: str, *, returns_after_ms: int | None = None) -> Account:
    """The account, made when it is not there yet. The id says what it is: ``<kind>[:<owner>[:<what>]]:<currency>``, or
    ``<kind>:<when it was full>:<currency>`` for one of the operator's own that counts no more."""
    row = tx.execute(sa.select(accounts).where(accounts.c.id == account_id)).mappings().first()
    if row is not None:
        return Account(**row)
    kind, *middle, currency = account_id.split(":")
    owner = middle[0] if middle and kind not in OWN else ""
    made = Account(account_id, kind, owner, currency, 0, 0, 0, 0, 0, returns_after_ms)
    tx.execute(accounts.insert().values(msgspec.structs.asdict(made)))
    return made


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

    Raises ``FieldInvalid`` for an amount that is not positive or that an account cannot hold, ``FundsMissing``
    when a wallet lacks it and ``Conflict`` when the key was used for another transfer.
    """
    if amount_nanos <= 0:
        raise FieldInvalid("amount must be above 0", field="amount")
    first = find_transfer(tx, request_key)
    if first is not None:
        if (first.kind, first.debit, first.credit, first.amount_nanos) != (kind, debit, credit, amount_nanos):
            raise Conflict("this request_key stands for another transfer", field="request_key")
        return first
    account, other = open_account(tx, debit), open_account(tx, credit)
    if account.bounded and account.free_nanos < amount_nanos:
        missing = show_amount(amount_nanos - account.free_nanos, account.currency)
        raise FundsMissing(f"{missing} is missing", field="amount")
    make_room(tx, clock, account, -amount_nanos)
    make_room(tx, clock, other, amount_nanos)
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
        add(tx, debit, pending_nanos=amount_nanos)
    else:
        _move(tx, made)
    _tell(tx, clock, _BEGUN.get(kind), made, account.owner or other.owner)
    return made


def settle(tx: sa.Connection, clock: Clock, pending_id: str, *, post: bool) -> Transfer:
    """Post or void a pending transfer, once. The same again returns the first; the opposite raises ``Conflict``."""
    row = tx.execute(sa.select(transfers).where(transfers.c.id == pending_id)).mappings().first()
    if row is None or row["state"] != "pending":
        raise ThingUnknown(f"there is no pending transfer {pending_id}", field="id")
    begun = Transfer(**row)
    state = "posted" if post else "voided"
    ended = find_transfer(tx, f"end:{begun.id}")
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
    add(tx, begun.debit, pending_nanos=-begun.amount_nanos)
    account = find_account(tx, begun.debit)
    if post:
        make_room(tx, clock, account, -begun.amount_nanos)
        make_room(tx, clock, find_account(tx, begun.credit), begun.amount_nanos)
        _move(tx, ended)
    _tell(tx, clock, _ENDED.get(begun.kind), ended, account.owner)
    return ended


def make_room(tx: sa.Connection, clock: Clock, account: Account, change_nanos: int) -> None:
    """See that ``change_nanos`` leaves a balance that the column holds; SQLite would go on in floating point.

    One of the operator's own counts for everybody and for ever. When it is full, all it has is carried over to an
    account that rests, and it counts on from 0 under its name. Raises ``FieldInvalid`` for a customer's.
    """
    if abs(account.posted_nanos + change_nanos) <= ACCOUNT_NANOS_MAX:
        return
    if account.kind not in OWN or not account.posted_nanos:
        raise FieldInvalid(f"amount is more than the account {account.id} can hold", field="amount")
    rests = f"{account.kind}:{clock.new_id('old').lower()}:{account.currency}"
    debit, credit = (account.id, rests) if account.posted_nanos > 0 else (rests, account.id)
    transfer(
        tx,
        clock,
        request_key=f"carry:{rests}",
        kind="carry",
        debit=debit,
        credit=credit,
        amount_nanos=abs(account.posted_nanos),
    )


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
    """Money that came in from outside, into the wallet of an organisation. Raises as ``transfer``."""
    check_currency(currency)
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


def find_transfer(tx: sa.Connection, request_key: str) -> Transfer | None:
    """The transfer that was made with this key."""
    row = tx.execute(sa.select(transfers).where(transfers.c.request_key == request_key)).mappings().first()
    return None if row is None else Transfer(**row)


def _tell(tx: sa.Connection, clock: Clock, event: str | None, made: Transfer, owner: str) -> None:
    """Tell the customer whose account it is, of those kinds that customers are told of."""
    if event is not None and owner:
        currency = made.debit.rpartition(":")[2]
        amount = {"amount": show_amount(made.amount_nanos), "currency": currency}
        told = {"transfer_id": made.id, "state": made.state, **amount, "memo": made.memo}
        announce(tx, clock, owner, event, told)


def _move(tx: sa.Connection, made: Transfer) -> None:
    add(tx, made.debit, posted_nanos=-made.amount_nanos)
    add(tx, made.credit, posted_nanos=made.amount_nanos)


def add(tx: sa.Connection, account_id: str, **parts: int) -> None:
    """Add to the numbers of an account. Its CHECKs refuse what must not be."""
    values = {name: accounts.c[name] + nanos for name, nanos in parts.items()}
    tx.execute(accounts.update().where(accounts.c.id == account_id).values(values))
