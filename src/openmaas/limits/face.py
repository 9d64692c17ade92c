"""Admits a request to all that limits it, or to nothing. Called by the relay; who asks comes in as plain ids.

What holds for a caller and a model is worked out once and remembered until a limit changes. A request takes its seats,
one request a minute, and as many tokens as it can use: the estimate of its prompt and the cap of its output. When it
ends, the tokens that it did not use go back to the moment from which they were taken, and what it used more is taken.
"""

from __future__ import annotations

from openmaas.core.bounds import LIMITED_CACHED_MAX
from openmaas.core.clock import Clock
from openmaas.core.errors import LimitReached, OverLimit
from openmaas.core.rates import Standing
from openmaas.limits.book import Precedence, Rules
from openmaas.limits.borrower import Borrower
from openmaas.limits.counters import Company, Places, Rate
from openmaas.limits.law import EVERY_MODEL
from openmaas.limits.seats import Seat, Seats, Took
from openmaas.store.changes import Snapshot

Who = tuple[str, str, str]
_NONE = Precedence()
_WORDS = {"concurrency": "requests in flight", "rpm": "requests a minute", "tpm": "tokens a minute"}


class Limits:
    """The limits of one relay. ``borrower`` is None when it shares them with nobody."""

    def __init__(
        self, rules: Snapshot[Rules], seats: Seats, clock: Clock, company: Company, borrower: Borrower | None = None
    ) -> None:
        self._rules = Rules()
        self._seats = seats
        self._clock = clock
        self._company = company
        self._borrower = borrower
        self._counters: dict[str, Rate | Places] = {}
        self._applying: dict[tuple[Who, str], tuple[int | None, tuple[Rate | Places, ...]]] = {}
        rules.on_change(self._renew)

    async def admit(self, who: Who, model: str, tokens: int, seats: int | None = None) -> Seat:
        """A seat for the length of a ``with``, for (organisation, project, key) that may use so many ``tokens``.

        ``seats`` is how many the organisation's plan gives it on the model. Raises ``LimitReached`` that says when to
        come back, ``OverLimit`` for a request that never fits.
        """
        if not self._rules and seats is None:
            return self._seats.take(who[0])
        applying = self._applying.get((who, model))
        if applying is None or applying[0] != seats:
            applying = self._work_out(who, model, seats)
        counters = applying[1]
        if not counters:
            return self._seats.take(who[0])
        for counter in counters:
            if not counter.has(_need(counter, tokens), self._clock.mono_s()):
                await self._wait(counter, tokens, counters)
        now_s = self._clock.mono_s()
        for counter in counters:  # while we waited for one, another may have gone
            if not counter.has(_need(counter, tokens), now_s):
                raise self._refusal(counter, tokens, counters)
        seat = self._seats.take(who[0])
        self._take(seat, counters, tokens, now_s)
        return seat

    def precedence(self, who: Who, model: str) -> Precedence:
        """Of (organisation, project, key) in the queue of a model that is full."""
        return self._rules.precedence(*who, model) if self._rules.precede else _NONE

    def _take(self, seat: Seat, counters: tuple[Rate | Places, ...], tokens: int, now_s: float) -> None:
        took = []
        for counter in counters:
            need = _need(counter, tokens)
            mark = counter.take(need, now_s)
            if counter.kind != "rpm":
                took.append(Took(counter, need, mark))
            if self._borrower is not None and (self._company.apart or counter.low(now_s)):
                self._borrower.soon(counter)
        seat.took, seat.clock = tuple(took), self._clock
        seat.standings = _standings(counters, now_s)

    async def _wait(self, counter: Rate | Places, tokens: int, counters: tuple[Rate | Places, ...]) -> None:
        """Borrow what is missing. Raises ``LimitReached`` when there is none, ``OverLimit`` when there never is."""
        need, now_s = _need(counter, tokens), self._clock.mono_s()
        if need <= counter.amount and self._borrower is not None and not self._company.apart and now_s >= counter.dry_s:
            await self._borrower.need(counter, need)
        if not counter.has(need, self._clock.mono_s()):
            raise self._refusal(counter, tokens, counters)

    def _refusal(self, counter: Rate | Places, tokens: int, counters: tuple[Rate | Places, ...]) -> LimitReached:
        now_s = self._clock.mono_s()
        standings = _standings(counters, now_s)
        for never in counters:
            if _need(never, tokens) > never.amount:
                return OverLimit(f"{_said(never)}, and this may use {tokens}", standings=standings)
        wait_s = counter.retry_after_s(_need(counter, tokens), now_s)
        return LimitReached(_said(counter), retry_after_s=max(0.0, wait_s), standings=standings)

    def _work_out(self, who: Who, model: str, seats: int | None) -> tuple[int | None, tuple[Rate | Places, ...]]:
        if len(self._applying) >= LIMITED_CACHED_MAX or len(self._counters) >= LIMITED_CACHED_MAX:
            self._forget()
        found = []
        for scope, subject, name, kind, amount in self._rules.of(*who, model, seats):
            found.append(self._counter(f"{kind}:{scope}:{subject}:{name}", kind, amount))
        self._applying[who, model] = seats, tuple(found)
        return self._applying[who, model]

    def _counter(self, name: str, kind: str, amount: int) -> Rate | Places:
        counter = self._counters.get(name)
        if counter is None:
            if kind == "concurrency":
                counter = Places(name, self._company, amount)
            else:
                counter = Rate(name, self._company, amount, "rpm" if kind == "rpm" else "tpm")
            self._counters[name] = counter
        counter.amount = amount
        return counter

    def _forget(self) -> None:
        """Keep only counters in which something counts."""
        now_s = self._clock.mono_s()
        self._applying.clear()
        self._counters = {name: counter for name, counter in self._counters.items() if not counter.idle(now_s)}

    def _renew(self, rules: Rules) -> None:
        self._rules = rules
        self._applying.clear()
        if self._borrower is not None:
            self._borrower.wanted = bool(rules)


def _need(counter: Rate | Places, tokens: int) -> int:
    return tokens if counter.kind == "tpm" else 1


def _said(counter: Rate | Places) -> str:
    _, scope, subject, model = counter.name.split(":", 3)
    where = "all models together" if model == EVERY_MODEL else model
    return f"{counter.amount} {_WORDS[counter.kind]} for {scope} {subject} on {where}"


def _standings(counters: tuple[Rate | Places, ...], now_s: float) -> tuple[Standing, ...]:
    """The one of each kind that has the least left."""
    least: dict[str, Standing] = {}
    for counter in counters:
        if isinstance(counter, Rate):
            found = counter.standing(now_s)
            known = least.get(found.kind)
            if known is None or found.remaining < known.remaining:
                least[found.kind] = found
    return tuple(least.values())
