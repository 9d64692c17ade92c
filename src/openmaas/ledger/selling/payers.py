"""How an organisation pays: currency, time zone and what its invoices say; its credit line; and budgets, which are the
most it wants to spend.

A budget counts beside the wallet: a request takes from both or from none.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import sqlalchemy as sa

from openmaas.core.bounds import PAGE_SIZE_MAX
from openmaas.core.clock import Clock
from openmaas.core.errors import Conflict, FieldInvalid, InsufficientFunds, ThingUnknown
from openmaas.core.invoice import Tax
from openmaas.core.money import check_currency, show_amount
from openmaas.ledger.book import Account, open_account, own_id, transfer, wallet_id
from openmaas.ledger.law import accounts
from openmaas.ledger.law_sold import budgets, payers
from openmaas.ledger.prices import check_zone
from openmaas.ledger.spending.funds import Budget
from openmaas.ledger.spending.holds import Bound
from openmaas.ledger.spending.leasing import recall, take_cut
from openmaas.store.changes import note
from openmaas.store.outbox import announce


class Payer(msgspec.Struct, frozen=True, kw_only=True):
    """How an organisation pays, and what its invoices say. Without taxes, none are shown."""

    organisation_id: str
    currency: str | None = None  # None: as the settings say
    zone: str = "UTC"
    legal_name: str = ""  # empty: its name
    address: str = ""
    tax_id: str = ""
    taxes: tuple[Tax, ...] = ()
    tax_inclusive: bool = True  # prices hold the taxes; else they come on top, beside the wallet
    language: Literal["zh", "en", ""] = ""  # empty: that of the currency
    alert_nanos: int | None = None  # a wallet that falls below it is told of

    def language_for(self, currency: str) -> Literal["zh", "en"]:
        """Which edition an invoice in ``currency`` has."""
        return self.language or ("zh" if currency == "CNY" else "en")


def set_payer(tx: sa.Connection, payer: Payer) -> Payer:
    """Say how an organisation pays: all of it, what was said before is gone. Raises ``FieldInvalid``."""
    assert payer.currency is not None
    check_currency(payer.currency)
    check_zone(payer.zone, "zone")
    if len({tax.name for tax in payer.taxes}) != len(payer.taxes):
        raise FieldInvalid("two taxes have the same name", field="taxes")
    values = msgspec.structs.asdict(payer) | {"taxes": msgspec.json.encode(payer.taxes).decode()}
    changed = tx.execute(payers.update().where(payers.c.organisation_id == payer.organisation_id).values(values))
    if changed.rowcount == 0:
        tx.execute(payers.insert().values(values))
    note(tx, "funds", payer.organisation_id)
    return payer


def find_payer(tx: sa.Connection, organisation_id: str) -> Payer:
    """How an organisation pays; as the settings say, when nobody said."""
    row = tx.execute(sa.select(payers).where(payers.c.organisation_id == organisation_id)).mappings().first()
    if row is None:
        return Payer(organisation_id=organisation_id)
    said = {name: row[name] for name in Payer.__struct_fields__}
    return msgspec.convert(said | {"taxes": msgspec.json.decode(row["taxes"])}, Payer)


def set_credit(tx: sa.Connection, organisation_id: str, *, currency: str, credit_nanos: int) -> Account:
    """How far the wallet may go below 0. Raises ``Conflict`` when it is below that already."""
    if credit_nanos < 0:
        raise FieldInvalid("credit must not be negative", field="credit")
    account = open_account(tx, wallet_id(organisation_id, check_currency(currency)))
    short = account.credit_nanos - credit_nanos - account.free_nanos
    if short > 0:
        used = show_amount(credit_nanos + short, currency)
        raise Conflict(f"{used} of the credit line is used or leased", field="credit")
    tx.execute(accounts.update().where(accounts.c.id == account.id).values(credit_nanos=credit_nanos))
    return open_account(tx, account.id)


def add_budget(
    tx: sa.Connection,
    clock: Clock,
    organisation_id: str,
    *,
    scope: str,
    subject_id: str,
    currency: str,
    amount_nanos: int,
    period: str,
) -> Budget:
    """The most that an organisation, project or key may spend in each day, week, month, or in all.

    Raises ``FieldInvalid``.
    """
    if amount_nanos <= 0:
        raise FieldInvalid("amount must be above 0", field="amount")
    made = Budget(clock.new_id("bud").lower(), scope, subject_id, check_currency(currency), amount_nanos, period)
    row = {"organisation_id": organisation_id, "created_ms": clock.wall_ms()}
    tx.execute(budgets.insert().values(**row, **{name: getattr(made, name) for name in made.__struct_fields__}))
    note(tx, "funds", organisation_id)
    _tell(tx, clock, organisation_id, made)
    return made


def budget_account(tx: sa.Connection, clock: Clock, budget_id: str) -> str:
    """The account of the period that runs. Raises ``ThingUnknown``."""
    row = _row(tx, budget_id)
    return _running(tx, clock, _budget(row), row["organisation_id"]).account_id


def change_budget(
    tx: sa.Connection, clock: Clock, budget_id: str, amount_nanos: int, *, patient: bool = False
) -> Budget:
    """Another amount: from now on, and in the period that runs. Less than was spent leaves nothing.

    What relays lease cannot be taken. A ``patient`` caller hears ``InsufficientFunds`` then, recalls it and comes
    again; else what is free is taken now, and the rest as it comes back, before anybody may lease of it again
    (``cut_nanos``). An operator lowers a budget to stop spending, so it is not refused because somebody spends.
    Raises ``ThingUnknown`` and ``FieldInvalid``.
    """
    if amount_nanos <= 0:
        raise FieldInvalid("amount must be above 0", field="amount")
    row = _row(tx, budget_id)
    had, organisation_id = _budget(row), row["organisation_id"]
    bound = _running(tx, clock, msgspec.structs.replace(had, amount_nanos=amount_nanos), organisation_id)
    begun = tx.execute(sa.select(accounts.c.id).where(accounts.c.id == bound.account_id)).first()
    more = amount_nanos - had.amount_nanos
    tx.execute(budgets.update().where(budgets.c.id == budget_id).values(amount_nanos=amount_nanos))
    if begun is not None and more:  # else whoever leases of it first begins with what is said now
        account = open_account(tx, bound.account_id)
        cut = account.cut_nanos - more
        if patient and cut > account.free_nanos and account.leased_nanos:
            raise InsufficientFunds("relays still lease of this budget")
        if cut < 0:
            debit, key = own_id("allowance", had.currency), f"budget:{clock.new_id('chg')}"
            kind, credit = "grant", bound.account_id
            transfer(tx, clock, request_key=key, kind=kind, debit=debit, credit=credit, amount_nanos=-cut)
        tx.execute(accounts.update().where(accounts.c.id == bound.account_id).values(cut_nanos=max(cut, 0)))
        take_cut(tx, clock, open_account(tx, bound.account_id))
    note(tx, "funds", organisation_id)
    recall(tx, bound.account_id)
    changed = _budget(_row(tx, budget_id))
    _tell(tx, clock, organisation_id, changed)
    return changed


def take_cuts(tx: sa.Connection, clock: Clock) -> None:
    """Take what came back to lowered budgets that nobody leased of since."""
    free = accounts.c.posted_nanos - accounts.c.pending_nanos - accounts.c.leased_nanos
    cut = sa.select(accounts.c.id).where(accounts.c.cut_nanos > 0, free > 0).order_by(accounts.c.id)
    for account_id in tx.execute(cut.limit(PAGE_SIZE_MAX)).scalars().all():
        take_cut(tx, clock, open_account(tx, account_id))


def end_budget(tx: sa.Connection, clock: Clock, budget_id: str) -> None:
    """Stop counting. Raises ``ThingUnknown``."""
    row = _row(tx, budget_id)
    tx.execute(budgets.update().where(budgets.c.id == budget_id).values(ended_ms=clock.wall_ms()))
    note(tx, "funds", row["organisation_id"])


def list_budgets(tx: sa.Connection, organisation_id: str, *, after: str = "", limit: int) -> list[Budget]:
    """An organisation's budgets that still count, by id, after ``after``."""
    ours = (budgets.c.organisation_id == organisation_id) & budgets.c.ended_ms.is_(None) & (budgets.c.id > after)
    query = sa.select(budgets).where(ours).order_by(budgets.c.id).limit(limit)
    return [_budget(row) for row in tx.execute(query).mappings()]


def _running(tx: sa.Connection, clock: Clock, budget: Budget, organisation_id: str) -> Bound:
    """The account of the period that runs, with what it begins with."""
    zone = tx.execute(sa.select(payers.c.zone).where(payers.c.organisation_id == organisation_id)).scalar() or "UTC"
    return budget.bound(organisation_id, zone, clock.wall_ms())


def _tell(tx: sa.Connection, clock: Clock, organisation_id: str, budget: Budget) -> None:
    told = {"budget_id": budget.id, "scope": budget.scope, "subject_id": budget.subject_id, "period": budget.period}
    amount = {"amount": show_amount(budget.amount_nanos), "currency": budget.currency}
    announce(tx, clock, organisation_id, "budget.changed", {**told, **amount})


def _row(tx: sa.Connection, budget_id: str) -> sa.RowMapping:
    row = (
        tx.execute(sa.select(budgets).where(budgets.c.id == budget_id, budgets.c.ended_ms.is_(None))).mappings().first()
    )
    if row is None:
        raise ThingUnknown(f"there is no budget {budget_id}", field="budget_id")
    return row


def _budget(row: sa.RowMapping) -> Budget:
    return Budget(**{name: row[name] for name in Budget.__struct_fields__})
