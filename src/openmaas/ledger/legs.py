"""A request is paid on legs: from resource packs as far as they reach, what is left from the next source.

Each leg has its own currency and price. A leg that covers a part of what the request costs in its currency covers that
part of the request; the next leg pays for the rest of it. What was held in this way covers every smaller use: the part
that is left for a leg only shrinks with what the request used.
"""

from __future__ import annotations

import msgspec

from openmaas.core.money import share_nanos


class Leg(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One source of a request. All ``accounts`` pay the same: a wallet and its budgets, the windows of a plan."""

    accounts: tuple[str, ...]
    currency: str
    price_version: int
    hold_nanos: int


def split(costs: list[int], holds: list[int]) -> tuple[tuple[int, ...], int]:
    """What each leg pays of a request that costs ``costs``, each in its own currency and never more than its hold; and
    what is left over, in the currency of the last one."""
    part, whole = 1, 1
    paid = []
    due = 0
    for cost, hold in zip(costs, holds, strict=True):
        due = share_nanos(cost, part, whole)
        amount = min(due, hold)
        paid.append(amount)
        part, whole = (part * (due - amount), whole * due) if due else (0, 1)
    return tuple(paid), due - paid[-1]


def rest_worst(worst_nanos: int, part: int, whole: int) -> int:
    """What must be held of ``worst_nanos`` for ``part / whole`` of a request, rounded up."""
    return -(-worst_nanos * part // whole)
