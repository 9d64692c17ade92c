"""The counters of one relay: a rate or seats, counted here exactly, and what has been borrowed of them.

Without a lender a relay is alone: its own window holds the whole amount. With one it spends what it borrowed. When the
lender is gone it is *apart*: its own window, which counted all along, holds one part of the amount for each relay that
was last alive. So degraded and alone are the same thing, and nothing fails open.
"""

from __future__ import annotations

import asyncio
from typing import Literal

import msgspec

from openmaas.core.bounds import BORROW_INTERVAL_S, SEATS_RENEW_S, SLICE_GRAIN_MS, SLICE_LOW, SLICE_WISH, WINDOW_S
from openmaas.core.bounds import WINDOW_GRAINS_A_SECOND as GRAINS
from openmaas.core.rates import Standing
from openmaas.limits.borrowing import Grant, RateWant, SeatsWant, Want
from openmaas.limits.window import Window


class Company(msgspec.Struct):
    """How many relays share the limits. ``apart`` is 0 while a lender answers, else in how many parts they are cut."""

    relays: int = 1
    apart: int = 1
    lent: bool = False  # there is a lender, though it may not answer


class Counter:
    """What a rate and seats have in common: those who wait, and when it was last lent."""

    kind: Literal["concurrency", "rpm", "tpm"]

    def __init__(self, name: str, company: Company, amount: int) -> None:
        self.name = name
        self.company = company
        self.amount = amount
        self.waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._asked: list[tuple[int, asyncio.Future[None]]] = []  # for whom the lender is being asked
        self.until_s = 0.0
        self.dry_s = 0.0  # until then it is no use to ask the lender again

    @property
    def part(self) -> int:
        """What this relay may take alone."""
        return self.amount // self.company.apart if self.company.apart else self.amount

    def wake(self) -> None:
        """The lender was asked for them: they look again. When it is gone, nobody waits for it."""
        asked, self._asked = self._asked, []
        if self.company.apart:
            asked, self.waiting = [*asked, *self.waiting], []
        for _, waiter in asked:
            if not waiter.done():
                waiter.set_result(None)

    def _needs(self) -> tuple[int, int]:
        """What all who wait need, and the first of them; the lender is asked for them now."""
        self._asked, self.waiting = self.waiting, []
        return sum(need for need, _ in self._asked), self._asked[0][0] if self._asked else 0

    def _dry(self, short: bool, asked_s: float) -> None:
        self.dry_s = asked_s + BORROW_INTERVAL_S if short else 0.0


class Mark(msgspec.Struct, frozen=True, gc=False):
    """Where something was taken: the grain of this relay's window, and that of the slice (0 when not borrowed)."""

    own: int
    lent: int


class Rate(Counter):
    """Requests or tokens a minute."""

    def __init__(self, name: str, company: Company, amount: int, kind: Literal["rpm", "tpm"]) -> None:
        super().__init__(name, company, amount)
        self.kind = kind
        self.window = Window()
        self.size = self.free = self.grain = 0  # of the slice
        self.beyond = 0  # what nobody had, as the lender said last …
        self.short_s = 0.0  # … and when what is missing will be there
        self._back: dict[int, int] = {}
        self._owed: dict[int, int] = {}  # by our own grain: used, and not borrowed

    def has(self, need: int, now_s: float) -> bool:
        """True when ``need`` can be taken now."""
        if self.company.apart:
            return self.window.total(now_s) + need <= self.part
        return need <= self.free and now_s < self.until_s

    def take(self, need: int, now_s: float) -> Mark:
        """Take it; ``has`` said that it is there."""
        self.window.total(now_s)
        own = self.window.add(need, now_s)
        if self.company.apart:
            if self.company.lent:
                self._owed[own] = self._owed.get(own, 0) + need
            return Mark(own, 0)
        self.free -= need
        return Mark(own, self.grain)

    def correct(self, mark: Mark, need: int, used: int, now_s: float) -> None:
        """``need`` was taken and ``used`` it was: the rest goes back to where it came from, more is taken now."""
        rest = need - used
        if rest < 0:
            self.window.total(now_s)
            own = self.window.add(-rest, now_s)
            if self.company.lent:
                paid = 0 if self.company.apart or now_s >= self.until_s else min(self.free, -rest)
                self.free -= paid
                self._owed[own] = self._owed.get(own, 0) - rest - paid
            return
        self.window.remove(mark.own, rest)
        if not mark.lent:
            if mark.own in self._owed:
                self._owed[mark.own] = max(0, self._owed[mark.own] - rest)
        elif mark.lent == self.grain and now_s < self.until_s:
            self.free += rest
        else:
            self._back[mark.lent] = self._back.get(mark.lent, 0) + rest

    def low(self, now_s: float) -> bool:
        """True when the next slice should be on its way."""
        return not self.company.apart and (
            self.free * SLICE_LOW < self.size or now_s > self.until_s - BORROW_INTERVAL_S
        )

    def want(self, now_s: float) -> Want | None:
        """What to ask the lender for; None when there is nothing."""
        least, first = self._needs()
        if now_s >= self.until_s or (first and first > self.free):
            self._retire()
        pace = self.window.since(2 * SLICE_GRAIN_MS / 1000, now_s)  # the longest that a slice lasts
        due = bool(pace) and self.low(now_s)
        if not (least or due or self._back or self._owed):
            return None
        wish = least + int(pace * SLICE_WISH) + 1 if least or due else 0
        back, self._back = tuple(self._back.items()), {}
        used = tuple((max(0, int((now_s - own / GRAINS) * 1000)), much) for own, much in self._owed.items() if much)
        self._owed = {}
        return RateWant(
            counter=self.name, amount=self.amount, wish=wish, least=least, first=first, back=back, used=used
        )

    def granted(self, grant: Grant, asked_s: float) -> None:
        """A slice came: more of the same grain, or one that follows what is left of the last."""
        if grant.grain != self.grain or asked_s >= self.until_s:
            self._retire()
        self.grain, self.until_s = grant.grain, asked_s + grant.lasts_ms / 1000
        self.free += grant.amount
        self.size = self.free
        self.beyond = grant.free
        self.short_s = asked_s + grant.free_in_ms / 1000
        self._dry(grant.free_in_ms > 0, asked_s)

    def failed(self, want: RateWant, now_s: float) -> None:
        """Nobody knows whether the lender heard. What was used is told again; what came back is not: never too much."""
        for age_ms, much in want.used:
            own = int((now_s - age_ms / 1000) * GRAINS)
            self._owed[own] = self._owed.get(own, 0) + much

    def forgotten(self) -> None:
        """The lender lost what it knew: tell it all that this relay used in the last minute."""
        self._back, self.free, self.size, self.until_s = {}, 0, 0, 0.0
        self._owed = dict(self.window.grains())

    def retry_after_s(self, need: int, now_s: float) -> float:
        """How long until ``need`` fits, if nobody else takes anything."""
        if self.company.apart:
            return self.window.free_in_s(self.window.total(now_s) + need - self.part, now_s)
        return max(0.0, self.short_s - now_s)

    def standing(self, now_s: float) -> Standing:
        """What is left, as far as this relay knows."""
        total = self.window.total(now_s)
        if self.company.apart:
            left, reset_s = self.part - total, self.window.empty_in_s(now_s)
        else:
            left, reset_s = self.free + self.beyond, float(WINDOW_S if self.free + self.beyond < self.amount else 0)
        return Standing("requests" if self.kind == "rpm" else "tokens", self.amount, max(0, left), reset_s)

    def idle(self, now_s: float) -> bool:
        """True when forgetting this counter loses nothing."""
        return not (self.window.total(now_s) or self.free or self._back or self._owed or self.waiting)

    def _retire(self) -> None:
        if self.free:
            self._back[self.grain] = self._back.get(self.grain, 0) + self.free
        self.free = self.size = 0
        self.until_s = 0.0


class Places(Counter):
    """Requests in flight."""

    kind = "concurrency"

    def __init__(self, name: str, company: Company, amount: int) -> None:
        super().__init__(name, company, amount)
        self.taken = 0
        self.held = 0  # borrowed, taken or not
        self._peak = 0  # since it was last lent
        self._renewed_s = 0.0

    def has(self, need: int, now_s: float) -> bool:
        """True when there is a place now."""
        if self.company.apart:
            return self.taken + need <= self.part
        return self.taken + need <= self.held and now_s < self.until_s

    def take(self, need: int, _now_s: float) -> Mark:
        """Take it; ``has`` said that it is there."""
        self.taken += need
        self._peak = max(self._peak, self.taken)
        return _NOWHERE

    def correct(self, _mark: Mark, need: int, used: int, _now_s: float) -> None:
        """The request is over."""
        self.taken -= need - used

    def low(self, _now_s: float) -> bool:
        """True when the next request would have to wait for a place to be borrowed."""
        return not self.company.apart and self.taken >= self.held and self.held < self.amount

    def want(self, now_s: float) -> Want | None:
        """What to ask the lender for; None when there is nothing."""
        least, _ = self._needs()
        pause_s = (
            SEATS_RENEW_S if self.held <= self._peak else BORROW_INTERVAL_S
        )  # others may be short of what is spare
        if not least and (now_s < self._renewed_s + pause_s or not (self.taken or self.held)):
            return None
        wish = int(self._peak * SLICE_WISH) + 1 if self._peak else 0
        kept = max(self.taken, min(self.held, self._peak)) if now_s < self.until_s else self.taken
        self.held, self._peak = kept, self.taken  # the rest is let go now: by the answer another relay may have it
        return SeatsWant(
            counter=self.name, amount=self.amount, wish=max(wish, least), least=self.taken + least, kept=kept
        )

    def granted(self, grant: Grant, asked_s: float) -> None:
        """So many seats in all: those that were kept, and more."""
        self.held, self.until_s, self._renewed_s = grant.amount, asked_s + grant.lasts_ms / 1000, asked_s
        self._dry(bool(self._asked) and self.held < self.taken + len(self._asked), asked_s)

    def failed(self, want: SeatsWant, now_s: float) -> None:
        """The lender did not answer: what it lent ends with its term."""

    def forgotten(self) -> None:
        """The lender lost what it knew: ask at once."""
        self.held, self.until_s, self._renewed_s = 0, 0.0, 0.0

    def retry_after_s(self, _need: int, _now_s: float) -> float:
        """Nobody knows when a request ends."""
        return 1.0

    def idle(self, _now_s: float) -> bool:
        """True when forgetting this counter loses nothing."""
        return not (self.taken or self.held or self.waiting)


_NOWHERE = Mark(0, 0)
