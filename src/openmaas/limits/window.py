"""A sliding window of one minute, exact on one relay: never more than the amount in any 60 seconds.

A window and not GCRA (ATM Forum TM 4.0 §4.4.2; https://brandur.org/rate-limiting): GCRA with a burst of the amount
lets through twice the amount in the minute after a pause, and with a smaller burst it refuses who sends a minute's
requests at once. "60 a minute" promises neither. A window says the moment from which the next request fits, too.

It counts in grains of a tenth of a second, each until a minute after its end: what leaves a tenth late is never too
much, and a window has 601 numbers at most, whatever the traffic.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from openmaas.core.bounds import WINDOW_GRAINS_A_SECOND, WINDOW_S

_LENGTH = WINDOW_S * WINDOW_GRAINS_A_SECOND + 1


class Window:
    """Counts what was taken; ``now_s`` must not go back."""

    __slots__ = ("_amounts", "_order", "_sum")

    def __init__(self) -> None:
        self._order: deque[int] = deque()
        self._amounts: dict[int, int] = {}
        self._sum = 0

    def total(self, now_s: float) -> int:
        """What was taken in the last minute."""
        order, gone = self._order, int(now_s * WINDOW_GRAINS_A_SECOND) - _LENGTH
        while order and order[0] <= gone:
            self._sum -= self._amounts.pop(order.popleft())
        return self._sum

    def add(self, amount: int, now_s: float) -> int:
        """Take ``amount`` now; returns the grain, for ``remove``."""
        grain = int(now_s * WINDOW_GRAINS_A_SECOND)
        if grain in self._amounts:
            self._amounts[grain] += amount
        else:
            self._amounts[grain] = amount
            self._order.append(grain)
        self._sum += amount
        return grain

    def remove(self, grain: int, amount: int) -> None:
        """Part of what was taken was not used; nothing when it has left already."""
        if grain in self._amounts:
            self._amounts[grain] -= amount
            self._sum -= amount
            assert self._amounts[grain] >= 0, (grain, amount)

    def since(self, age_s: float, now_s: float) -> int:
        """What was taken in the last ``age_s``."""
        oldest, found = int((now_s - age_s) * WINDOW_GRAINS_A_SECOND), 0
        for grain in reversed(self._order):
            if grain < oldest:
                break
            found += self._amounts[grain]
        return found

    def free_in_s(self, amount: int, now_s: float) -> float:
        """How long until ``amount`` more has left than now: exact, if nothing is taken meanwhile."""
        left_s = 0.0
        for grain in self._order:
            if amount <= 0:
                break
            amount -= self._amounts[grain]
            left_s = (grain + _LENGTH) / WINDOW_GRAINS_A_SECOND - now_s
        return left_s if amount <= 0 else float(WINDOW_S)

    def empty_in_s(self, now_s: float) -> float:
        """How long until all has left."""
        return (self._order[-1] + _LENGTH) / WINDOW_GRAINS_A_SECOND - now_s if self._sum else 0.0

    def grains(self) -> Iterator[tuple[int, int]]:
        """Each grain and what was taken in it, oldest first."""
        return iter([(grain, self._amounts[grain]) for grain in self._order])
