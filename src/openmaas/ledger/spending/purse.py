"""The purse: what this relay may spend, and how it comes by it. Leases grow with what requests ask for, shrink with
what is free, and go back when they are idle or another relay runs short; one that has used half of its last growth
within a second grows before anybody has to wait for it. Called by the relay.

What a step in the database granted is added to what a slice has once, though its answer may be lost: see ``leasing``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from functools import partial

from openmaas.core.bounds import (
    LEASE_BUSY_S,
    LEASE_EMPTY_S,
    LEASE_HOLDS,
    LEASE_HOLDS_MAX,
    LEASE_IDLE_S,
    LEASE_SHARE,
    RECALL_POLL_S,
    RECALL_WAIT_S,
)
from openmaas.core.clock import Clock
from openmaas.core.errors import BudgetExceeded, CycleExhausted, InsufficientFunds, OverPlan, PlanExhausted, StoreFailed
from openmaas.core.money import show_amount
from openmaas.ledger.book import Account
from openmaas.ledger.legs import rest_worst
from openmaas.ledger.spending.holds import Book, Bound, Hold, Slice, Source
from openmaas.ledger.spending.leasing import Step, free_again_ms, give_back, last_turn, lease, leased_elsewhere, recall
from openmaas.store.changes import EVERYTHING, Follower
from openmaas.store.database import Database

log = logging.getLogger(__name__)


class Purse:
    """The leases of one relay; ``journal_id`` is the life they hang on."""

    def __init__(self, database: Database, follower: Follower, clock: Clock, journal_id: str) -> None:
        self._database = database
        self._clock = clock
        self._journal_id = journal_id
        self._slices: dict[str, Slice] = {}
        self._recalled: set[str] = set()
        self._ahead: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        follower.on("recall", self._on_recall)

    async def hold(self, sources: Sequence[Source]) -> Hold:
        """Set the worst case aside: from each source what it has, the rest from the next, from the last one whole.

        Raises ``InsufficientFunds``, ``PlanExhausted`` or ``BudgetExceeded`` that says how much is missing.
        """
        part, whole = 1, 1
        hold = Hold()
        try:
            for source in sources:
                need = source.worst_nanos if part == whole else rest_worst(source.worst_nanos, part, whole)
                slices = [self._slice(bound.account_id) for bound in source.bounds]
                got = slices[0].free_nanos if len(slices) == 1 else min([slice_.free_nanos for slice_ in slices])
                if got < need:
                    got = await self._grown(source, slices, need, must=source is sources[-1])
                if got >= need:
                    now_s = self._clock.mono_s()
                    hold.take(source, slices, need, now_s)
                    for bound, slice_ in zip(source.bounds, slices, strict=True):
                        if slice_.free_nanos < slice_.low_nanos and now_s - slice_.leased_s < LEASE_BUSY_S:
                            self._lease_ahead(bound, slice_, need)
                    break
                if got > 0:
                    hold.take(source, slices, got, self._clock.mono_s())
                    part, whole = part * (need - got), whole * need
        except BaseException:
            hold.settle((0,) * len(hold.legs))
            raise
        return hold

    async def run(self) -> None:
        """Give back what is idle or recalled, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):  # not `wait_for`, which can lose a cancellation before Python 3.12
                async with asyncio.timeout(LEASE_IDLE_S / 4):
                    await self._wake.wait()
            self._wake.clear()
            recalled, self._recalled = self._recalled, set()
            idle_before = self._clock.mono_s() - LEASE_IDLE_S
            for slice_ in list(self._slices.values()):
                idle = not slice_.holds and slice_.used_s < idle_before
                if idle or slice_.account_id in recalled:
                    await self._give_back(slice_)
                if idle and not slice_.holds and not slice_.free_nanos and slice_.doubt is None:
                    del self._slices[slice_.account_id]

    async def close(self) -> None:
        """Give back all that is free. What was charged stays leased until it is posted."""
        await asyncio.gather(*self._ahead, return_exceptions=True)
        for slice_ in list(self._slices.values()):
            await self._give_back(slice_)

    def _slice(self, account_id: str) -> Slice:
        slice_ = self._slices.get(account_id)
        if slice_ is None:
            slice_ = self._slices[account_id] = Slice(account_id)
        return slice_

    async def _grown(self, source: Source, slices: list[Slice], need: int, *, must: bool) -> int:
        """Lease until every slice has ``need``; returns what the poorest has then.

        With ``must``, waits for what other relays can give back, and raises the refusal when it is not enough.
        """
        deadline_s = self._clock.mono_s() + RECALL_WAIT_S
        for slice_ in slices:
            slice_.holds += 1  # so that the sweep leaves it alone
        try:
            while True:
                for bound, slice_ in zip(source.bounds, slices, strict=True):
                    await self._lease(bound, slice_, need, must=must)
                poorest = min(slices, key=lambda slice_: slice_.free_nanos)
                if poorest.free_nanos >= need or not must:
                    return poorest.free_nanos
                account, elsewhere = await self._elsewhere(poorest)
                if account.free_nanos >= need - poorest.free_nanos:
                    continue  # another hold took what was leased meanwhile: there is more
                if not elsewhere or self._clock.mono_s() >= deadline_s:
                    raise await self._refusal(source, slices.index(poorest), account, need, poorest.free_nanos)
                await asyncio.sleep(RECALL_POLL_S)
        finally:
            for slice_ in slices:
                slice_.holds -= 1

    async def _elsewhere(self, slice_: Slice) -> tuple[Account, int]:
        """The account, and what other relays lease of it."""
        return await self._database.read(leased_elsewhere, slice_.account_id, self._journal_id)

    async def _lease(self, bound: Bound, slice_: Slice, need: int, *, must: bool) -> None:
        """Ask for what the slice lacks, and for other relays' idle leases when the account does not have it."""
        async with slice_.lock:  # who waited here may find that the one before has leased enough
            missing = need - slice_.free_nanos
            now_s = self._clock.mono_s()
            known_short = missing >= slice_.short_nanos and now_s - slice_.short_s < LEASE_EMPTY_S
            if missing <= 0 or (known_short and not must):
                return
            await self._more(bound, slice_, need, missing)
            if slice_.free_nanos < need:
                slice_.short_nanos, slice_.short_s = missing, now_s
                if not known_short and (await self._elsewhere(slice_))[1]:
                    await self._database.run(recall, slice_.account_id, self._journal_id)

    async def _more(self, bound: Bound, slice_: Slice, need: int, least_nanos: int) -> None:
        """Lease for as many holds of ``need`` as it may use in a second. Who holds the slice's lock may."""
        # A slice that runs out within a second asks for twice as much, one that lasted for half of it.
        now_s = self._clock.mono_s()
        busy = now_s - slice_.leased_s < LEASE_BUSY_S
        slice_.eager = min(2 * slice_.eager, LEASE_HOLDS_MAX) if busy else max(slice_.eager // 2, LEASE_HOLDS)
        slice_.leased_s, wish = now_s, need * slice_.eager
        asked = partial(lease, clock=self._clock, account_id=slice_.account_id, share=LEASE_SHARE, fill=bound.fill)
        granted = await self._step(slice_, lambda: partial(asked, least_nanos=least_nanos, wish_nanos=wish))
        slice_.low_nanos = granted // 2 if granted >= wish else 0  # who got less than it wished for does not ask ahead

    def _lease_ahead(self, bound: Bound, slice_: Slice, need: int) -> None:
        """Lease more before it runs out, so that no request waits while another program writes in the database."""

        async def more() -> None:
            try:
                async with slice_.lock:
                    if not slice_.low_nanos:  # or another has leased meanwhile
                        await self._more(bound, slice_, need, 0)
            except StoreFailed:
                pass  # who needs it asks again
            except Exception:
                log.exception("a lease of %s could not grow", slice_.account_id)
            finally:
                slice_.holds -= 1

        slice_.low_nanos = 0  # one at a time
        slice_.holds += 1  # so that the sweep leaves it alone
        task = asyncio.ensure_future(more())
        self._ahead.add(task)
        task.add_done_callback(self._ahead.discard)

    async def _give_back(self, slice_: Slice) -> None:
        if slice_.free_nanos or slice_.doubt is not None:
            slice_.short_s = -LEASE_EMPTY_S  # what it gives back it may ask for again
            with contextlib.suppress(StoreFailed):  # the next step does it
                await self._step(slice_, partial(_all_of, slice_))

    async def _step(self, slice_: Slice, begin: Callable[[], Book]) -> int:
        """Do what ``begin`` says once, after the step before; what it granted. Raises ``StoreFailed``: it may be
        done."""
        async with slice_.steps:
            if slice_.turn is None:
                slice_.turn = await self._database.read(last_turn, slice_.account_id, self._journal_id)
            if slice_.doubt is not None:
                await self._ask(slice_, slice_.doubt)
            slice_.turn += 1
            slice_.doubt = partial(begin(), step=Step(self._journal_id, slice_.turn))
            return await self._ask(slice_, slice_.doubt)

    async def _ask(self, slice_: Slice, book: Book) -> int:
        """A step is in doubt until its answer is here, whoever breaks it off; then what it granted is free."""
        granted = await self._database.run(book)
        slice_.free_nanos += granted  # in a line of its own: `x += await …` would add to what x was before
        slice_.doubt = None
        return granted

    async def _refusal(
        self, source: Source, poorest: int, account: Account, need: int, own_nanos: int
    ) -> InsufficientFunds:
        bound, fills = (
            source.bounds[poorest],
            [each.fill.amount_nanos for each in source.bounds if each.fill is not None],
        )
        if bound.fill is not None and need > min(fills):
            return over(account, need, min(fills))
        again_ms = bound.ends_ms
        if account.returns_after_ms is not None:
            missing = need - own_nanos - account.free_nanos
            again_ms = await self._database.read(free_again_ms, account.id, missing)
        wait_s = None if again_ms is None else max(1.0, (again_ms - self._clock.wall_ms()) / 1000)
        return refusal(account, need, own_nanos + account.free_nanos, wait_s)

    def _on_recall(self, subject: str) -> None:
        account_id, _, asker = subject.partition(" ")
        recalled = self._slices.keys() if subject == EVERYTHING else self._slices.keys() & {account_id}
        if recalled and asker != self._journal_id:
            self._recalled |= recalled
            self._wake.set()


def _all_of(slice_: Slice) -> Book:
    nanos, slice_.free_nanos = slice_.free_nanos, 0
    return partial(give_back, account_id=slice_.account_id, nanos=nanos)


def over(account: Account, need_nanos: int, limit_nanos: int) -> InsufficientFunds:
    """What a request is told that no window or budget of this size ever covers: no time at which it would."""
    need, limit = (show_amount(nanos, account.currency) for nanos in (need_nanos, limit_nanos))
    kind = OverPlan if account.kind == "window" else BudgetExceeded
    return kind(f"the request can cost {need}, {limit} is all that it ever has")


def refusal(account: Account, need_nanos: int, free_nanos: int, wait_s: float | None) -> InsufficientFunds:
    """What a request that can cost ``need_nanos`` is told when ``account`` has ``free_nanos``."""
    need, free, missing = (
        show_amount(nanos, account.currency) for nanos in (need_nanos, free_nanos, need_nanos - free_nanos)
    )
    window = CycleExhausted if account.returns_after_ms is None else PlanExhausted
    kinds = {"window": window, "budget": BudgetExceeded}
    said = f"the request can cost {need}, {free} is free, {missing} is missing"
    return kinds.get(account.kind, InsufficientFunds)(said, retry_after_s=wait_s)
