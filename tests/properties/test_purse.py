"""A relay's purse: whatever requests do at the same time, what it may spend is what it has leased."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from openmaas.core.clock import Clock
from openmaas.core.errors import InsufficientFunds
from openmaas.ledger.book import find_account, top_up, wallet_id
from openmaas.ledger.law import leases
from openmaas.ledger.spending.holds import Bound, Source
from openmaas.ledger.spending.leasing import open_journal
from openmaas.ledger.spending.purse import Purse
from openmaas.store.changes import Follower, changes
from servers import STORES, new_database

CLOCK = Clock()
WALLET = wallet_id("org", "CNY")
LIFE = "rly_1"
TOP_UP = 1_000_000


def granted(tx: sa.Connection) -> int:
    """What the purse has leased."""
    return int(tx.execute(sa.select(leases.c.granted_nanos).where(leases.c.journal_id == LIFE)).scalar() or 0)


def counted(tx: sa.Connection) -> int:
    """How many changes relays were told of."""
    return int(tx.execute(sa.select(sa.func.count()).select_from(changes)).scalar() or 0)


async def play(requests: list[tuple[int, int, int]], store: str = "sqlite") -> None:
    """Run requests at once; each is what it holds, what part of it is charged (per cent), and the turns it takes."""
    with tempfile.TemporaryDirectory() as folder:
        database = new_database(store, Path(folder))
        database.call(top_up, CLOCK, "org", currency="CNY", amount_nanos=TOP_UP, request_key="1", memo="")
        database.call(open_journal, LIFE, "home", CLOCK.wall_ms())
        purse = Purse(database, Follower(database, CLOCK), CLOCK, LIFE)
        held, charged = 0, 0

        async def request(nanos: int, percent: int, turns: int) -> None:
            nonlocal held, charged
            try:
                hold = await purse.hold([Source((Bound(WALLET),), "CNY", 1, nanos)])
            except InsufficientFunds:
                return
            with hold:
                held += nanos
                assert held + charged <= database.look(granted)
                for _ in range(turns):
                    await asyncio.sleep(0.001)
                held -= nanos
                if percent:
                    charged += nanos * percent // 100
                    hold.settle((nanos * percent // 100,))

        await asyncio.gather(*[request(*each) for each in requests])
        assert charged <= TOP_UP
        await purse.close()
        assert database.look(granted) == charged  # what was charged stays leased until it is posted
        account = database.look(find_account, WALLET)
        assert account.leased_nanos == charged
        database.close()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([1, 10, 1_000, 90_000, 400_000]), st.integers(0, 100), st.integers(0, 5)),
        min_size=2,
        max_size=14,
    )
)
def test_requests_at_the_same_time_never_hold_more_than_is_leased(requests: list[tuple[int, int, int]]) -> None:
    asyncio.run(play(requests))


@pytest.mark.parametrize("store", STORES)
def test_a_hold_that_waits_for_the_lease_to_grow_sees_what_others_took_meanwhile(store: str) -> None:
    # The first leaves something free; the second asks for more than that; the third takes it while the second waits.
    asyncio.run(
        play([(1_000, 0, 0), (1_000, 0, 3), (400_000, 100, 0), (10, 100, 0), (1_000, 100, 0), (90_000, 50, 2)], store)
    )


def test_a_hold_that_is_opened_in_the_journal_is_never_given_back_without_its_end(tmp_path: Path) -> None:
    """Its request is charged when the relay is gone, so nobody else may have leased the money meanwhile."""

    async def play() -> None:
        database = new_database("sqlite", tmp_path)
        database.call(top_up, CLOCK, "org", currency="CNY", amount_nanos=TOP_UP, request_key="1", memo="")
        database.call(open_journal, LIFE, "home", CLOCK.wall_ms())
        purse = Purse(database, Follower(database, CLOCK), CLOCK, LIFE)
        with await purse.hold([Source((Bound(WALLET),), "CNY", 1, 90_000)]) as hold:
            hold.opened = True
        await purse.close()
        assert database.look(granted) == 90_000
        database.close()

    asyncio.run(play())


def test_a_relay_that_is_alone_asks_nobody_to_give_back(tmp_path: Path) -> None:
    """Each request that is refused would write a change that every relay reads."""

    async def play() -> None:
        database = new_database("sqlite", tmp_path)
        database.call(top_up, CLOCK, "org", currency="CNY", amount_nanos=TOP_UP, request_key="1", memo="")
        database.call(open_journal, LIFE, "home", CLOCK.wall_ms())
        purse = Purse(database, Follower(database, CLOCK), CLOCK, LIFE)
        before = database.look(counted)
        with pytest.raises(InsufficientFunds):
            await purse.hold([Source((Bound(WALLET),), "CNY", 1, 2 * TOP_UP)])
        assert database.look(counted) == before
        database.close()

    asyncio.run(play())
