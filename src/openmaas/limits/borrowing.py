"""The arithmetic of borrowing: how much of a limit one relay gets, given what all relays have.

Pure functions of a counter's state, a small dictionary that a lender keeps; ``rate.lua`` and ``seats.lua`` say the
same in Valkey. The sum that relays hold is never more than the limit:

* A **rate** is lent in slices. A slice is charged to the grain (half a second) at whose end it expires, and counts
  until a minute after that. So whatever is done with it, and when, no 60 seconds see more than the limit. What a relay
  did not use goes back to the grain from which it came.
* **Seats** are lent for a term and renewed. A relay says how many it keeps: these are its own whatever others hold.
  The rest it lets go before it asks, since by the answer another relay may have it.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from openmaas.core.bounds import SEATS_TERM_MS, SLICE_GRAIN_MS, WINDOW_MS

#: Every live relay has one seat of this counter, so that the others know how many they are.
RELAYS = "relays"


class RateWant(msgspec.Struct, frozen=True, kw_only=True):
    """A slice that a relay asks for: ``wish``, at least ``least`` for those who wait, ``first`` for the first of them.

    ``back`` returns (grain, amount) of earlier slices; ``used`` reports (age in ms, amount) that was never borrowed.
    """

    counter: str
    amount: int
    wish: int
    least: int = 0
    first: int = 0
    back: tuple[tuple[int, int], ...] = ()
    used: tuple[tuple[int, int], ...] = ()


class SeatsWant(msgspec.Struct, frozen=True, kw_only=True):
    """Seats that a relay wants to have in all: those ``kept``, at least ``least`` with those who wait, ``wish``."""

    counter: str
    amount: int
    wish: int
    least: int = 0
    kept: int = 0


Want = RateWant | SeatsWant


class Grant(msgspec.Struct, frozen=True):
    """What a relay got: of a rate so much more, of seats so many in all. It lasts ``lasts_ms`` from when it asked.

    ``free`` is what nobody has; when there was too little, the first who waits can have it in ``free_in_ms``.
    """

    amount: int
    grain: int = 0
    lasts_ms: int = SEATS_TERM_MS
    free: int = 0
    free_in_ms: int = 0


class Loan(msgspec.Struct, frozen=True):
    """A lender's answer: the grants in the order of the wants, how many relays live, and the lender's ``life``.

    With another life than before, the lender has forgotten what it lent.
    """

    life: str
    relays: int
    grants: list[Grant]


class Lender(Protocol):
    """Keeps what relays have borrowed: in the database or in Valkey. Slower than ``timeout_s`` it is taken for dead."""

    timeout_s: float

    async def lend(self, relay_id: str, wants: list[Want], parts: int) -> Loan:
        """Lend what is wanted, spare at most one part in ``parts`` of what is free; ``RELAYS`` is always among it.

        Raises ``StoreFailed``.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


def share(free: int, least: int, wish: int, parts: int) -> int:
    """What a relay gets of ``free``: what it needs, and spare so that others find some, too."""
    return max(0, min(free, max(least, min(wish, free // max(1, parts)))))


def lend_rate(state: dict[str, int], want: RateWant, now_ms: int, parts: int) -> Grant:
    """Lend a slice; ``state`` is what was lent by grain, and is changed."""
    for name in [name for name in state if (int(name) + 1) * SLICE_GRAIN_MS + WINDOW_MS <= now_ms]:
        del state[name]
    for grain, amount in want.back:
        if str(grain) in state:
            state[str(grain)] = max(0, state[str(grain)] - amount)
    for age_ms, amount in want.used:
        name = str((now_ms - age_ms) // SLICE_GRAIN_MS)
        state[name] = state.get(name, 0) + amount
    grain = now_ms // SLICE_GRAIN_MS + 1
    free = max(0, want.amount - sum(state.values()))
    granted = share(free, want.least, want.wish, parts)
    if granted:
        state[str(grain)] = state.get(str(grain), 0) + granted
    free_in_ms = _free_in_ms(state, want.first - free, now_ms) if granted < want.first else 0
    return Grant(granted, grain, (grain + 1) * SLICE_GRAIN_MS - now_ms, free - granted, free_in_ms)


def lend_seats(state: dict[str, list[int]], want: SeatsWant, relay_id: str, now_ms: int, parts: int) -> Grant:
    """Lend seats for a term; ``state`` is (seats, until) by relay, and is changed."""
    for name in [name for name, (_, until_ms) in state.items() if until_ms <= now_ms or name == relay_id]:
        del state[name]
    free = max(0, want.amount - sum(seats for seats, _ in state.values()) - want.kept)
    more = share(free, want.least - want.kept, want.wish - want.kept, parts)
    if want.kept + more:
        state[relay_id] = [want.kept + more, now_ms + SEATS_TERM_MS]
    return Grant(want.kept + more, free=free - more)


def until_ms(want: Want, now_ms: int) -> int:
    """When nothing that was lent until now counts any more."""
    return now_ms + (SEATS_TERM_MS if isinstance(want, SeatsWant) else 2 * SLICE_GRAIN_MS + WINDOW_MS)


def _free_in_ms(state: dict[str, int], amount: int, now_ms: int) -> int:
    for grain in sorted(int(name) for name in state):
        amount -= state[str(grain)]
        if amount <= 0:
            return (grain + 1) * SLICE_GRAIN_MS + WINDOW_MS - now_ms
    return WINDOW_MS
