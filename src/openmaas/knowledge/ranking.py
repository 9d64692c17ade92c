"""One order out of several: reciprocal rank fusion. https://doi.org/10.1145/1571941.1572114"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

T = TypeVar("T", bound=Hashable)
#: The paper's: how little the first places count more than the next.
_K = 60


def fused(rankings: Sequence[tuple[float, Sequence[T]]]) -> list[T]:
    """Everything that stands in a ranking, the best first; each ranking counts by its weight."""
    sums: dict[T, float] = {}
    for weight, ranking in rankings:
        for rank, each in enumerate(ranking, 1):
            sums[each] = sums.get(each, 0.0) + weight / (_K + rank)
    return sorted(sums, key=lambda each: -sums[each])
