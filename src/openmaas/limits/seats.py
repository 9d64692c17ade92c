"""Seats: how many requests an organisation may have in flight on one relay, so that nobody takes the house."""

from __future__ import annotations

from types import TracebackType

from openmaas.core.errors import LimitReached


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


class Seat:
    """One request's place."""

    __slots__ = ("_organisation_id", "_taken")

    def __init__(self, taken: dict[str, int], organisation_id: str) -> None:
        self._taken = taken
        self._organisation_id = organisation_id

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
