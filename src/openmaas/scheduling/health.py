"""Whether a replica is to be sent anything: a breaker for what fails, and a slow start for what has just come.

A replica is out after ``FAILURES_MAX`` requests in a row that it did not answer, or one that could not reach it. After
a rest, twice as long each time, it is asked whether it lives, and then gets one request at a time until one is
answered. One that is fresh has nothing cached and everything to load: it is taken for slower than it is, less so each
second.
"""

from __future__ import annotations

from openmaas.core.bounds import FAILURES_MAX, REST_S, REST_S_MAX, WARMING_S, WARMTH_LEAST


class Health:
    """Of one replica."""

    __slots__ = ("_failures", "_rest_s", "_since_s", "out_until_s")

    def __init__(self) -> None:
        self._failures = 0
        self._rest_s = REST_S
        self._since_s = float("-inf")
        self.out_until_s = 0.0

    @property
    def fails(self) -> bool:
        """Whether it is out, or on trial."""
        return self._failures >= FAILURES_MAX

    def failed(self, now_s: float, *, unreachable: bool) -> bool:
        """A request failed; returns whether it is out now."""
        self._failures = max(self._failures + 1, FAILURES_MAX if unreachable else 0)
        if not self.fails:
            return False
        self.out_until_s = now_s + self._rest_s
        self._rest_s = min(2 * self._rest_s, REST_S_MAX)
        return True

    def worked(self) -> None:
        """A request was answered."""
        self._failures, self._rest_s = 0, REST_S

    def came(self, now_s: float) -> None:
        """It is there, and was not before."""
        self._since_s = now_s

    def warmth(self, now_s: float) -> float:
        """From ``WARMTH_LEAST`` to 1."""
        return min(1.0, max(WARMTH_LEAST, (now_s - self._since_s) / WARMING_S))
