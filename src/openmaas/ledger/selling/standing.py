"""Where an organisation stands: what its plan's windows, packs and budgets had, what is used, when it comes back."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from openmaas.core.clock import Clock
from openmaas.ledger.book import Account
from openmaas.ledger.law import accounts, returns, transfers
from openmaas.ledger.selling.plans import Plan
from openmaas.ledger.selling.subscribing import list_unended
from openmaas.ledger.spending.funds import Funding, funding
from openmaas.ledger.spending.holds import Bound
from openmaas.ledger.spending.plans import PlanTerms, Subscription


class Counter(msgspec.Struct, frozen=True):
    """One bounded counter. ``used_nanos`` is what was posted; ``again_ms`` when something of it is free again."""

    name: str
    currency: str
    limit_nanos: int
    used_nanos: int
    again_ms: int | None


class Standing(msgspec.Struct, frozen=True):
    """Counters by what they belong to."""

    plans: dict[str, list[Counter]]  # by subscription
    packs: list[Counter]
    budgets: list[Counter]


class Wallet(msgspec.Struct, frozen=True):
    """A wallet. ``available_nanos`` is what can be spent, its credit line included; what relays lease is in it."""

    currency: str
    posted_nanos: int = 0
    available_nanos: int = 0
    pending_nanos: int = 0  # of refunds that have begun
    topped_up_nanos: int = 0
    given_nanos: int = 0  # by vouchers and credit notes


def standing(tx: sa.Connection, clock: Clock, organisation_id: str) -> Standing:
    """Every counter of an organisation that counts now."""
    now_ms = clock.wall_ms()
    found = funding(tx, organisation_id, now_ms)
    plans = {}
    for subscription, terms in found.subscriptions:
        if subscription.started_ms <= now_ms < subscription.until_ms:
            plans[subscription.id] = _windows(tx, subscription, terms, now_ms)
    packs = [
        counter(tx, Bound(pack.account_id, ends_ms=pack.until_ms), pack.name)
        for pack in found.packs
        if now_ms < pack.until_ms
    ]
    return Standing(plans, packs, _budgets(tx, found, now_ms))


def plan_standing(tx: sa.Connection, clock: Clock, organisation_id: str) -> tuple[Plan, list[Counter]] | None:
    """The plan that runs and its windows, in their order; None without one."""
    now_ms = clock.wall_ms()
    for subscription, plan in list_unended(tx, organisation_id, now_ms, limit=1):
        if subscription.started_ms <= now_ms:
            return plan, _windows(tx, subscription, plan.terms, now_ms)
    return None


def wallet_standing(tx: sa.Connection, organisation_id: str, currency: str) -> Wallet:
    """The wallet in ``currency``, else the first there is; an empty one when there is none."""
    ours = (accounts.c.owner == organisation_id) & (accounts.c.kind == "wallet")
    rows = tx.execute(sa.select(accounts).where(ours).order_by(accounts.c.id)).mappings().all()
    row = next((each for each in rows if each["currency"] == currency), rows[0] if rows else None)
    if row is None:
        return Wallet(currency)
    account = Account(**row)
    into = sa.select(transfers.c.kind, sa.func.sum(transfers.c.amount_nanos)).group_by(transfers.c.kind)
    into = into.where(transfers.c.credit == account.id, transfers.c.state == "posted")
    came = {kind: int(nanos) for kind, nanos in tx.execute(into)}
    return Wallet(
        account.currency,
        posted_nanos=account.posted_nanos,
        available_nanos=account.posted_nanos + account.credit_nanos - account.pending_nanos,
        pending_nanos=account.pending_nanos,
        topped_up_nanos=came.get("topup", 0),
        given_nanos=came.get("voucher", 0) + came.get("credit_note", 0),
    )


def counter(tx: sa.Connection, bound: Bound, name: str) -> Counter:
    """What the account of ``bound`` had and has."""
    found = begun(tx, bound.account_id)
    currency = bound.account_id.rpartition(":")[2]
    if found is None:  # nobody has used it yet
        return Counter(name, currency, bound.fill.amount_nanos if bound.fill else 0, 0, None)
    account, limit = found
    used = limit - account.posted_nanos
    again_ms = bound.ends_ms if account.returns_after_ms is None else next_return(tx, account)
    return Counter(name, currency, limit, used, again_ms)


def begun(tx: sa.Connection, account_id: str) -> tuple[Account, int] | None:
    """The account of a counter, and what it began with: all that was granted to it. None when nobody has used it."""
    row = tx.execute(sa.select(accounts).where(accounts.c.id == account_id)).mappings().first()
    if row is None:
        return None
    sums = sa.select(sa.func.coalesce(sa.func.sum(transfers.c.amount_nanos), 0)).where(transfers.c.kind == "grant")
    given = tx.execute(sums.where(transfers.c.credit == account_id)).scalar_one()
    taken = tx.execute(sums.where(transfers.c.debit == account_id)).scalar_one()
    return Account(**row), int(given) - int(taken)


def next_return(tx: sa.Connection, account: Account) -> int | None:
    """When a rolling window next gets something back."""
    waits = (returns.c.account_id == account.id) & (returns.c.amount_nanos > 0)
    due = tx.execute(sa.select(sa.func.min(returns.c.due_ms)).where(waits)).scalar()
    return None if due is None else int(due)


def _windows(tx: sa.Connection, who: Subscription, terms: PlanTerms, now_ms: int) -> list[Counter]:
    bounds = zip(terms.windows, who.bounds(terms, now_ms), strict=True)
    return [counter(tx, bound, window.name) for window, bound in bounds]


def _budgets(tx: sa.Connection, found: Funding, now_ms: int) -> list[Counter]:
    return [
        counter(tx, budget.bound(found.organisation_id, found.zone, now_ms), f"{budget.scope} {budget.period}")
        for budget in found.budgets
    ]
