"""Steps of a purse that break in the middle: no lease is forgotten and none counts twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from openmaas.core.clock import Clock
from openmaas.core.errors import BudgetExceeded, CycleExhausted, InsufficientFunds, OverPlan, StoreFailed
from openmaas.ledger.book import find_account, top_up, wallet_id
from openmaas.ledger.law import leases
from openmaas.ledger.posting.batch import post, retire
from openmaas.ledger.selling.payers import Payer, set_payer
from openmaas.ledger.spending.funds import Funds, funding
from openmaas.ledger.spending.holds import Bound, Fill, Source
from openmaas.ledger.spending.leasing import Step, give_back, lease, open_journal, recall
from openmaas.ledger.spending.purse import Purse
from openmaas.store.changes import Follower, forget, note
from servers import STORES
from shaky import Shaky, shaky_database

CLOCK = Clock()
WALLET = wallet_id("org", "CNY")
BUDGET = "budget:org:b/0:CNY"
TOP_UP = 1_000_000


class Two:
    """Two relays before one wallet."""

    def __init__(self, database: Shaky) -> None:
        self.database = database
        database.call(top_up, CLOCK, "org", currency="CNY", amount_nanos=TOP_UP, request_key="1", memo="")
        self.followers, self.purses = [], []
        for life in ("rly_1", "rly_2"):
            database.call(open_journal, life, "home", CLOCK.wall_ms())
            self.followers.append(Follower(database, CLOCK))
            self.purses.append(Purse(database, self.followers[-1], CLOCK, life))

    def granted(self) -> dict[str, int]:
        """What each relay leases of the wallet."""
        query = sa.select(leases.c.journal_id, leases.c.granted_nanos).where(leases.c.account_id == WALLET)
        return {row[0]: row[1] for row in self.database.look(lambda tx: tx.execute(query).all()) if row[1]}

    def play(self, story: Callable[[Purse, Purse], Awaitable[None]]) -> None:
        """Tell a story with both purses; all that they lease comes back at its end."""

        async def whole() -> None:
            for follower in self.followers:
                await follower.start()
            running = [asyncio.ensure_future(each.run()) for each in (*self.followers, *self.purses)]
            await story(*self.purses)
            self.database.calm()
            for task in running:
                task.cancel()
            for purse in self.purses:
                await purse.close()

        asyncio.run(whole())
        assert self.granted() == {}
        assert self.database.look(find_account, WALLET).free_nanos == TOP_UP


@pytest.fixture(params=STORES)
def two(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Two]:
    database = shaky_database(request.param, tmp_path)
    yield Two(database)
    database.close()


def of(*account_ids: str, nanos: int) -> list[Source]:
    """One source; what is no wallet is filled with ten thousand by its first lease."""
    bounds = [Bound(each, None if each == WALLET else Fill(10_000)) for each in account_ids]
    return [Source(tuple(bounds), "CNY", 1, nanos)]


@pytest.mark.parametrize("cue", ["refused", "lost"])
def test_a_step_that_broke_is_done_once(two: Two, cue: str) -> None:
    async def story(purse: Purse, _: Purse) -> None:
        two.database.cues.append(cue)
        with pytest.raises(StoreFailed):
            await purse.hold(of(WALLET, nanos=1_000))
        with await purse.hold(of(WALLET, nanos=1_000)):
            assert two.granted()["rly_1"] >= 1_000

    two.play(story)


@pytest.mark.parametrize("cue", ["refused", "lost"])
def test_what_a_purse_gives_back_while_its_last_step_is_in_doubt_is_not_forgotten(two: Two, cue: str) -> None:
    async def story(purse: Purse, _: Purse) -> None:
        with await purse.hold(of(WALLET, nanos=1_000)):
            pass
        two.database.cues.append(cue)
        with pytest.raises(StoreFailed):
            await purse.hold(of(WALLET, nanos=900_000))
        two.database.cues.extend([cue, cue])  # the database is out for a while
        await purse.close()

    two.play(story)


def test_a_client_that_leaves_while_the_step_before_is_asked_again_takes_nothing_along(two: Two) -> None:
    async def story(purse: Purse, _: Purse) -> None:
        two.database.cues.append("lost")
        with pytest.raises(StoreFailed):
            await purse.hold(of(WALLET, nanos=1_000))
        two.database.cues.extend(["well", "held"])
        leaving = asyncio.ensure_future(purse.hold(of(WALLET, nanos=900_000)))
        while two.database.cues:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving

    two.play(story)


def test_a_client_that_leaves_while_a_lease_grows_leaves_it_to_the_next(two: Two) -> None:
    async def story(purse: Purse, _: Purse) -> None:
        two.database.cues.append("held")
        leaving = asyncio.ensure_future(purse.hold(of(WALLET, nanos=700_000)))
        while not two.granted():
            await asyncio.sleep(0.001)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        with await purse.hold(of(WALLET, nanos=700_000)):
            assert two.granted()["rly_1"] <= TOP_UP

    two.play(story)


def test_two_relays_that_recall_each_other_are_both_served_one_after_the_other(two: Two) -> None:
    async def story(one: Purse, other: Purse) -> None:
        for purse in (one, other):
            with await purse.hold(of(WALLET, nanos=TOP_UP // 2)):
                pass

        async def ask(purse: Purse) -> None:
            with await purse.hold(of(WALLET, nanos=TOP_UP * 9 // 10)):
                await asyncio.sleep(0.05)

        await asyncio.gather(ask(one), ask(other))

    two.play(story)


def test_a_hold_over_two_accounts_takes_from_both_or_from_none(two: Two) -> None:
    async def story(purse: Purse, _: Purse) -> None:
        with pytest.raises(InsufficientFunds):
            await purse.hold(of(WALLET, BUDGET, nanos=20_000))
        with await purse.hold(of(WALLET, BUDGET, nanos=10_000)) as hold:
            assert hold.legs[0].accounts == (WALLET, BUDGET)
            with pytest.raises(InsufficientFunds):
                await purse.hold(of(WALLET, BUDGET, nanos=1))
            with await purse.hold(of(WALLET, nanos=TOP_UP - 10_000)):  # what the budget refused is free in the wallet
                pass

    two.play(story)


@pytest.mark.parametrize(
    ("what", "kind", "never"),
    [("window:org:s/week/0:credits", CycleExhausted, OverPlan), (BUDGET, BudgetExceeded, BudgetExceeded)],
)
def test_what_never_fits_a_window_is_told_no_time_at_which_it_would(
    two: Two, what: str, kind: type[InsufficientFunds], never: type[InsufficientFunds]
) -> None:
    bound = Bound(what, Fill(10_000), CLOCK.wall_ms() + 60_000)

    async def refused(purse: Purse, nanos: int) -> InsufficientFunds:
        with pytest.raises(InsufficientFunds) as found:
            await purse.hold([Source((bound,), bound.account_id.rpartition(":")[2], 1, nanos)])
        return found.value

    async def story(purse: Purse, _: Purse) -> None:
        with await purse.hold([Source((bound,), "credits", 1, 1)]):
            later, at_no_time = await refused(purse, 10_000), await refused(purse, 10_001)
        assert (type(later), type(at_no_time)) == (kind, never)
        assert later.retry_after_s is not None
        assert at_no_time.retry_after_s is None

    two.play(story)


def test_what_an_earlier_source_gave_comes_back_when_the_last_one_refuses(two: Two) -> None:
    async def story(purse: Purse, _: Purse) -> None:
        sources = [*of(BUDGET, nanos=20_000), *of(WALLET, nanos=10 * TOP_UP)]
        with pytest.raises(InsufficientFunds):
            await purse.hold(sources)
        with await purse.hold(of(BUDGET, nanos=10_000)):
            pass

    two.play(story)


def test_a_slice_that_all_is_given_back_of_begins_again_with_its_next_step(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openmaas.ledger.spending.purse.LEASE_IDLE_S", 0.05)

    async def story(purse: Purse, _: Purse) -> None:
        for _again in range(3):
            with await purse.hold(of(WALLET, nanos=1_000)):
                pass
            while two.granted():
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)

    two.play(story)


def test_a_purse_that_is_told_to_end_in_the_moment_of_a_recall_ends(two: Two) -> None:
    async def story(purse: Purse, _: Purse) -> None:
        follower = Follower(two.database, CLOCK)
        await follower.start()
        mine = Purse(two.database, follower, CLOCK, "rly_1")
        with await mine.hold(of(WALLET, nanos=1_000)):
            pass
        running = asyncio.ensure_future(mine.run())
        await asyncio.sleep(0.01)
        two.database.call(recall, WALLET)
        assert await follower.step() == 1
        await asyncio.sleep(0)  # it has heard, and wakes up next
        running.cancel()
        done, _still = await asyncio.wait([running], timeout=1)
        running.cancel()
        assert done == {running}
        await mine.close()

    two.play(story)


def test_a_step_of_which_the_answer_was_lost_grants_again_what_it_granted(two: Two) -> None:
    fields = {"least_nanos": 10, "wish_nanos": 100, "share": 4}
    first = two.database.call(lease, CLOCK, WALLET, Step("rly_1", 1), **fields)
    assert two.database.call(lease, CLOCK, WALLET, Step("rly_1", 1), **fields) == first == 100
    assert two.granted() == {"rly_1": 100}
    assert two.database.call(lease, CLOCK, WALLET, Step("rly_1", 2), **fields) == 100
    # Its client left while it was on its way; it was asked again meanwhile.
    assert two.database.call(lease, CLOCK, WALLET, Step("rly_1", 1), **fields) == 0
    assert two.granted() == {"rly_1": 200}
    two.database.call(give_back, WALLET, Step("rly_1", 3), 200)
    assert two.granted() == {}


@pytest.mark.parametrize("state", ["replayed", "written_off"])
def test_a_step_that_arrives_after_its_relays_journal_was_closed_leases_nothing(two: Two, state: str) -> None:
    fields = {"least_nanos": 10, "wish_nanos": 100, "share": 4}
    two.database.call(lease, CLOCK, WALLET, Step("rly_1", 1), **fields)
    assert two.database.call(retire, "rly_1", state) == {WALLET: 100}
    for late in (
        lambda tx: lease(tx, CLOCK, WALLET, Step("rly_1", 2), **fields),
        lambda tx: give_back(tx, WALLET, Step("rly_1", 2), 100),
        lambda tx: retire(tx, "rly_1"),
        lambda tx: post(tx, CLOCK, "rly_1", [], cursor=(1, 9), floor=(1, 9)),
    ):
        with pytest.raises(StoreFailed, match=state):
            two.database.call(late)
    assert two.database.look(find_account, WALLET).free_nanos == TOP_UP


def test_a_process_that_missed_changes_reads_again_how_everybody_pays(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openmaas.store.changes.CHANGES_KEPT", 1)

    async def story(_one: Purse, _other: Purse) -> None:
        follower = Follower(two.database, CLOCK)
        funds = Funds(two.database, follower, CLOCK, "USD")
        await follower.start()
        assert (await funds.of("org")).currency == "USD"
        two.database.call(set_payer, Payer(organisation_id="org", currency="CNY"))
        for _ in range(3):
            two.database.call(note, "key", "k")
        two.database.call(forget)
        await follower.step()
        assert await funds.of("org") == two.database.look(funding, "org", CLOCK.wall_ms())

    two.play(story)
