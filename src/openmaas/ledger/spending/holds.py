"""Holds: what is set aside for a request, in memory, from the slices of accounts that this relay leases.

A hold takes from all accounts of a source or from none. It is a context manager that ends exactly once: ``settle``
keeps what was charged, leaving without it gives all back. A charge stays leased until the poster has posted it, so the
sum of leases never exceeds a balance.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

import msgspec

from openmaas.core.bounds import LEASE_EMPTY_S
from openmaas.ledger.legs import Leg

#: A step in the database, numbered when it is done; returns what it granted.
Book = Callable[..., int]


class Fill(msgspec.Struct, frozen=True):
    """What an account that counts one window begins with. ``returns_after_ms`` makes it a rolling one."""

    amount_nanos: int
    returns_after_ms: int | None = None


class Bound(msgspec.Struct, frozen=True):
    """An account that a source takes from. ``fill`` makes it when it counts a window, which ends at ``ends_ms``."""

    account_id: str
    fill: Fill | None = None
    ends_ms: int | None = None


class Source(msgspec.Struct, frozen=True):
    """Where a request may be paid from: all ``bounds`` pay the same. ``worst_nanos`` is the most that the whole request
    can cost here."""

    bounds: tuple[Bound, ...]
    currency: str
    price_version: int
    worst_nanos: int

    @property
    def account_ids(self) -> tuple[str, ...]:
        """The accounts of its bounds."""
        return tuple([bound.account_id for bound in self.bounds])


class Slice:
    """This relay's lease of one account."""

    __slots__ = (
        "account_id",
        "doubt",
        "eager",
        "free_nanos",
        "holds",
        "leased_s",
        "lock",
        "low_nanos",
        "short_nanos",
        "short_s",
        "steps",
        "turn",
        "used_s",
    )

    def __init__(self, account_id: str) -> None:
        self.account_id = account_id
        self.free_nanos = 0
        self.holds = 0
        self.used_s = 0.0
        self.low_nanos = 0  # below this a busy slice asks for more
        self.leased_s, self.eager = 0.0, 1  # when it last grew, and how many holds it asks for then
        self.lock = asyncio.Lock()  # of those who ask for more
        self.steps = asyncio.Lock()  # of the steps in the database
        self.turn: int | None = None  # the number of the last step; None until it was read
        self.doubt: Book | None = None  # the last step, until its answer came
        self.short_nanos, self.short_s = 0, -LEASE_EMPTY_S  # how much the account lacked, and when


class Hold:
    """The most a request can cost, set aside by ``legs`` until ``settle`` or the end of the ``with``. Once it is
    ``opened`` in the journal only ``settle`` ends it: without its ``closed`` it is charged when the relay is gone, so
    it stays set aside until then."""

    __slots__ = ("_ended", "_slices", "legs", "opened")

    def __init__(self) -> None:
        self.legs: list[Leg] = []
        self._slices: list[list[Slice]] = []
        self._ended = self.opened = False

    def __enter__(self) -> Hold:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if not (self._ended or self.opened):
            self.settle((0,) * len(self.legs))

    def take(self, source: Source, slices: list[Slice], nanos: int, now_s: float) -> None:
        """Set ``nanos`` aside in each of ``slices``, which have it."""
        self.legs.append(Leg(source.account_ids, source.currency, source.price_version, nanos))
        self._slices.append(slices)
        for slice_ in slices:
            slice_.free_nanos -= nanos
            slice_.holds += 1
            slice_.used_s = now_s

    def settle(self, paid_nanos: tuple[int, ...]) -> None:
        """Keep what each leg pays for the poster, give the rest back to the leases."""
        assert not self._ended, "a hold ends once"
        self._ended = True
        for leg, slices, paid in zip(self.legs, self._slices, paid_nanos, strict=True):
            assert 0 <= paid <= leg.hold_nanos, (paid, leg)
            for slice_ in slices:
                slice_.free_nanos += leg.hold_nanos - paid
                slice_.holds -= 1
