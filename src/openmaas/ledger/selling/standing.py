"""Where an organisation stands: what its plan's windows, packs and budgets had, what is used, when it comes back."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from openmaas.core.clock import Clock
from openmaas.ledger.book import Account
from openmaas.ledger.law import accounts, returns, transfers
from openmaas.ledger.spending.funds import Funding, funding
from openmaas.ledger.spending.holds import Bound


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


def standing(tx: sa.Connection, clock: Clock, organisation_id: str) -> Standing:
    """Every counter of an organisation that counts now."""
    now_ms = clock.wall_ms()
    found = funding(tx, organisation_id, now_ms)
    plans = {}
    for subscription, terms in found.subscriptions:
        if subscription.started_ms <= now_ms < subscription.until_ms:
            bounds = zip(terms.windows, subscription.bounds(terms, now_ms), strict=True)
            plans[subscription.id] = [counter(tx, bound, window.name) for window, bound in bounds]
    packs = [
        counter(tx, Bound(pack.account_id, ends_ms=pack.until_ms), pack.name)
        for pack in found.packs
        if now_ms < pack.until_ms
    ]
    return Standing(plans, packs, _budgets(tx, found, now_ms))


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
    due = tx.execute(sa.select(sa.func.min(returns.c.due_ms)).where(returns.c.account_id == account.id)).scalar()
    return None if due is None else int(due)


def _budgets(tx: sa.Connection, found: Funding, now_ms: int) -> list[Counter]:
    return [
        counter(tx, budget.bound(found.organisation_id, found.zone, now_ms), f"{budget.scope} {budget.period}")
        for budget in found.budgets
    ]
