"""What leases promise on each database: recalled when another runs short, exact to the last nano, back at rest."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from openmaas.core.bounds import LEASE_BUSY_S, LEASE_HOLDS
from openmaas.core.clock import Clock
from openmaas.core.errors import BudgetExceeded, InsufficientFunds
from openmaas.ledger.book import find_account, top_up, wallet_id
from openmaas.ledger.spending.holds import Bound, Fill, Source
from openmaas.ledger.spending.leasing import open_journal
from openmaas.ledger.spending.purse import Purse
from openmaas.store.changes import Follower
from openmaas.store.database import Database
from servers import STORES, new_database

CLOCK = Clock()
WALLET = wallet_id("org", "CNY")
FUNDS = 10_000


@contextlib.asynccontextmanager
async def relays(database: Database, count: int) -> AsyncIterator[list[Purse]]:
    """So many relays' purses, each with its own view of the database, as processes have it."""
    purses, running = [], []
    for number in range(count):
        follower = Follower(database, CLOCK)
        await follower.start()
        database.call(open_journal, f"rly_{number}", "home", 1)
        purses.append(Purse(database, follower, CLOCK, f"rly_{number}"))
        running += [asyncio.ensure_future(work) for work in (follower.run(), purses[-1].run())]
    try:
        yield purses
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for purse in purses:
            await purse.close()


@pytest.fixture(params=STORES)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A wallet with ``FUNDS``."""
    made = new_database(request.param, tmp_path)
    made.call(top_up, CLOCK, "org", currency="CNY", amount_nanos=FUNDS, request_key="1", memo="")
    yield made
    made.close()


def wallet(nanos: int, *more: Bound) -> list[Source]:
    return [Source((Bound(WALLET), *more), "CNY", 1, nanos)]


def test_a_busy_slice_grows_before_it_runs_out_and_a_slow_one_does_not(database: Database) -> None:
    async def play() -> None:
        def leased() -> int:
            return database.look(find_account, WALLET).leased_nanos

        async def spend(times: int) -> None:
            for _ in range(times):
                (await purse.hold(wallet(1))).settle((1,))

        async with relays(database, 1) as (purse,):
            await spend(LEASE_HOLDS // 2)
            assert leased() == LEASE_HOLDS
            await spend(1)  # half of it was used, in no time
            async with asyncio.timeout(10):
                while leased() == LEASE_HOLDS:
                    await asyncio.sleep(0.01)
            assert leased() == 3 * LEASE_HOLDS
            await asyncio.sleep(LEASE_BUSY_S)
            await spend(2 * LEASE_HOLDS)
            await asyncio.sleep(0.1)
            assert leased() == 3 * LEASE_HOLDS
        assert leased() == LEASE_HOLDS // 2 + 1 + 2 * LEASE_HOLDS  # what was charged

    asyncio.run(play())


@pytest.mark.parametrize("count", [2, 4, 16])
def test_a_relay_that_runs_short_gets_what_the_others_lease_and_do_not_use(database: Database, count: int) -> None:
    async def play() -> None:
        async with relays(database, count) as purses:
            for purse in purses[1:]:  # each has leased its share, and uses none of it
                with await purse.hold(wallet(100)):
                    pass
            assert database.look(find_account, WALLET).leased_nanos > FUNDS // 10
            with await purses[0].hold(wallet(FUNDS)) as hold:  # within RECALL_WAIT_S, or it is refused
                assert hold.legs[0].hold_nanos == FUNDS
        assert database.look(find_account, WALLET).leased_nanos == 0

    asyncio.run(play())


@pytest.mark.parametrize("count", [1, 4, 16])
def test_everything_can_be_held_by_many_relays_and_not_one_nano_more(database: Database, count: int) -> None:
    async def play() -> None:
        async with relays(database, count) as purses:
            holds = [await purses[number % count].hold(wallet(FUNDS // 100)) for number in range(100)]
            refused = await asyncio.gather(*[purse.hold(wallet(1)) for purse in purses], return_exceptions=True)
            assert {type(each) for each in refused} == {InsufficientFunds}
            assert all("0.000000001 CNY is missing" in str(each) for each in refused)
            for hold in holds:
                hold.settle((0,))

    asyncio.run(play())


def test_a_hold_takes_from_all_accounts_or_from_none(database: Database) -> None:
    budget = Bound("budget:org:bud_1/0:CNY", Fill(500))

    async def play() -> None:
        async with relays(database, 2) as purses:
            with await purses[0].hold(wallet(400, budget)):
                with pytest.raises(BudgetExceeded, match=r"0\.0000001 CNY is free"):
                    await purses[1].hold(wallet(101, budget))
                with await purses[1].hold(wallet(100, budget)):
                    pass
            await asyncio.sleep(0)
        assert database.look(find_account, WALLET).leased_nanos == 0
        assert database.look(find_account, budget.account_id).leased_nanos == 0

    asyncio.run(play())


def test_who_stops_waiting_for_a_lease_leaves_nothing_behind(database: Database) -> None:
    async def play() -> None:
        async with relays(database, 1) as (purse,):
            for wait_s in (0, 0.0005, 0.001, 0.002, 0.005):
                task = asyncio.ensure_future(purse.hold(wallet(100)))
                await asyncio.sleep(wait_s)
                if not task.done():
                    task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    (await task).settle((0,))
            await asyncio.sleep(0.2)
            with await purse.hold(wallet(FUNDS)):
                pass
        assert database.look(find_account, WALLET).leased_nanos == 0

    asyncio.run(play())


def test_holds_that_grow_two_leases_at_the_same_time_all_get_what_there_is(database: Database) -> None:
    budget = Bound("budget:org:bud_1/0:CNY", Fill(FUNDS))

    async def play() -> None:
        async with relays(database, 1) as (purse,):
            holds = await asyncio.gather(*[purse.hold(wallet(FUNDS // 20, budget)) for _ in range(20)])
            assert sum(hold.legs[0].hold_nanos for hold in holds) == FUNDS
            for hold in holds:
                hold.settle((0,))

    asyncio.run(play())
