"""What limits promise, whoever lends them: a relay alone, SQLite, PostgreSQL or Valkey. Real servers."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet import CLOCK, Fleet, Member, busiest
from openmaas.core import bounds
from openmaas.core.errors import LimitReached, OverLimit
from openmaas.limits.borrower import Borrower
from openmaas.limits.borrowing import Lender
from openmaas.limits.counters import Company, Rate
from openmaas.limits.tables import TableLender
from openmaas.limits.valkey import ValkeyLender
from servers import Valkey, new_database

pytestmark = pytest.mark.alone

LENDERS = ("alone", "sqlite", "postgresql", "valkey")
SHARED = LENDERS[1:]


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    """A Valkey server; each test has an empty one."""
    server = Valkey()
    yield server
    server.stop()


class Store:
    """Makes lenders of one kind that lend of the same."""

    def __init__(self, kind: str, folder: Path, valkey: Valkey) -> None:
        self.kind = kind
        self.folder = folder
        self.valkey = valkey
        if kind == "valkey":
            valkey.kill()
            valkey.start()
        self._database = new_database(kind, folder) if kind in ("sqlite", "postgresql") else None

    def lenders(self, relays: int) -> list[Lender | None]:
        """One for each relay."""
        if self.kind == "alone":
            return [None]
        if self._database is None:
            return [ValkeyLender(self.valkey.url, CLOCK) for _ in range(relays)]
        return [TableLender(self._database, CLOCK) for _ in range(relays)]

    def fleet(self, relays: int, **amounts: int) -> Fleet:
        """Relays that share these limits."""
        return Fleet(self.folder, self.lenders(relays), **amounts)

    def close(self) -> None:
        """Let go of the database."""
        if self._database is not None:
            self._database.close()


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path, valkey: Valkey) -> Iterator[Store]:
    made = Store(request.param, tmp_path, valkey)
    yield made
    made.close()


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 60))


def sizes() -> list[Any]:
    pairs = [("alone", 1), *((kind, relays) for kind in SHARED for relays in (1, 4, 16))]
    return [pytest.param(kind, relays, id=f"{kind}-{relays}") for kind, relays in pairs]


@pytest.mark.parametrize(("store", "relays"), sizes(), indirect=["store"])
def test_relays_together_let_through_the_limit_and_not_one_more(store: Store, relays: int) -> None:
    async def story() -> None:
        async with store.fleet(relays, rpm=300) as fleet:
            await asyncio.gather(*(member.press(2.0, 450 / 2.0 / relays) for member in fleet.members))
            assert len(fleet.asked_s()) > 330
            assert 290 <= busiest(fleet.admitted_s()) <= 300

    run(story())


@pytest.mark.parametrize(("store", "relays"), sizes(), indirect=["store"])
def test_seats_of_all_relays_are_never_more_than_the_limit(store: Store, relays: int) -> None:
    async def story() -> None:
        most = 0

        async def watch(fleet: Fleet) -> None:
            nonlocal most
            while True:
                most = max(most, sum(member.running for member in fleet.members))
                await asyncio.sleep(0)

        async with store.fleet(relays, concurrency=20) as fleet:
            watching = asyncio.ensure_future(watch(fleet))
            await asyncio.gather(*(member.press(2.0, 400 / relays, hold_s=0.1) for member in fleet.members))
            watching.cancel()
            assert 18 <= most <= 20
            assert sum(member.running for member in fleet.members) == 0

    run(story())


@pytest.mark.parametrize("store", SHARED, indirect=True)
def test_the_seats_of_a_killed_relay_come_back(store: Store) -> None:
    async def story() -> None:
        async with store.fleet(2, concurrency=4) as fleet:
            dead, alive = fleet.members
            held = [asyncio.ensure_future(dead.ask(hold_s=60)) for _ in range(4)]
            await asyncio.sleep(0.3)
            assert dead.running == 4
            assert not await alive.ask()
            dead.kill()
            until_s = asyncio.get_running_loop().time() + bounds.SEATS_TERM_MS / 1000 + 2
            while not await alive.ask():
                assert asyncio.get_running_loop().time() < until_s
                await asyncio.sleep(0.1)
            for request in held:
                request.cancel()

    run(story())


@pytest.mark.parametrize("store", LENDERS, indirect=True)
def test_tokens_that_were_not_used_come_back_and_those_beyond_the_estimate_count(store: Store) -> None:
    async def story() -> None:
        async with store.fleet(1, tpm=1_000) as fleet:
            (member,) = fleet.members
            for number in range(20):  # each might use 900, and uses 40
                assert await member.ask(tokens=900, used=40) == (number < 3)
            assert member_used(member) == 120
            assert await member.ask(tokens=10, used=880)
            await settled(member)
            assert not await member.ask(tokens=1)

    run(story())


@pytest.mark.parametrize("store", LENDERS, indirect=True)
def test_a_refusal_names_the_limit_and_the_moment_at_which_the_request_fits(store: Store) -> None:
    async def story() -> None:
        async with store.fleet(1, rpm=3, tpm=5_000) as fleet:
            (member,) = fleet.members
            for _ in range(3):
                assert await member.ask(tokens=10, used=10)
            with pytest.raises(LimitReached) as raised:
                await member.limits.admit(("org", "prj", "key"), "m", 10)
            assert "3 requests a minute for organisation org on all models together" in raised.value.message
            assert raised.value.retry_after_s is not None
            assert 58 < raised.value.retry_after_s <= 60 + 2 * bounds.SLICE_GRAIN_MS / 1000
            assert {s.kind: s.amount for s in raised.value.standings} == {"requests": 3, "tokens": 5_000}
            with pytest.raises(OverLimit, match="this may use 5001"):
                await member.limits.admit(("org", "other", "key"), "m", 5_001)

    run(story())


def test_without_valkey_each_relay_has_its_part_and_with_it_again_they_share(tmp_path: Path) -> None:
    server = Valkey()
    shared = Store("valkey", tmp_path, server)

    async def story() -> None:
        async with shared.fleet(4, rpm=400) as fleet:
            await asyncio.gather(*(member.press(0.5, 50) for member in fleet.members))
            before = len(fleet.admitted_s())
            server.kill()
            await asyncio.gather(*(member.press(2.0, 200) for member in fleet.members))
            assert all(member.company.apart == 4 for member in fleet.members)
            assert [len(member.admitted_s) for member in fleet.members] == [100] * 4
            assert before < busiest(fleet.admitted_s()) == 400
            server.start()
            while any(member.company.apart for member in fleet.members):
                await asyncio.sleep(0.05)
            await asyncio.sleep(1.0)  # relays tell what they used
            await asyncio.gather(*(member.press(1.0, 50) for member in fleet.members))
            assert busiest(fleet.admitted_s()) == 400

    run(story())
    server.stop()


def test_a_request_waits_for_no_round_trip_while_its_relay_has_a_slice(tmp_path: Path, valkey: Valkey) -> None:
    async def story() -> None:
        async with Store("valkey", tmp_path, valkey).fleet(4, rpm=100_000) as fleet:
            await asyncio.gather(*(member.press(3.0, 200) for member in fleet.members))
            waits_s = sorted(wait for member in fleet.members for wait in member.waits_s)
            assert waits_s[int(len(waits_s) * 0.9)] < 0.000_2

    run(story())


def test_a_borrower_that_is_told_to_stop_while_it_is_needed_stops(tmp_path: Path) -> None:
    """Both in one turn of the loop: before Python 3.12 `asyncio.wait_for` forgets then that it was cancelled."""

    async def story() -> None:
        database, company = new_database("sqlite", tmp_path), Company()
        borrower = Borrower(TableLender(database, CLOCK), company, CLOCK, "rly_1")
        company.apart = 0
        task = asyncio.ensure_future(borrower.run())
        await asyncio.sleep(0.05)
        borrower.soon(Rate("r", company, 10, "rpm"))
        task.cancel()
        await asyncio.wait([task], timeout=1)
        assert task.cancelled()
        database.close()

    run(story())


def member_used(member: Member) -> int:
    """The tokens in the window of this relay."""
    (counter,) = member.limits._counters.values()
    return counter.window.total(CLOCK.mono_s())


async def settled(member: Member) -> None:
    """What is used beyond an estimate is told to the lender within one interval."""
    if member.borrower is not None:
        member.borrower._short.set()
        await asyncio.sleep(2 * bounds.BORROW_INTERVAL_S)
