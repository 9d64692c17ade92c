"""Seats: one request's place in everything that counts it. And how many an organisation may have on one relay, whatever
its limits say, so that nobody takes the house."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

import msgspec

from openmaas.core.clock import Clock
from openmaas.core.errors import LimitReached
from openmaas.core.rates import Standing
from openmaas.core.usage import Usage
from openmaas.limits.counters import Mark, Places, Rate


class Seats:
    """Counts requests in flight by organisation."""

    def __init__(self, seats_max: int) -> None:
        self._max = seats_max
        self._taken: dict[str, int] = {}

    def take(self, organisation_id: str) -> Seat:
        """A seat for the length of a ``with``. Raises ``LimitReached``."""
        taken = self._taken.get(organisation_id, 0)
        if taken >= self._max:
            raise LimitReached(f"{taken} requests of this organisation are running", retry_after_s=1)
        self._taken[organisation_id] = taken + 1
        return Seat(self._taken, organisation_id)


class Took(msgspec.Struct, frozen=True, gc=False):
    """What a request took of one counter that must hear of its end."""

    counter: Rate | Places
    need: int
    mark: Mark


class Seat(msgspec.Struct):
    """One request's place. ``usage`` says at the end what the request really used; without it, it used nothing."""

    _taken: dict[str, int]
    _organisation_id: str
    usage: Callable[[], Usage] | None = None
    standings: tuple[Standing, ...] = ()
    took: tuple[Took, ...] = ()
    clock: Clock | None = None

    def __enter__(self) -> Seat:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        left = self._taken[self._organisation_id] - 1
        if left:
            self._taken[self._organisation_id] = left
        else:
            del self._taken[self._organisation_id]
        if self.took:
            self._leave()

    def _leave(self) -> None:
        assert self.clock is not None
        now_s, used = self.clock.mono_s(), None
        for counter, need, mark in map(msgspec.structs.astuple, self.took):
            if counter.kind == "tpm" and used is None:
                usage = Usage() if self.usage is None else self.usage()
                used = usage.prompt_tokens + usage.completion_tokens
            counter.correct(mark, need, used if counter.kind == "tpm" else 0, now_s)
