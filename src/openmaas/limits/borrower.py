"""Borrows for all counters of a relay, in one loop: what is short at once, what runs low before it is needed.

One call to the lender carries everything that is wanted, so its round trip is no request's: a request waits only when
its slice is used up, and then at most the lender's ``timeout_s``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from openmaas.core.bounds import BORROW_AGAIN_S, BORROW_INTERVAL_S, BORROW_MEET_S, LIMIT_AMOUNT_MAX, SEATS_RENEW_S
from openmaas.core.clock import Clock
from openmaas.core.errors import StoreFailed
from openmaas.limits.borrowing import RELAYS, Lender, Loan, SeatsWant, Want
from openmaas.limits.counters import Company, Places, Rate

log = logging.getLogger(__name__)


class Borrower:
    """One relay's side of the lender; ``relay_id`` is what its seats hang on."""

    def __init__(self, lender: Lender, company: Company, clock: Clock, relay_id: str) -> None:
        self._lender = lender
        self._company = company
        self._own_relays = company.relays  # of this house: the lender may not have heard of each yet
        self._clock = clock
        self._relay_id = relay_id
        self._busy: dict[str, Rate | Places] = {}
        self._short = asyncio.Event()
        self._life: str | None = None
        self._met_s: float | None = None  # when the lender was back, while we are still apart
        self._told_s = -SEATS_RENEW_S
        self.wanted = False  # there are limits: without, nobody asks the lender for anything
        company.lent = True
        company.apart = company.relays

    async def need(self, counter: Rate | Places, amount: int) -> None:
        """Wait until the lender was asked for ``amount``; whether it gave it, ``has`` tells."""
        waiter = asyncio.get_running_loop().create_future()
        counter.waiting.append((amount, waiter))
        self.soon(counter)
        await waiter

    def soon(self, counter: Rate | Places) -> None:
        """Look at this counter now."""
        self._busy[counter.name] = counter
        self._short.set()

    async def run(self) -> None:
        """Borrow, renew and give back until cancelled."""
        while True:
            if self.wanted or self._busy:
                await self.step()
            if self._company.apart:
                await asyncio.sleep(BORROW_AGAIN_S)
                continue
            with contextlib.suppress(TimeoutError):  # not `wait_for`, which can lose a cancellation before Python 3.12
                async with asyncio.timeout(BORROW_INTERVAL_S if self._busy else SEATS_RENEW_S):
                    await self._short.wait()
            await asyncio.sleep(0)  # who was woken takes what came before it is let go as spare
            self._short.clear()

    async def close(self) -> None:
        """Give everything back; what still waits looks again."""
        with contextlib.suppress(StoreFailed, TimeoutError):
            wants = [want for counter in self._busy.values() if (want := self._last(counter)) is not None]
            async with asyncio.timeout(self._lender.timeout_s):
                await self._lender.lend(self._relay_id, [*wants, _presence(0)], 1)
        await self._lender.close()

    async def step(self) -> None:
        """One call to the lender when there is a reason, and what comes of it."""
        asked_s = self._clock.mono_s()
        wants: list[tuple[Rate | Places, Want]] = []
        if not self._company.apart or self._met_s is not None:
            wants = [(counter, want) for counter in self._busy.values() if (want := counter.want(asked_s)) is not None]
        if wants or self._company.apart or asked_s >= self._told_s + SEATS_RENEW_S:
            await self._ask(wants, asked_s)
        for counter in list(self._busy.values()):
            if counter.idle(asked_s):
                del self._busy[counter.name]

    async def _ask(self, wants: list[tuple[Rate | Places, Want]], asked_s: float) -> None:
        try:
            async with asyncio.timeout(self._lender.timeout_s):
                asked = [*(want for _, want in wants), _presence(1)]
                loan = await self._lender.lend(self._relay_id, asked, self._company.relays)
        except (StoreFailed, TimeoutError) as error:
            self._part(wants, asked_s, error)
        else:
            self._meet(loan, asked_s)
            for (counter, _), grant in zip(wants, loan.grants, strict=False):  # the last is our presence
                counter.granted(grant, asked_s)
        for counter in self._busy.values():
            counter.wake()

    def _meet(self, loan: Loan, asked_s: float) -> None:
        """The lender answers. When it is another life of it, it must hear what this relay used.

        After it was gone, relays stay apart until each had the time to come back and tell.
        """
        self._told_s = asked_s
        self._company.relays = max(self._own_relays, loan.relays)
        if self._life != loan.life:
            if self._life is not None:
                log.warning("the lender of limits has forgotten what it lent; it is told again")
                for counter in self._busy.values():
                    counter.forgotten()
            self._life = loan.life
        if self._company.apart:
            if self._met_s is None:
                self._met_s = asked_s
            if not self._busy or asked_s >= self._met_s + BORROW_MEET_S:
                log.info("limits are shared by %d relays", self._company.relays)
                self._company.apart = 0

    def _part(self, wants: list[tuple[Rate | Places, Want]], asked_s: float, error: Exception) -> None:
        """The lender is gone: each relay for itself."""
        if not self._company.apart:
            why = getattr(error, "detail", "") or "no answer"
            log.warning("limits are cut in %d parts until their lender answers: %s", self._company.relays, why)
        self._company.apart, self._met_s = self._company.relays, None
        for counter, want in wants:
            counter.failed(want, asked_s)  # type: ignore[arg-type]  # each kind of counter gets its own kind of want

    def _last(self, counter: Rate | Places) -> Want | None:
        if isinstance(counter, Places):
            return SeatsWant(counter=counter.name, amount=counter.amount, wish=0)
        counter.until_s = 0.0
        return counter.want(self._clock.mono_s())


def _presence(seats: int) -> SeatsWant:
    return SeatsWant(counter=RELAYS, amount=LIMIT_AMOUNT_MAX, wish=seats, least=seats, kept=seats)
