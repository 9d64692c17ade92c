"""The learning rate as a pure function of the step: what a resumed run needs to know about its past is the step alone.

Every schedule is a factor of the peak rate, between 0 and 1; steps count from 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[int], float]


def cosine(steps: int, warmup: int, end: float = 0.1) -> Schedule:
    """Warm up in a line, then half a cosine down to ``end`` (GLM-4.5 trains so, arXiv 2508.06471 §2.4)."""

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        done = min(1.0, (step - warmup) / max(1, steps - warmup))
        return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * done))

    return factor


def linear(steps: int, warmup: int, end: float = 0.0) -> Schedule:
    """Warm up, then a line down to ``end`` (the second half of the training of GLM-10B)."""

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 1 - (1 - end) * min(1.0, (step - warmup) / max(1, steps - warmup))

    return factor


def stable(steps: int, warmup: int, decay: int, end: float = 0.0) -> Schedule:
    """Warm up, stay, and go down in a line in the last ``decay`` steps (WSD, arXiv 2404.06395)."""

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        left = steps - step
        return 1.0 if left >= decay else end + (1 - end) * max(0, left) / decay

    return factor


SCHEDULES: dict[str, Callable[..., Schedule]] = {"cosine": cosine, "linear": linear, "stable": stable}
