"""Accounts that count one window, of a plan or of a budget: made and filled when somebody first meets them, so that
nothing must run at midnight.

What a relay knows of a budget or a plan may be a second old, and a window that began in this second would keep the old
amount to its end. So it is filled with what the books say now; who asks says it for what the books do not have.
"""

from __future__ import annotations

import sqlalchemy as sa

from openmaas.core.clock import Clock
from openmaas.ledger.book import Account, find_transfer, open_account, own_id, transfer
from openmaas.ledger.law import accounts
from openmaas.ledger.law_sold import budgets, plans, subscriptions
from openmaas.ledger.spending.holds import Fill
from openmaas.ledger.spending.plans import decode_terms


def filled(tx: sa.Connection, clock: Clock, account_id: str, fill: Fill) -> Account:
    """The account of a window, made and filled when it is not there yet."""
    account = open_account(tx, account_id, returns_after_ms=fill.returns_after_ms)
    key = f"grant:{account_id}"
    if account.posted_nanos or account.leased_nanos or find_transfer(tx, key) is not None:
        return account
    fill = _said(tx, account_id) or fill
    tx.execute(accounts.update().where(accounts.c.id == account_id).values(returns_after_ms=fill.returns_after_ms))
    debit = own_id("allowance", account.currency)
    transfer(tx, clock, request_key=key, kind="grant", debit=debit, credit=account_id, amount_nanos=fill.amount_nanos)
    return open_account(tx, account_id)


def _said(tx: sa.Connection, account_id: str) -> Fill | None:
    """What the budget or the plan says that the account ``<kind>:<owner>:<id>/<window or begin>…`` belongs to."""
    kind, _, what, _ = account_id.split(":")
    id_, _, rest = what.partition("/")
    if kind == "budget":
        amount = tx.execute(sa.select(budgets.c.amount_nanos).where(budgets.c.id == id_)).scalar()
        return None if amount is None else Fill(int(amount))
    query = sa.select(plans.c.terms).join(subscriptions, subscriptions.c.plan_id == plans.c.id)
    terms = tx.execute(query.where(subscriptions.c.id == id_)).scalar()
    windows = decode_terms(terms).windows if terms is not None else ()
    fills = [
        each.fill for each in windows if each.name == (rest if each.kind == "rolling" else rest.rpartition("/")[0])
    ]
    return fills[0] if fills else None
