"""Half of the whole ledger's state machine: an organisation that pays in every way there is, and its operator.

``balance``, ``limits`` and ``amounts`` are the plain model: what wallet and packs had without charges, what windows and
budgets began with.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from openmaas.core.errors import Conflict, InsufficientFunds
from openmaas.core.money import NANO
from openmaas.core.terms import Band, Terms, flat
from openmaas.core.usage import Usage
from openmaas.house.poster import renew_due
from openmaas.ledger.book import settle, top_up, transfer, wallet_id
from openmaas.ledger.law import accounts, subscriptions
from openmaas.ledger.legs import Leg
from openmaas.ledger.prices import set_price
from openmaas.ledger.selling.packs import add_pack, end_packs
from openmaas.ledger.selling.payers import add_budget, change_budget, end_budget, set_credit
from openmaas.ledger.selling.plans import add_plan
from openmaas.ledger.selling.subscribing import change_plan, subscribe
from openmaas.ledger.spending.funds import funding
from openmaas.ledger.spending.plans import PlanTerms, Window
from whole import SHORT, World

WALLET = wallet_id("org", "CNY")
START_MS = round(datetime(2027, 1, 31, 10, tzinfo=UTC).timestamp() * 1000)
MINUTE_MS = 60_000
#: Nano-units for a million tokens; one token is a thousand.
PRICE = 10**9

pick = st.integers(0, 10**6)  # taken modulo what there is: a step never depends on how the one before ended
money = st.sampled_from([1, 99_999, 10**6, 10**7])


class Paying(RuleBasedStateMachine):
    """One organisation, every way to pay."""

    store = "sqlite"

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        for name, value in SHORT.items():
            self.patch.setattr(name, value)
        self.world = World(self.store, Path(tempfile.mkdtemp()), START_MS)
        self.balance: dict[str, int] = defaultdict(int)  # of wallet and packs, without charges
        self.limits: dict[str, int] = {}  # of windows and budgets that have begun
        self.amounts: dict[str, int] = {}  # what a window or budget begins with, by the start of its account's id
        self.opened: dict[str, tuple[tuple[Leg, ...], Usage | None]] = {}
        self.packs: dict[str, tuple[int, str, Any]] = {}
        self.pending: list[str] = []
        self.budgets: list[str] = []
        self.terms: dict[int, Terms] = {}
        for model, extra in (("a", ()), ("b", (Band(2 * PRICE, PRICE, 3 * PRICE, input_from=1_000),))):
            base = flat(PRICE, 2 * PRICE, PRICE // 2 + 1)
            for currency in ("CNY", "credits"):
                self.price(model, currency, Terms(base.bands + extra, units={"call": 300 * PRICE + 1}))
        self.plans = [self.plan("lite", 1, 2), self.plan("pro", 3, 20)]
        self.world.begin_relay()
        self.pays_in(3 * 10**7)

    def price(self, model: str, currency: str, terms: Terms) -> None:
        made = self.call(set_price, model=model, currency=currency, terms=terms, from_ms=0)
        self.terms[made.version] = terms

    def plan(self, name: str, price: int, allowed: int) -> Any:
        windows = (
            Window("5h", "rolling", allowed * NANO // 1_000, 5 * 3600),
            Window("week", "cycle", 2 * allowed * NANO // 1_000, 7 * 24 * 3600),
            Window("month", "month", 5 * allowed * NANO // 1_000),
        )
        return self.call(add_plan, self.world.clock, name, PlanTerms(windows, price * NANO // 1_000))

    def call(self, book: Any, *args: Any, **kwargs: Any) -> Any:
        return self.world.database.call(book, *args, **kwargs)

    def look(self, query: Any) -> Any:
        return self.world.database.look(lambda tx: tx.execute(query).all())

    @rule(nanos=money)
    def tops_up(self, nanos: int) -> None:
        self.pays_in(nanos)

    def pays_in(self, nanos: int) -> None:
        fields = {"currency": "CNY", "amount_nanos": nanos, "request_key": self.world.clock.new_id("pay"), "memo": ""}
        for _ in range(2):
            self.call(top_up, self.world.clock, "org", **fields)
        self.balance[WALLET] += nanos

    @rule(nanos=money)
    def begins_a_refund(self, nanos: int) -> None:
        fields = {"kind": "refund", "debit": WALLET, "credit": "funding:CNY", "pending": True, "amount_nanos": nanos}
        try:
            made = self.call(transfer, self.world.clock, request_key=self.world.clock.new_id("ref"), **fields)
        except InsufficientFunds:
            return
        self.pending.append(made.id)

    @rule(which=pick, post=st.booleans())
    def ends_a_refund(self, which: int, post: bool) -> None:
        if self.pending:
            made = self.call(settle, self.world.clock, self.pending.pop(which % len(self.pending)), post=post)
            self.balance[WALLET] -= made.amount_nanos if post else 0

    @rule(nanos=st.integers(0, 5 * 10**6))
    def sets_a_credit_line(self, nanos: int) -> None:
        with contextlib.suppress(Conflict):  # it is used already
            self.call(set_credit, "org", currency="CNY", credit_nanos=nanos)

    @rule(
        currency=st.sampled_from(["tokens", "CNY", "credits"]),
        amount=st.sampled_from([1, 50, 700, 4_000]),
        hours=st.integers(1, 100),
        models=st.sampled_from([None, ("a",), ("b",)]),
        price=st.sampled_from([0, 10**6]),
    )
    def gets_a_pack(self, currency: str, amount: int, hours: int, models: Any, price: int) -> None:
        nanos = amount * (NANO if currency == "tokens" else 1_000)
        times = {"from_ms": self.world.now_ms, "until_ms": self.world.now_ms + hours * 60 * MINUTE_MS}
        fields = {"name": "p", "currency": currency, "amount_nanos": nanos, "models": models, "price_nanos": price}
        key = self.world.clock.new_id("key")
        try:
            for _ in range(2):
                made = self.call(
                    add_pack, self.world.clock, "org", request_key=key, price_currency="CNY", **fields, **times
                )
        except InsufficientFunds:
            return
        self.packs[made.account_id] = (made.until_ms, made.account_id, models)
        self.balance[made.account_id] += nanos
        self.balance[WALLET] -= price
        for each in self.look(sa.text("SELECT version FROM prices WHERE currency = 'tokens'")):
            self.terms.setdefault(each.version, flat(10**15, 10**15))

    @rule(which=pick, overflows=st.booleans())
    def subscribes_or_changes_the_plan(self, which: int, overflows: bool) -> None:
        plan, now_ms, before = self.plans[which % 2], self.world.now_ms, self.wallet()
        query = sa.select(subscriptions).where(subscriptions.c.until_ms > now_ms, subscriptions.c.started_ms <= now_ms)
        running = self.look(query)
        try:
            if running:
                self.call(change_plan, self.world.clock, running[0].id, plan.id)
            elif not self.look(sa.select(subscriptions).where(subscriptions.c.until_ms > now_ms)):
                key = self.world.clock.new_id("key")
                self.call(subscribe, self.world.clock, "org", plan.id, request_key=key, overflows=overflows)
        except (InsufficientFunds, Conflict):  # Conflict: a cheaper one for what does not renew
            return
        paid = before - self.wallet()
        dearer = [each for each in running if each.plan_id == self.plans[0].id != plan.id]
        assert 0 <= paid <= 4 * 10**6
        assert (paid > 0) == bool(dearer or not running), (paid, running)
        self.balance[WALLET] -= paid
        self.knows_windows()
        for each in dearer:
            for window, old in zip(plan.terms.windows, self.plans[0].terms.windows, strict=True):
                for account_id in self.limits:
                    if account_id in self.windows_now(each.id):
                        self.limits[account_id] += (window.amount_nanos - old.amount_nanos) * (
                            account_id.startswith(f"window:org:{each.id}/{window.name}")
                        )

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
        made = self.call(add_budget, self.world.clock, "org", **fields)
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
        self.call(change_budget, self.world.clock, budget_id, nanos)
        self.amounts[f"budget:org:{budget_id}"] = nanos

    @rule(which=pick)
    def ends_a_budget(self, which: int) -> None:
        if self.budgets:
            self.call(end_budget, self.world.clock, self.budgets.pop(which % len(self.budgets)))

    @rule(model=st.sampled_from("ab"), currency=st.sampled_from(["CNY", "credits"]), factor=st.integers(0, 3))
    def sets_a_price(self, model: str, currency: str, factor: int) -> None:
        self.price(model, currency, flat(factor * PRICE, 2 * factor * PRICE + 1))

    @rule(minutes=st.sampled_from([1, 60, 299, 301, 24 * 60, 7 * 24 * 60, 40 * 24 * 60]), chores=st.booleans())
    def time_passes(self, minutes: int, chores: bool) -> None:
        """Chores are done before and after: what renews within an hour of the new moment had its chance."""
        self.world.now_ms += minutes * MINUTE_MS
        if chores:
            before, after = self.wallet(), 0
            for _ in range(2):
                renew_due(self.world.database, self.world.clock)
                after = after or self.wallet()
            assert self.wallet() == after, "a month was paid twice"
            self.balance[WALLET] -= before - after
            self.call(end_packs, self.world.clock)
            self.knows_windows()

    def wallet(self) -> int:
        """What the wallet has."""
        found = self.look(sa.select(accounts.c.posted_nanos).where(accounts.c.id == WALLET))
        return found[0][0] if found else 0
