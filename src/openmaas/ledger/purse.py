"""What this relay may spend: leased slices of accounts, and the holds taken from them in memory.

A hold is a context manager that ends exactly once: ``settle`` keeps the charge, leaving without it gives all back. A
charge stays leased until the poster has posted it, so the sum of leases never exceeds a balance. Called by the relay.
"""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType

from openmaas.core.bounds import LEASE_HOLDS, LEASE_IDLE_S, LEASE_SHARE
from openmaas.core.clock import Clock
from openmaas.core.errors import InsufficientFunds, StoreFailed, ThingUnknown
from openmaas.core.money import show_amount
from openmaas.ledger.book import Account, find_account, give_back, lease, recall
from openmaas.store.changes import Follower
from openmaas.store.database import Database

#: How long a hold waits for other relays to give back what they do not use.
RECALL_WAIT_S = 1.0
RECALL_POLL_S = 0.1


class Hold:
    """The most a request can cost, set aside until ``settle`` or the end of the ``with``."""

    __slots__ = ("_ended", "_slice", "nanos")

    def __init__(self, slice_: Slice, nanos: int) -> None:
        self._slice = slice_
        self._ended = False
        self.nanos = nanos

    def __enter__(self) -> Hold:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if not self._ended:
            self.settle(0)

    def settle(self, charge_nanos: int) -> None:
        """Keep ``charge_nanos`` for the poster, give the rest back to the lease."""
        assert not self._ended, "a hold ends once"
        assert 0 <= charge_nanos <= self.nanos, (charge_nanos, self.nanos)
        self._ended = True
        self._slice.free_nanos += self.nanos - charge_nanos
        self._slice.holds -= 1


class Slice:
    """This relay's lease of one account."""

    __slots__ = ("account_id", "free_nanos", "holds", "lock", "used_s")

    def __init__(self, account_id: str) -> None:
        self.account_id = account_id
        self.free_nanos = 0
        self.holds = 0
        self.used_s = 0.0
        self.lock = asyncio.Lock()


class Purse:
    """The leases of one relay; ``journal_id`` is the life they hang on."""

    def __init__(self, database: Database, follower: Follower, clock: Clock, journal_id: str) -> None:
        self._database = database
        self._clock = clock
        self._journal_id = journal_id
        self._slices: dict[str, Slice] = {}
        self._recalled: set[str] = set()
        self._wake = asyncio.Event()
        follower.on("recall", self._on_recall)

    async def hold(self, account_id: str, nanos: int) -> Hold:
        """Set ``nanos`` aside. Raises ``InsufficientFunds`` that says how much is missing."""
        slice_ = self._slices.get(account_id)
        if slice_ is None:
            slice_ = self._slices[account_id] = Slice(account_id)
        slice_.holds += 1  # from here on the sweep leaves the slice alone
        try:
            if slice_.free_nanos < nanos:
                async with slice_.lock:
                    await self._grow(slice_, nanos)
        except BaseException:
            slice_.holds -= 1
            raise
        slice_.free_nanos -= nanos
        slice_.used_s = self._clock.mono_s()
        return Hold(slice_, nanos)

    async def run(self) -> None:
        """Give back what is idle or recalled, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), LEASE_IDLE_S / 4)
            self._wake.clear()
            recalled, self._recalled = self._recalled, set()
            idle_before = self._clock.mono_s() - LEASE_IDLE_S
            for slice_ in list(self._slices.values()):
                if slice_.account_id in recalled or (not slice_.holds and slice_.used_s < idle_before):
                    await self._give_back(slice_)
                if not slice_.holds and not slice_.free_nanos and slice_.used_s < idle_before:
                    del self._slices[slice_.account_id]

    async def close(self) -> None:
        """Give back all that is free. What was charged stays leased until it is posted."""
        for slice_ in list(self._slices.values()):
            await self._give_back(slice_)

    async def _grow(self, slice_: Slice, nanos: int) -> None:
        deadline_s = self._clock.mono_s() + RECALL_WAIT_S
        asked = False
        while (missing := nanos - slice_.free_nanos) > 0:
            slice_.free_nanos += await self._database.run(
                lease,
                slice_.account_id,
                self._journal_id,
                least_nanos=missing,
                wish_nanos=nanos * LEASE_HOLDS,
                share=LEASE_SHARE,
            )
            if slice_.free_nanos >= nanos:
                return
            account = await self._account(slice_.account_id)
            if account is None or account.leased_nanos == 0 or self._clock.mono_s() >= deadline_s:
                raise _missing(account, nanos, slice_.free_nanos)
            if not asked:
                await self._database.run(recall, slice_.account_id)
                asked = True
            await asyncio.sleep(RECALL_POLL_S)

    async def _account(self, account_id: str) -> Account | None:
        try:
            return await self._database.read(find_account, account_id)
        except ThingUnknown:
            return None

    async def _give_back(self, slice_: Slice) -> None:
        nanos, slice_.free_nanos = slice_.free_nanos, 0
        if nanos == 0:
            return
        try:
            await self._database.run(give_back, slice_.account_id, self._journal_id, nanos)
        except StoreFailed:
            slice_.free_nanos += nanos  # still ours: the sweep tries again

    def _on_recall(self, account_id: str) -> None:
        if account_id in self._slices:
            self._recalled.add(account_id)
            self._wake.set()


def _missing(account: Account | None, nanos: int, own_nanos: int) -> InsufficientFunds:
    free = own_nanos + (account.free_nanos if account else 0)
    currency = account.currency if account else ""
    return InsufficientFunds(
        f"the request can cost {show_amount(nanos, currency)}, {show_amount(free, currency)} is free, "
        f"{show_amount(nanos - free, currency)} is missing"
    )
