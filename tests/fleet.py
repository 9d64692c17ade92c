"""Relays that share limits, in one process: all that a relay does about limits, without door and engines."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

from openmaas.core.clock import Clock
from openmaas.core.errors import LimitReached
from openmaas.core.usage import Usage
from openmaas.limits.book import rules, set_limit
from openmaas.limits.borrower import Borrower
from openmaas.limits.borrowing import Lender
from openmaas.limits.counters import Company
from openmaas.limits.face import Limits
from openmaas.limits.seats import Seats
from openmaas.store.changes import Follower, Snapshot
from openmaas.store.database import Database

CLOCK = Clock()
WHO = ("org", "prj", "key")


class Member:
    """One relay of a fleet."""

    def __init__(self, fleet: Fleet, lender: Lender | None, number: int) -> None:
        company = Company(len(fleet.lenders))
        self.borrower = Borrower(lender, company, CLOCK, f"rly_{number}") if lender else None
        self.limits = Limits(fleet.rules, Seats(100_000), CLOCK, company, self.borrower)
        self.company = company
        self.task: asyncio.Task[None] | None = None
        self.admitted_s: list[float] = []
        self.asked_s: list[float] = []
        self.running = 0
        self.waits_s: list[float] = []

    async def start(self) -> None:
        """Meet the lender, then borrow in the background."""
        if self.borrower is not None:
            await self.borrower.step()
            self.task = asyncio.ensure_future(self.borrower.run())

    def kill(self) -> None:
        """Say nothing more to anybody, as a killed process does."""
        if self.task is not None:
            self.task.cancel()

    async def ask(self, tokens: int = 0, used: int = 0, hold_s: float = 0.0) -> bool:
        """One request; True when it was admitted."""
        began_s = CLOCK.mono_s()
        self.asked_s.append(began_s)
        try:
            with await self.limits.admit(WHO, "m", tokens) as seat:
                now_s = CLOCK.mono_s()
                self.waits_s.append(now_s - began_s)
                self.admitted_s.append(now_s)
                seat.usage = lambda: Usage(used, 0)
                self.running += 1
                try:
                    if hold_s:
                        await asyncio.sleep(hold_s)
                finally:
                    self.running -= 1
                return True
        except LimitReached:
            return False

    async def press(self, seconds: float, a_second: float, hold_s: float = 0.0) -> None:
        """Requests that come by chance (Poisson), whatever becomes of the earlier ones."""
        running, chance = set(), random.Random(self.company.relays)
        end_s = due_s = CLOCK.mono_s()
        end_s += seconds
        while due_s < end_s:
            due_s += chance.expovariate(a_second)
            await asyncio.sleep(max(0.0, due_s - CLOCK.mono_s()))
            task = asyncio.ensure_future(self.ask(hold_s=hold_s))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)


class Fleet:
    """Relays on one set of limits; a relay without a lender is alone."""

    def __init__(self, folder: Path, lenders: Sequence[Lender | None], **amounts: int) -> None:
        self.lenders = lenders
        self.database = Database(folder / "rules")
        self.database.prepare()
        for kind, amount in amounts.items():
            cell = {"scope": "organisation", "subject_id": "org", "model": "*", "kind": kind}
            self.database.call(set_limit, CLOCK, amount=amount, **cell)
        self.rules = Snapshot(self.database, Follower(self.database, CLOCK), "limits", rules)
        self.members = [Member(self, lender, number) for number, lender in enumerate(lenders)]

    async def __aenter__(self) -> Fleet:
        await self.rules.load()
        await asyncio.gather(*(member.start() for member in self.members))
        await asyncio.gather(*(member.borrower.step() for member in self.members if member.borrower))
        return self

    async def __aexit__(self, *_: object) -> None:
        for member in self.members:
            member.kill()
            if member.borrower is not None:
                await member.borrower.close()
        self.database.close()

    def admitted_s(self) -> list[float]:
        """When requests were admitted, on all relays."""
        return sorted(moment for member in self.members for moment in member.admitted_s)

    def asked_s(self) -> list[float]:
        """When requests came, to all relays."""
        return sorted(moment for member in self.members for moment in member.asked_s)


def best(asked_s: list[float], amount: int, window_s: float = 60.0) -> int:
    """How many of these requests one exact sliding window lets through."""
    let: list[float] = []
    for moment_s in asked_s:
        if len(let) < amount or let[-amount] <= moment_s - window_s:
            let.append(moment_s)
    return len(let)


def busiest(moments_s: list[float], window_s: float = 60.0) -> int:
    """The most that lie in any window."""
    most = first = 0
    for last, moment_s in enumerate(moments_s):
        while moments_s[first] <= moment_s - window_s:
            first += 1
        most = max(most, last - first + 1)
    return most
