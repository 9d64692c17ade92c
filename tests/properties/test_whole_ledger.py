"""The whole ledger beside a model in plain arithmetic: every way to pay, several relays, and all that can go wrong.

The model knows what was put in, what each posted request must have cost on the legs that it was held on, and what each
counter began with. After each step the audit agrees, no account is below 0, and every balance is the model's.
"""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from fractions import Fraction
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from openmaas.core.errors import OpenmaasError
from openmaas.core.terms import Terms
from openmaas.core.usage import Usage
from openmaas.ledger.audit import audit
from openmaas.ledger.law import accounts, charges, receipts, returns
from openmaas.ledger.legs import Leg
from openmaas.ledger.spending.funds import Use
from openmaas.ledger.writing.records import Opened
from paying import Paying, pick
from shaky import CUES
from whole import Relay

LONG = os.environ.get("OPENMAAS_TEST_LONG")


def used(prompt: int, completion: int, cached: int = 0, calls: int = 0) -> Usage:
    return Usage(prompt, completion, cached, units=(("call", calls),) if calls else ())


tokens = st.sampled_from([0, 1, 7, 100, 333, 1_001, 3_000])
calls = st.sampled_from([0, 0, 1, 3])
asks = st.tuples(pick, st.sampled_from("ab"), st.sampled_from(["api", "api", "coding"]), tokens, tokens, pick, calls)
uses = st.builds(used, tokens, tokens, st.just(0), calls)


def cost_of(terms: Terms, usage: Usage) -> int:
    """What a request costs, as a receipt explains it: three lines and one a unit, each rounded half up."""
    fits = [b for b in terms.bands if b.input_from <= usage.prompt_tokens and b.output_from <= usage.completion_tokens]
    lines = (
        (usage.prompt_tokens - usage.cached_tokens, fits[-1].input_nanos),
        (usage.cached_tokens, fits[-1].cached_nanos),
        (usage.completion_tokens, fits[-1].output_nanos),
        *((count, terms.units.get(unit, 0)) for unit, count in usage.units),
    )
    return sum(half_up(Fraction(units * price, 10**6)) for units, price in lines)


def half_up(number: Fraction) -> int:
    return int(number + Fraction(1, 2))


def shares(legs: tuple[Leg, ...], costs: list[int]) -> list[int]:
    """What each leg pays: what it holds, of the part of the request that the legs before have left."""
    rest, paid = Fraction(1), []
    for leg, cost in zip(legs, costs, strict=True):
        due = half_up(cost * rest)
        paid.append(min(due, leg.hold_nanos))
        rest *= Fraction(due - paid[-1], due) if due else 0
    return paid


class WholeLedger(Paying):
    """The same organisation's requests, on relays that break."""

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

    @rule(wanted=st.lists(st.tuples(asks, uses), min_size=1, max_size=12))
    def requests_come_and_end(self, wanted: list[Any]) -> None:
        """An ordinary minute: nothing breaks."""
        for ask, usage in wanted:
            before = set(self.opened)
            self.come([ask], [], 0)
            for request_id in set(self.opened) - before:
                relay = next(relay for relay in self.world.relays if request_id in relay.running)
                self.ends(relay, request_id, usage)

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
                self.opened[found.request_id] = (found.legs, None)
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
        self.opened[request_id] = (self.opened[request_id][0], usage)

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
                self.opened[request_id] = (self.opened[request_id][0], usage)
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

    def paid(self, request_id: str) -> dict[str, int]:
        """What each account must pay of a request that has ended."""
        legs, usage = self.opened[request_id]
        assert usage is not None, request_id
        paid = shares(legs, [cost_of(self.terms[leg.price_version], usage) for leg in legs])
        return {account_id: nanos for leg, nanos in zip(legs, paid, strict=True) for account_id in leg.accounts}

    @invariant()
    def the_audit_agrees(self) -> None:
        posted = {row.request_id for row in self.look(sa.select(receipts.c.request_id))}
        known = {i: usage for i, usage in self.world.counts.items() if i in posted}
        found = self.world.database.look(audit, self.world.folder / "journals", known)
        assert found.disagreements == []

    @invariant()
    def every_charge_and_every_balance_is_the_models(self) -> None:
        charged: dict[str, int] = defaultdict(int)
        billed: dict[str, dict[str, int]] = defaultdict(dict)
        for row in self.look(sa.select(charges.c.request_id, charges.c.account_id, charges.c.amount_nanos)):
            charged[row.account_id] += row.amount_nanos
            billed[row.request_id][row.account_id] = row.amount_nanos
        for request_id, lines in billed.items():
            assert lines == self.paid(request_id), request_id
        waiting: dict[str, int] = defaultdict(int)
        for row in self.look(sa.select(returns)):
            waiting[row.account_id] += row.amount_nanos
        for row in self.look(sa.select(accounts).where(accounts.c.kind.in_(["wallet", "pack", "window", "budget"]))):
            assert row.posted_nanos - row.pending_nanos - row.leased_nanos + row.credit_nanos >= 0, row
            assert row.posted_nanos in self.may_have(row, charged[row.id], waiting[row.id]), row

    def may_have(self, row: Any, charged: int, waiting: int) -> tuple[int, ...]:
        """What an account may have posted: a pack that has ended has the rest or nothing."""
        if row.kind == "wallet":
            return (self.balance[row.id] - charged,)
        if row.kind == "pack":
            return (self.balance[row.id] - charged, 0)
        begun = self.amounts[row.id.partition(":credits")[0] if row.returns_after_ms else row.id.rpartition("/")[0]]
        limit = self.limits.setdefault(row.id, begun)
        limit += row.cut_nanos  # still to be taken
        return (limit - (charged if row.returns_after_ms is None else waiting),)

    def teardown(self) -> None:
        try:
            for relay in list(self.world.relays):
                for request_id in relay.running:
                    self.opened[request_id] = (self.opened[request_id][0], Usage(3, 4))
                    self.world.counts[request_id] = Usage(3, 4)
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
#: The long form, 20,000 steps on SQLite, took 15 minutes on two busy cores: most of it is the audit after each.
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
