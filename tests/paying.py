"""A part of the whole ledger's state machine: packs, plans and budgets of an organisation, and the time that passes.

``limits`` and ``amounts`` are the plain model: what windows and budgets began with.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import sqlalchemy as sa
from hypothesis import strategies as st
from hypothesis.stateful import rule

from openmaas.core.bounds import RENEW_AHEAD_S, RENEW_GRACE_S
from openmaas.core.errors import Conflict, FundsMissing
from openmaas.core.money import NANO
from openmaas.house.poster import renew_due
from openmaas.ledger.law_sold import subscriptions
from openmaas.ledger.selling.packs import add_pack, end_packs
from openmaas.ledger.selling.payers import add_budget, change_budget, end_budget
from openmaas.ledger.selling.plans import add_plan
from openmaas.ledger.selling.subscribing import change_plan, subscribe
from openmaas.ledger.spending.funds import funding
from openmaas.ledger.spending.plans import PlanTerms, Window, month_around
from pricing import Pricing, half_up
from till import HOUR_MS, WALLET, money, pick


class Paying(Pricing):
    """The ways to pay beside the wallet."""

    def __init__(self) -> None:
        super().__init__()
        self.limits: dict[str, int] = {}  # of windows and budgets that have begun
        self.amounts: dict[str, int] = {}  # what a window or budget begins with, by the start of its account's id
        self.packs: dict[str, tuple[int, str, Any]] = {}
        self.budgets: list[str] = []
        self.plans = [self.plan("lite", 1, 2), self.plan("pro", 3, 20)]

    def plan(self, name: str, price: int, allowed: int) -> Any:
        windows = (
            Window("5h", "rolling", allowed * NANO // 1_000, 5 * 3600),
            Window("week", "cycle", 2 * allowed * NANO // 1_000, 7 * 24 * 3600),
            Window("month", "month", 5 * allowed * NANO // 1_000),
        )
        return self.call(add_plan, name, PlanTerms(windows, price * NANO // 1_000))

    @rule(
        currency=st.sampled_from(["tokens", "CNY", "credits"]),
        amount=st.sampled_from([1, 50, 700, 4_000]),
        hours=st.integers(1, 100),
        models=st.sampled_from([None, ("a",), ("b",)]),
        price=st.sampled_from([0, 10**6]),
    )
    def gets_a_pack(self, currency: str, amount: int, hours: int, models: Any, price: int) -> None:
        """Bought while relays lease of the wallet, or given."""
        nanos = amount * (NANO if currency == "tokens" else 1_000)
        times = {"from_ms": self.world.now_ms, "until_ms": self.world.now_ms + hours * HOUR_MS}
        fields = {"name": "p", "currency": currency, "amount_nanos": nanos, "models": models, "price_nanos": price}
        free = self.account(WALLET).free_nanos
        try:
            made = self.once(add_pack, price_currency="CNY", **fields, **times)
        except FundsMissing:
            assert free < price
            return
        assert free >= price
        self.packs[made.account_id] = (made.until_ms, made.account_id, models)
        self.balance[made.account_id] += nanos
        self.balance[WALLET] -= price
        self.knows_prices()

    @rule(which=pick, overflows=st.booleans())
    def subscribes_or_changes_the_plan(self, which: int, overflows: bool) -> None:
        """At once when it is dearer, for the difference of what is left of the month."""
        plan, now_ms, free = self.plans[which % 2], self.world.now_ms, self.account(WALLET).free_nanos
        unended = self.look(sa.select(subscriptions).where(subscriptions.c.until_ms > now_ms))
        running = [each for each in unended if each.started_ms <= now_ms]
        dearer = [each for each in running if each.plan_id == self.plans[0].id != plan.id]
        price = sum(self.difference(each) for each in dearer) if unended else plan.terms.price_nanos
        try:
            if running:
                self.call(change_plan, running[0].id, plan.id)
            elif not unended:
                self.once(subscribe, plan.id, overflows=overflows)
        except FundsMissing:
            assert free < price
            return
        except Conflict:
            assert not running[0].renews  # and so no cheaper one can follow
            return
        assert free >= price
        self.balance[WALLET] -= price
        self.knows_windows()
        for each in dearer:
            for window, old in zip(plan.terms.windows, self.plans[0].terms.windows, strict=True):
                for account_id in self.limits:
                    if account_id in self.windows_now(each.id):
                        self.limits[account_id] += (window.amount_nanos - old.amount_nanos) * (
                            account_id.startswith(f"window:org:{each.id}/{window.name}")
                        )

    def difference(self, running: Any) -> int:
        """Between the two plans, for the rest of the month that runs, and for the next one when it is paid."""
        more = self.plans[1].terms.price_nanos - self.plans[0].terms.price_nanos
        begin_ms, end_ms = month_around(running.started_ms, self.world.now_ms)
        rest = Fraction(end_ms - self.world.now_ms, end_ms - begin_ms)
        return half_up(more * rest) + (more if running.until_ms > end_ms else 0)

    def windows_now(self, subscription_id: str) -> set[str]:
        """The accounts that its windows count on at this moment."""
        found = self.world.database.look(funding, "org", self.world.now_ms)
        return {
            bound.account_id
            for subscription, terms in found.subscriptions
            if subscription.id == subscription_id
            for bound in subscription.bounds(terms, self.world.now_ms)
        }

    def knows_windows(self) -> None:
        plans = {plan.id: plan for plan in self.plans}
        for row in self.look(sa.select(subscriptions)):
            for window in plans[row.plan_id].terms.windows:
                self.amounts[f"window:org:{row.id}/{window.name}"] = window.amount_nanos

    @rule(
        scope=st.sampled_from(["organisation", "project", "key"]),
        period=st.sampled_from(["day", "week", "month", "total"]),
        nanos=money,
    )
    def gets_a_budget(self, scope: str, period: str, nanos: int) -> None:
        subject = {"organisation": "org", "project": "p1", "key": "k1"}[scope]
        fields = {"scope": scope, "subject_id": subject, "currency": "CNY", "amount_nanos": nanos, "period": period}
        made = self.call(add_budget, "org", **fields)
        self.budgets.append(made.id)
        self.amounts[f"budget:org:{made.id}"] = nanos

    @rule(which=pick, nanos=money)
    def changes_a_budget(self, which: int, nanos: int) -> None:
        if not self.budgets:
            return
        budget_id = self.budgets[which % len(self.budgets)]
        (had,) = [
            each for each in self.world.database.look(funding, "org", self.world.now_ms).budgets if each.id == budget_id
        ]
        account_id = had.bound("org", "UTC", self.world.now_ms).account_id
        if account_id in self.limits:
            self.limits[account_id] += nanos - had.amount_nanos
        self.call(change_budget, budget_id, nanos)
        self.amounts[f"budget:org:{budget_id}"] = nanos

    @rule(which=pick)
    def ends_a_budget(self, which: int) -> None:
        if self.budgets:
            self.call(end_budget, self.budgets.pop(which % len(self.budgets)))

    @rule(minutes=st.sampled_from([1, 60, 299, 301, 24 * 60, 7 * 24 * 60, 40 * 24 * 60]), chores=st.booleans())
    def time_passes(self, minutes: int, chores: bool) -> None:
        """Chores are done before and after: what renews within an hour of the new moment had its chance."""
        self.world.now_ms += minutes * HOUR_MS // 60
        if chores:
            price = self.renewal()
            self.balance[WALLET] -= price if self.account(WALLET).free_nanos >= price else 0
            for _ in range(2):
                renew_due(self.world.database, self.world.clock)
            for account_id, (until_ms, *_) in self.packs.items():
                had = self.account(account_id)
                if until_ms <= self.world.now_ms and not had.leased_nanos:
                    self.balance[account_id] -= had.posted_nanos
            self.call(end_packs)
            self.knows_windows()

    def renewal(self) -> int:
        """What the next month of a subscription costs that renews now; 0 without one."""
        now_ms, prices = self.world.now_ms, {plan.id: plan.terms.price_nanos for plan in self.plans}
        had = self.look(sa.select(subscriptions).where(subscriptions.c.until_ms + RENEW_GRACE_S * 1000 >= now_ms))
        soon = [each for each in had if each.renews and each.until_ms <= now_ms + RENEW_AHEAD_S * 1000]
        if len(had) > 1:  # another has begun, or follows
            soon = [each for each in soon if each.until_ms > now_ms]
        return sum(prices[each.next_plan_id or each.plan_id] for each in soon)
