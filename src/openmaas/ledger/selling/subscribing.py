"""The book of subscriptions: who has a plan. Paid from the wallet, a month ahead.

A dearer plan begins at once, for the difference of what is left of the month, and its windows get the difference of
what they allow. A cheaper one begins with the next month. A subscription that cannot be paid lapses a day later.
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec
import sqlalchemy as sa

from openmaas.core.bounds import RENEW_AHEAD_S, RENEW_GRACE_S
from openmaas.core.clock import Clock, iso_utc
from openmaas.core.errors import AlreadyThere, Conflict, InsufficientFunds, Refused, ThingUnknown
from openmaas.core.money import CREDITS, share_nanos
from openmaas.ledger.book import find_transfer, open_account, own_id, transfer, wallet_id
from openmaas.ledger.law import accounts, returns
from openmaas.ledger.law_sold import subscriptions
from openmaas.ledger.selling.plans import Plan, find_plan
from openmaas.ledger.spending.leasing import recall
from openmaas.ledger.spending.plans import PlanTerms, Subscription, month_around
from openmaas.store.changes import note
from openmaas.store.outbox import announce

log = logging.getLogger(__name__)


def subscribe(
    tx: sa.Connection,
    clock: Clock,
    organisation_id: str,
    plan_id: str,
    *,
    request_key: str,
    renews: bool = True,
    overflows: bool = False,
) -> Subscription:
    """Begin a subscription and pay its first month. The same key twice is one, though its plan was changed meanwhile.

    Raises ``ThingUnknown``, ``AlreadyThere``, ``FundsMissing``, and ``Conflict`` when the key stands for a
    subscription that began with another plan.
    """
    plan, now_ms = find_plan(tx, plan_id), clock.wall_ms()
    found = f"{organisation_id}:{request_key}"
    row = tx.execute(sa.select(subscriptions).where(subscriptions.c.request_key == found)).mappings().first()
    if row is not None:
        had = _subscription(row)
        if had.plan_id != plan_id and not _began_with(tx, had, plan):
            raise Conflict(f"the key {request_key!r} stands for a subscription to another plan", field="request_key")
        return had
    running = (subscriptions.c.organisation_id == organisation_id) & (subscriptions.c.until_ms > now_ms)
    if tx.execute(sa.select(subscriptions.c.id).where(running)).first() is not None:
        raise AlreadyThere("this organisation has a subscription; change its plan", field="plan_id")
    _, until_ms = month_around(now_ms, now_ms)
    made = Subscription(
        clock.new_id("sub").lower(), organisation_id, plan_id, now_ms, until_ms, renews=renews, overflows=overflows
    )
    _pay(tx, clock, made, plan, plan.terms.price_nanos, f"{made.id}:{now_ms}")
    _tell(tx, clock, "subscription.started", made)
    return _insert(tx, made, found)


def change_plan(tx: sa.Connection, clock: Clock, subscription_id: str, plan_id: str) -> Subscription:
    """Change to another plan: at once when it is dearer, with the next month when it is not.

    Raises ``ThingUnknown``, ``FundsMissing``, and ``Conflict`` when the subscription has ended, shall not go on with
    the cheaper one, or the other plan is paid in another currency.
    """
    had, now_ms = find_subscription(tx, subscription_id), clock.wall_ms()
    if had.until_ms <= now_ms:
        raise Conflict("this subscription has ended; begin a new one", field="id")
    old, new = find_plan(tx, had.plan_id), find_plan(tx, plan_id)
    if new.terms.currency != old.terms.currency:
        said = f"{new.name!r} is paid in {new.terms.currency}, this subscription in {old.terms.currency}"
        raise Conflict(f"{said}; let it end and begin a new subscription", field="plan_id")
    more = new.terms.price_nanos - old.terms.price_nanos
    if more <= 0:
        if not had.renews and plan_id != had.plan_id:
            raise Conflict("it does not renew, so no plan can follow; set `renews` first", field="plan_id")
        later = revise(tx, had, {"next_plan_id": None if plan_id == had.plan_id else plan_id})
        _tell(tx, clock, "subscription.changed", later)
        return later
    from_ms = max(now_ms, had.started_ms)
    begin_ms, end_ms = month_around(had.started_ms, from_ms)
    left = share_nanos(more, end_ms - from_ms, end_ms - begin_ms)
    if had.until_ms > end_ms:  # renewed: the next month is paid too
        left += more
    _pay(tx, clock, had, new, left, f"{had.id}:{now_ms}:{plan_id}")
    changed = revise(tx, had, {"plan_id": plan_id, "next_plan_id": None})
    _widen(tx, clock, changed, old.terms, new.terms, from_ms)
    _tell(tx, clock, "subscription.changed", changed)
    return changed


def revise(tx: sa.Connection, had: Subscription, values: dict[str, Any]) -> Subscription:
    """Change what a subscription says: ``renews``, ``overflows``, ``plan_id``, ``until_ms``.

    Raises ``Conflict`` for one that shall renew though another plan has been paid to follow it.
    """
    if values.get("renews") and tx.execute(sa.select(subscriptions.c.id).where(_follows(had.id))).first() is not None:
        raise Conflict("another plan follows this subscription; change that one", field="renews")
    tx.execute(subscriptions.update().where(subscriptions.c.id == had.id).values(values))
    note(tx, "funds", had.organisation_id)
    return msgspec.structs.replace(had, **values)


def renewing(tx: sa.Connection, clock: Clock, *, after: str = "", limit: int) -> list[str]:
    """Ids, after ``after``, of what renews and ends within ``RENEW_AHEAD_S`` or has ended."""
    soon = subscriptions.c.until_ms <= clock.wall_ms() + RENEW_AHEAD_S * 1000
    query = sa.select(subscriptions.c.id).where(soon, subscriptions.c.renews.is_(True), subscriptions.c.id > after)
    return list(tx.execute(query.order_by(subscriptions.c.id).limit(limit)).scalars())


def renew(tx: sa.Connection, clock: Clock, subscription_id: str) -> bool:
    """Pay the next month of one that ``renewing`` named; True when it is paid. What hinders stands in its ``trouble``.

    It is tried again until ``RENEW_GRACE_S`` after its end; then it lapses, or as soon as another one has begun.
    """
    had, now_ms = find_subscription(tx, subscription_id), clock.wall_ms()
    if not had.renews or had.until_ms > now_ms + RENEW_AHEAD_S * 1000:
        return False  # changed meanwhile
    another = had.until_ms <= now_ms and list_unended(tx, had.organisation_id, now_ms, limit=1)
    if another or had.until_ms + RENEW_GRACE_S * 1000 < now_ms:
        if not another:
            _hindered(tx, clock, had, had.trouble or "it ended while nobody renewed")
        revise(tx, had, {"renews": False})
        return False
    try:
        with tx.begin_nested():
            _renew(tx, clock, had)
    except (Refused, sa.exc.IntegrityError) as error:
        if not (isinstance(error, InsufficientFunds) and now_ms < had.until_ms and _asked_back(tx, had)):
            _hindered(tx, clock, had, str(error.orig if isinstance(error, sa.exc.IntegrityError) else error))
        return False
    return True


def _asked_back(tx: sa.Connection, had: Subscription) -> bool:
    """Ask relays for what they lease and do not use, when that is what the next month lacks."""
    terms = find_plan(tx, had.next_plan_id or had.plan_id).terms
    account = open_account(tx, wallet_id(had.organisation_id, terms.currency))
    leased_enough = terms.price_nanos <= account.free_nanos + account.leased_nanos
    if leased_enough:
        recall(tx, account.id)
    return leased_enough


def _renew(tx: sa.Connection, clock: Clock, had: Subscription) -> None:
    """Pay one subscription's next month: its own, or that of the plan that follows it."""
    plan_id = had.next_plan_id or had.plan_id
    plan = find_plan(tx, plan_id)
    _pay(tx, clock, had, plan, plan.terms.price_nanos, f"{had.id}:{had.until_ms}")
    _, until_ms = month_around(had.started_ms, had.until_ms)
    if had.next_plan_id is None:
        _tell(tx, clock, "subscription.renewed", revise(tx, had, {"until_ms": until_ms, "trouble": ""}))
        return
    made = Subscription(
        clock.new_id("sub").lower(),
        had.organisation_id,
        plan_id,
        had.until_ms,
        until_ms,
        renews=True,
        overflows=had.overflows,
    )
    _tell(tx, clock, "subscription.renewed", _insert(tx, made, _after(had.id)))
    revise(tx, had, {"renews": False, "next_plan_id": None, "trouble": ""})


def _hindered(tx: sa.Connection, clock: Clock, had: Subscription, trouble: str) -> None:
    """Tell, once for each month, that a subscription was not renewed, and say on it why."""
    _tell(tx, clock, "subscription.renewal_failed", had, once=f"renewal_failed:{had.id}:{had.until_ms}")
    if trouble != had.trouble:
        log.warning("the subscription %s is not renewed: %s", had.id, trouble)
        tx.execute(subscriptions.update().where(subscriptions.c.id == had.id).values(trouble=trouble))


def find_subscription(tx: sa.Connection, subscription_id: str) -> Subscription:
    """The subscription of this id. Raises ``ThingUnknown``."""
    row = tx.execute(sa.select(subscriptions).where(subscriptions.c.id == subscription_id)).mappings().first()
    if row is None:
        raise ThingUnknown(f"there is no subscription {subscription_id}", field="subscription_id")
    return _subscription(row)


def list_subscriptions(
    tx: sa.Connection, *, organisation_id: str | None, after: str = "", limit: int
) -> list[Subscription]:
    """Subscriptions by id, after ``after``."""
    query = sa.select(subscriptions).where(subscriptions.c.id > after).order_by(subscriptions.c.id).limit(limit)
    if organisation_id is not None:
        query = query.where(subscriptions.c.organisation_id == organisation_id)
    return [_subscription(row) for row in tx.execute(query).mappings()]


def list_unended(
    tx: sa.Connection, organisation_id: str, now_ms: int, *, offset: int = 0, limit: int
) -> list[tuple[Subscription, Plan]]:
    """What an organisation has and what is paid to follow it, each with its plan: first the one that runs."""
    ours = (subscriptions.c.organisation_id == organisation_id) & (subscriptions.c.until_ms > now_ms)
    query = sa.select(subscriptions).where(ours).order_by(subscriptions.c.started_ms).offset(offset).limit(limit)
    found = [_subscription(row) for row in tx.execute(query).mappings()]
    return [(each, find_plan(tx, each.plan_id)) for each in found]


def _tell(tx: sa.Connection, clock: Clock, event: str, who: Subscription, *, once: str | None = None) -> None:
    told = {"subscription_id": who.id, "plan_id": who.plan_id, "next_plan_id": who.next_plan_id}
    announce(tx, clock, who.organisation_id, event, {**told, "until_at": iso_utc(who.until_ms)}, once=once)


def _after(subscription_id: str) -> str:
    """The request key of the subscription that follows another."""
    return f"after:{subscription_id}"


def _follows(subscription_id: str) -> sa.ColumnElement[bool]:
    return subscriptions.c.request_key == _after(subscription_id)


def _insert(tx: sa.Connection, made: Subscription, request_key: str) -> Subscription:
    tx.execute(subscriptions.insert().values(**msgspec.structs.asdict(made), request_key=request_key))
    note(tx, "funds", made.organisation_id)
    return made


def _began_with(tx: sa.Connection, who: Subscription, plan: Plan) -> bool:
    """Whether the first month was that of ``plan``, as its payment says: nothing else stays as it began."""
    first = find_transfer(tx, f"plan:{who.id}:{who.started_ms}")
    wallet = wallet_id(who.organisation_id, plan.terms.currency)
    wanted = (wallet, plan.terms.price_nanos, plan.name) if plan.terms.price_nanos else None
    return wanted == ((first.debit, first.amount_nanos, first.memo) if first else None)


def _pay(tx: sa.Connection, clock: Clock, who: Subscription, plan: Plan, nanos: int, key: str) -> None:
    if nanos:
        currency = plan.terms.currency
        debit, credit = wallet_id(who.organisation_id, currency), own_id("revenue", currency)
        transfer(
            tx,
            clock,
            request_key=f"plan:{key}",
            kind="purchase",
            debit=debit,
            credit=credit,
            amount_nanos=nanos,
            memo=plan.name,
        )


def _widen(tx: sa.Connection, clock: Clock, who: Subscription, old: PlanTerms, new: PlanTerms, now_ms: int) -> None:
    """Windows that have begun get what the new plan allows beyond the old one, and give back after its time. The others
    begin with what it allows when somebody first leases of them."""
    had = {window.name: window.amount_nanos for window in old.windows}
    for window, bound in zip(new.windows, who.bounds(new, now_ms), strict=True):
        assert bound.fill is not None
        more = window.amount_nanos - had.get(window.name, window.amount_nanos)
        begun = tx.execute(sa.select(accounts.c.id).where(accounts.c.id == bound.account_id)).first()
        if begun is None:
            continue
        if bound.fill.returns_after_ms is not None:
            _roll(tx, bound.account_id, bound.fill.returns_after_ms)
        if more > 0:
            transfer(
                tx,
                clock,
                request_key=f"widen:{bound.account_id}:{now_ms}",
                kind="grant",
                debit=own_id("allowance", CREDITS),
                credit=bound.account_id,
                amount_nanos=more,
            )


def _roll(tx: sa.Connection, account_id: str, after_ms: int) -> None:
    """A rolling window gives back after another time from now on, what was used already too."""
    had_ms = tx.execute(sa.select(accounts.c.returns_after_ms).where(accounts.c.id == account_id)).scalar_one()
    tx.execute(accounts.update().where(accounts.c.id == account_id).values(returns_after_ms=after_ms))
    waiting = returns.update().where(returns.c.account_id == account_id)
    tx.execute(waiting.values(due_ms=returns.c.due_ms + after_ms - had_ms))


def _subscription(row: sa.RowMapping) -> Subscription:
    return Subscription(**{name: value for name, value in row.items() if name != "request_key"})
