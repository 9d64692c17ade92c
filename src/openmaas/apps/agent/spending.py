"""What a task may use up, and what it has: steps, tokens, time, money. The money is what receipts say, nothing counted
here; a limit that is reached ends the task before the next thing is asked for."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from openmaas.apps.client import Answer
from openmaas.core.bounds import STEPS_MAX
from openmaas.core.clock import Clock


class Limits(msgspec.Struct, frozen=True):
    """The most; None is no limit. ``money`` is in the currency of the payer's receipts."""

    steps: int = STEPS_MAX
    tokens: int | None = None
    time_s: float | None = None
    money: Decimal | None = None


class Spent:
    """What one task has used."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self._limits, self._clock, self._since = limits, clock, clock.mono_s()
        self.steps = 0
        self.tokens = 0
        self.money = Decimal(0)
        self.currency = ""

    def asked(self, answer: Answer) -> None:
        """One request to a model."""
        self.tokens += answer.tokens
        self.money += answer.amount
        self.currency = answer.currency or self.currency

    @property
    def time_s(self) -> float:
        """Since the beginning."""
        return self._clock.mono_s() - self._since

    @property
    def over(self) -> str:
        """Which limit is reached, in words; empty when none is."""
        return f"{self._limits.steps} steps" if self.steps >= self._limits.steps else self.drained

    @property
    def drained(self) -> str:
        """The same within a step, which may ask a model more than once."""
        limits = self._limits
        if limits.tokens is not None and self.tokens >= limits.tokens:
            return f"{limits.tokens} tokens"
        if limits.time_s is not None and self.time_s >= limits.time_s:
            return f"{limits.time_s:g} seconds"
        if limits.money is not None and self.tokens and not self.currency:
            return f"{limits.money}, and this service gives no receipts to count by"
        if limits.money is not None and self.money >= limits.money:
            return f"{limits.money} {self.currency}"
        return ""
