"""The books that ``bench.ledger`` fills: 27 organisations that pay in every way there is, with real lengths.

A third pays from wallets with a budget, a third from resource packs before the wallet, a third from plans with three
windows. One process holds, journals and posts; what it uses is what the relay and the poster use.
"""

from __future__ import annotations

import asyncio
import csv
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from openmaas.core.bounds import TEMPLATE_TOKENS
from openmaas.core.clock import Clock
from openmaas.core.money import NANO
from openmaas.core.terms import flat
from openmaas.core.usage import Usage
from openmaas.ledger.book import top_up
from openmaas.ledger.legs import Leg
from openmaas.ledger.posting.batch import post
from openmaas.ledger.posting.poster import Poster
from openmaas.ledger.prices import PriceBook, price_book, set_price
from openmaas.ledger.selling.packs import add_pack
from openmaas.ledger.selling.payers import add_budget
from openmaas.ledger.selling.plans import add_plan
from openmaas.ledger.selling.subscribing import subscribe
from openmaas.ledger.spending.funds import Funds, Use
from openmaas.ledger.spending.holds import Source
from openmaas.ledger.spending.leasing import Step, give_back, lease, open_journal
from openmaas.ledger.spending.plans import PlanTerms, Window
from openmaas.ledger.spending.purse import Purse
from openmaas.ledger.writing.journal import Journal
from openmaas.ledger.writing.records import Closed, Opened
from openmaas.store.changes import Follower
from openmaas.store.database import Database

TRACE = Path(__file__).parent.parent / "tests" / "traces" / "arena.csv"
#: So much that nobody runs out: what is measured is the work, and all rounds are alike.
PLENTY = 10**6 * NANO
HOUR_S = 3_600
MODEL = "m"
#: What a request may generate at most: more than nearly all of the trace did.
ANSWER_TOKENS = 1_024


class Request(msgspec.Struct, frozen=True):
    """One line of the trace: the most it can use, and what it used."""

    use: Use
    usage: Usage


class Books:
    """One database, its organisations, a relay's ledger and a poster."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.clock = Clock()
        self._folder = folder
        self._follower = Follower(database, self.clock)
        self._funds = Funds(database, self._follower, self.clock, "CNY")
        self._lives = 0
        _found(database, self.clock)
        self._trace = list(_requests(self.clock.wall_ms()))
        self._prices: PriceBook = database.look(price_book)
        self._poster = Poster(
            database, folder, "bench", self.clock, lambda _asked: {}, lambda _tx, _fresh: None, lambda _before_ms: None
        )

    async def hold(self, warm: int, count: int) -> tuple[float, list[Closed], str]:
        """Hold and settle ``count`` requests on leases that ``warm`` requests before them brought, one after the other.

        Returns the seconds, all that was closed, and the life of the relay that did it.
        """
        life = self._begin()
        purse = Purse(self.database, self._follower, self.clock, life)
        await self._follower.start()
        running = [asyncio.ensure_future(each.run()) for each in (self._follower, purse)]
        requests = itertools.cycle(self._trace)
        closed = [await self._one(purse, next(requests), life, number) for number in range(warm)]
        began_s = time.perf_counter()
        closed += [await self._one(purse, next(requests), life, warm + number) for number in range(count)]
        seconds = time.perf_counter() - began_s
        for task in running:
            task.cancel()
        await asyncio.wait(running)
        await purse.close()
        return seconds, closed, life

    def journal(self, closed: list[Closed], life: str) -> None:
        """Write what was closed as the relay writes it; its journal ends."""
        journal = Journal(self._folder / life)
        for record in closed:
            journal.close(record, journal.open(record.opened))
        journal.end()

    def post(self) -> tuple[int, float]:
        """Let the poster post all there is; the lines and the seconds."""
        began_s, posted = time.perf_counter(), 0
        while step := self._poster.step():
            posted += step
        return posted, time.perf_counter() - began_s

    async def sources(self, count: int) -> list[tuple[Request, list[Source]]]:
        """Requests with what pays for them, known beforehand as a relay knows it."""
        found = []
        for each in itertools.islice(itertools.cycle(self._trace), count):
            funding = await self._funds.of(each.use.organisation_id)
            found.append((each, funding.sources(each.use, self._prices)))
        return found

    def transaction_each(self, asked: list[tuple[Request, list[Source]]], seconds: float) -> tuple[int, float]:
        """The same accounting in one transaction for each request: lease, post, give the rest back."""
        life, done, began_s = self._begin(), 0, time.perf_counter()
        turns: dict[str, int] = {}
        for request, sources in itertools.cycle(asked):
            self.database.call(self._account, life, done, request, sources[0], turns)
            done += 1
            if time.perf_counter() - began_s > seconds:
                break
        spent_s = time.perf_counter() - began_s
        Journal(self._folder / life).end()  # the poster finds it, empty, and is done with it
        return done, spent_s

    def _begin(self) -> str:
        self._lives += 1
        life = f"rly_{self._lives:04d}"
        self.database.call(open_journal, life, "bench", self.clock.wall_ms())
        return life

    async def _one(self, purse: Purse, request: Request, life: str, number: int) -> Closed:
        funding = await self._funds.of(request.use.organisation_id)
        with await purse.hold(funding.sources(request.use, self._prices)) as hold:
            opened = _opened(request.use, f"{life}_{number}", tuple(hold.legs))
            paid, excess = self._prices.bill(hold.legs, request.usage, opened.opened_ms, batch=False)
            hold.settle(paid)
        return Closed(opened, self.clock.wall_ms(), 1, "done", request.usage, paid, excess)

    def _account(
        self, tx: sa.Connection, life: str, number: int, request: Request, source: Source, turns: dict[str, int]
    ) -> None:
        hold, now = source.worst_nanos, 2 * number + 1
        for bound in source.bounds:
            step = Step(life, now)
            lease(tx, self.clock, bound.account_id, step, least_nanos=hold, wish_nanos=hold, share=1, fill=bound.fill)
        legs = (Leg(source.account_ids, source.currency, source.price_version, hold),)
        opened = _opened(request.use, f"{life}_{number}", legs)
        paid, excess = self._prices.bill(legs, request.usage, opened.opened_ms, batch=False)
        closed = Closed(opened, self.clock.wall_ms(), 1, "done", request.usage, paid, excess)
        post(tx, self.clock, life, [closed], cursor=(1, 0), floor=(1, 0))
        for bound in source.bounds:
            give_back(tx, bound.account_id, Step(life, now + 1), hold - paid[0])


def _found(database: Database, clock: Clock) -> None:
    """Prices, a plan, and the organisations of the trace."""
    call: Any = database.call  # so that what several take can be said once
    for currency in ("CNY", "credits"):
        call(set_price, model=MODEL, currency=currency, terms=flat(2 * NANO, 8 * NANO, NANO // 2), from_ms=0)
    windows = (
        Window("5h", "rolling", PLENTY, 5 * HOUR_S),
        Window("week", "cycle", 2 * PLENTY, 7 * 24 * HOUR_S),
        Window("month", "month", 5 * PLENTY),
    )
    plan = call(add_plan, clock, "pro", PlanTerms(windows, price_nanos=NANO))
    until_ms = clock.wall_ms() + 24 * HOUR_S * 1000
    for tenant in _tenants():
        organisation, money = f"org_{tenant}", {"currency": "CNY", "amount_nanos": PLENTY}
        call(top_up, clock, organisation, **money, request_key="1", memo="")
        if tenant % 3 == 0:
            scope = {"scope": "organisation", "subject_id": organisation, "period": "month"}
            call(add_budget, clock, organisation, **scope, **money)
        elif tenant % 3 == 1:
            pack = {"currency": "tokens", "amount_nanos": 100 * PLENTY, "models": (MODEL,)}
            times = {"from_ms": 0, "until_ms": until_ms}
            call(add_pack, clock, organisation, request_key="1", name="pack", **pack, **times)
        else:
            call(subscribe, clock, organisation, plan.id, request_key="1")


def _tenants() -> list[int]:
    return sorted({int(row["tenant"]) for row in _rows()})


def _rows() -> Iterator[dict[str, str]]:
    with TRACE.open(newline="") as file:
        yield from csv.DictReader(file)


def _requests(now_ms: int) -> Iterator[Request]:
    for row in _rows():
        tenant, prompt, completion = int(row["tenant"]), int(row["prompt_tokens"]), int(row["output_tokens"])
        entrance = "coding" if tenant % 3 == 2 else "api"
        who = (f"org_{tenant}", f"project_{tenant}", f"key_{tenant}")
        most = (prompt + TEMPLATE_TOKENS, max(completion, ANSWER_TOKENS))
        yield Request(Use(MODEL, entrance, *who, *most, now_ms), Usage(prompt, completion))


def _opened(use: Use, request_id: str, legs: tuple[Leg, ...]) -> Opened:
    who = (use.key_id, use.project_id, use.organisation_id)
    return Opened(request_id, use.opened_ms, *who, use.model, "dep_bench", legs, batch=False)
