"""The whole ledger beside a model in plain arithmetic: every way to pay, several relays, and all that can go wrong.

The model knows what was put in, what each posted request must have cost on the legs that it was held on, and what each
counter began with. After each step the audit agrees, no account is below 0, and every balance is the model's.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter, defaultdict
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from openmaas.core.errors import OpenmaasError
from openmaas.core.usage import Usage
from openmaas.ledger.audit import audit
from openmaas.ledger.book import top_up
from openmaas.ledger.law import BOUNDED, accounts, charges, receipts, returns
from openmaas.ledger.spending.funds import Use
from openmaas.ledger.writing.records import Opened
from paying import Paying
from pricing import CURRENCIES, EVER, changes
from shaky import CUES
from till import pick
from whole import Relay

#: Base URLs: without a plan, with one if there is one, and for those who have one.
WAYS = ("api", "api", "anthropic", "anthropic", "coding")
LONG = os.environ.get("OPENMAAS_TEST_LONG")


def used(prompt: int, completion: int, cached: int = 0, calls: int = 0) -> Usage:
    return Usage(prompt, completion, cached, units=(("call", calls),) if calls else ())


tokens = st.sampled_from([0, 1, 7, 100, 333, 1_001, 3_000])
calls = st.sampled_from([0, 0, 1, 3])
asks = st.tuples(pick, st.sampled_from("ab"), st.sampled_from(WAYS), tokens, tokens, pick, calls)
uses = st.builds(used, tokens, tokens, st.just(0), calls)
minutes = st.lists(st.tuples(asks, uses), min_size=1, max_size=6)


class WholeLedger(Paying):
    """The same organisation's requests, on relays that break."""

    def __init__(self) -> None:
        super().__init__()
        self.world.begin_relay()
        self.gets_money(3 * 10**7, top_up)

    @rule()
    def a_relay_begins(self) -> None:
        if len(self.world.relays) < 3:
            self.world.begin_relay()

    @rule(
        wanted=st.lists(asks, min_size=1, max_size=6),
        cues=st.lists(st.sampled_from(CUES), max_size=4),
        leave=st.sampled_from([0, 0, 1, 22, 63]),
    )
    def requests_come_at_once(self, wanted: list[Any], cues: list[str], leave: int) -> None:
        """Some clients leave before their request is opened, and the database breaks."""
        self.come(wanted, cues, leave)

    def come(self, wanted: list[Any], cues: list[str], leave: int) -> None:
        relays = self.world.relays
        if relays:
            self.world.database.cues.extend(cues)
            self.world.run(self._come([(relays[ask[0] % len(relays)], ask) for ask in wanted], leave))
            self.world.database.calm()

    @rule(wanted=minutes)
    def requests_come_and_end(self, wanted: list[Any]) -> None:
        """An ordinary minute: nothing breaks."""
        for ask, usage in wanted:
            before = set(self.opened)
            self.come([ask], [], 0)
            for request_id in set(self.opened) - before:
                relay = next(relay for relay in self.world.relays if request_id in relay.running)
                self.ends(relay, request_id, usage)

    @rule(wanted=minutes, change=changes, surcharge=st.booleans())
    def a_price_was_wrong(self, wanted: list[Any], change: Any, surcharge: bool) -> None:
        """Another minute is over and posted when the right one is set, and what is over is priced again."""
        self.requests_come_and_end(wanted)
        self.world.post()
        for currency in CURRENCIES:
            self.sets_a_price(change, currency, contract=False)
        self.a_period_is_priced_again(change[0], EVER, 1, surcharge)

    async def _come(self, wanted: list[tuple[Relay, Any]], leave: int) -> None:
        coming = []
        for relay, (_, model, entrance, prompt, completion, key, calls) in wanted:
            who = ("org", f"p{key % 2}", f"k{key % 3}")
            use = Use(model, entrance, *who, prompt, completion, self.world.now_ms, units=(("call", calls),))
            coming.append(asyncio.ensure_future(relay.open(use)))
        await asyncio.wait(coming, timeout=0.02)
        for number, each in enumerate(coming):
            if leave >> number & 1:
                each.cancel()
        await asyncio.wait(coming, timeout=0.2)
        for each in coming:  # of what is held back by a cue nobody hears
            each.cancel()
        for found in await asyncio.gather(*coming, return_exceptions=True):
            if isinstance(found, BaseException):
                assert isinstance(found, OpenmaasError | asyncio.CancelledError), repr(found)
            else:
                self.opened[found.request_id] = found
                self.is_in_order(found)

    def is_in_order(self, opened: Opened) -> None:
        """The plan first, then the packs that are for this model as they end, then the wallet with its budgets."""
        kinds = [tuple(account_id.split(":")[0] for account_id in leg.accounts) for leg in opened.legs]
        packs = [leg.accounts[0] for leg in opened.legs if leg.accounts[0] in self.packs]
        plan = kinds[: kinds[0][0] == "window"]
        assert plan in ([], [("window",) * 3])
        assert kinds[len(plan) : len(plan) + len(packs)] == [("pack",)] * len(packs)
        for wallet in kinds[len(plan) + len(packs) :]:
            assert wallet == ("wallet", *("budget",) * (len(wallet) - 1))
            assert wallet == kinds[-1]
        assert packs == sorted(packs, key=lambda account_id: self.packs[account_id][:2])
        for account_id in packs:
            until_ms, _, models = self.packs[account_id]
            assert opened.opened_ms < until_ms
            assert models is None or opened.model in models

    @rule(which=pick, prompt=tokens, cached=st.integers(0, 100), completion=tokens, calls=calls)
    def a_request_ends(self, which: int, prompt: int, cached: int, completion: int, calls: int) -> None:
        """It may use more than was held: that is the operator's."""
        running = [(relay, i) for relay in self.world.relays for i in relay.running]
        if running:
            self.ends(*running[which % len(running)], used(prompt, completion, prompt * cached // 100, calls))

    def ends(self, relay: Relay, request_id: str, usage: Usage) -> None:
        relay.end(request_id, usage)
        self.world.counts[request_id] = usage
        self.used[request_id] = usage

    @rule(which=pick, counted=st.booleans(), completion=tokens, calls=calls)
    def a_relay_dies(self, which: int, counted: bool, completion: int, calls: int) -> None:
        relays = self.world.relays
        if relays:
            relay = relays[which % len(relays)]
            for request_id in relay.running:
                usage = used(7, completion, calls=calls)
                if counted:
                    self.world.counts[request_id] = usage
                else:
                    relay.delivered(request_id, usage)
                self.used[request_id] = usage
            relay.die()

    @rule(which=pick)
    def a_relay_gives_all_back(self, which: int) -> None:
        """All that is neither held nor charged."""
        relays = self.world.relays
        if relays:
            relay = relays[which % len(relays)]
            self.world.run(relay.purse.close())
            kept: dict[str, int] = defaultdict(int)
            posted = {row.request_id for row in self.look(sa.select(receipts.c.request_id))}
            for one in relay.running.values():
                for leg in one.opened.legs:
                    for account_id in leg.accounts:
                        kept[account_id] += leg.hold_nanos
            for request_id in relay.ended - posted:
                for account_id, nanos in self.paid(request_id).items():
                    kept[account_id] += nanos
            assert relay.leased() == {account_id: nanos for account_id, nanos in kept.items() if nanos}

    @rule(forgets=st.booleans())
    def the_poster_posts(self, forgets: bool) -> None:
        if forgets:
            self.world.begin_poster()
        self.world.post()

    @invariant()
    def the_audit_agrees(self) -> None:
        posted = {row.request_id for row in self.look(sa.select(receipts.c.request_id))}
        known = {i: usage for i, usage in self.world.counts.items() if i in posted}
        found = self.world.database.look(audit, self.world.folder / "journals", known)
        assert found.disagreements == []

    @invariant()
    def every_charge_and_every_balance_is_the_models(self) -> None:
        net: Counter[str] = Counter()
        billed: dict[str, dict[str, int]] = defaultdict(dict)
        for row in self.look(sa.select(charges.c.request_id, charges.c.account_id, charges.c.amount_nanos)):
            net[row.account_id] += row.amount_nanos
            billed[row.request_id][row.account_id] = row.amount_nanos
        for request_id, lines in billed.items():
            assert lines == self.paid(request_id), request_id
        for (_, account_id), nanos in self.corrected.items():
            net[account_id] -= nanos
        waiting: Counter[str] = Counter()
        for row in self.look(sa.select(returns)):
            waiting[row.account_id] += row.amount_nanos
        for row in self.look(sa.select(accounts)):
            if row.kind in BOUNDED:
                assert row.posted_nanos - row.pending_nanos - row.leased_nanos + row.credit_nanos >= 0, row
                assert row.posted_nanos == self.has(row) - (waiting if row.returns_after_ms else net)[row.id], row

    def has(self, row: Any) -> int:
        """What an account would have without any request."""
        if row.kind in ("wallet", "pack"):
            return self.balance[row.id]
        begun = self.amounts[row.id.partition(":credits")[0] if row.returns_after_ms else row.id.rpartition("/")[0]]
        return self.limits.setdefault(row.id, begun) + int(row.cut_nanos)  # what is still to be taken

    def teardown(self) -> None:
        try:
            for relay in list(self.world.relays):
                for request_id in relay.running:
                    self.used[request_id] = self.world.counts[request_id] = Usage(3, 4)
                relay.die()
            self.world.post()
            self.world.post()
            self.the_audit_agrees()
            self.every_charge_and_every_balance_is_the_models()
            assert {row.request_id for row in self.look(sa.select(receipts.c.request_id))} == set(self.opened)
            assert self.look(sa.select(accounts.c.id).where(accounts.c.leased_nanos != 0)) == []
        finally:
            self.world.close()
            self.patch.undo()


class WholeLedgerOnPostgresql(WholeLedger):
    """The same on a server."""

    store = "postgresql"


CHECKS = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
#: The long form is 20,000 steps on SQLite: 2,000 took a minute on two busy cores, 5,000 over 15 on busier ones.
#: Most of it is the audit after each.
patience = pytest.mark.timeout(7_200 if LONG else 120)
TestWholeLedger = patience(WholeLedger.TestCase)
TestWholeLedger.settings = settings(
    max_examples=400 if LONG else 20,
    stateful_step_count=50 if LONG else 30,
    deadline=None,
    suppress_health_check=CHECKS,
)
TestWholeLedgerOnPostgresql = patience(WholeLedgerOnPostgresql.TestCase)
TestWholeLedgerOnPostgresql.settings = settings(
    max_examples=40 if LONG else 5, stateful_step_count=50 if LONG else 30, deadline=None, suppress_health_check=CHECKS
)
