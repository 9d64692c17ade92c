"""How a request stands with its limits: what a limit allows and what is left. Limits say it, dialects write it down."""

from __future__ import annotations

from typing import Literal

import msgspec


class Standing(msgspec.Struct, frozen=True, gc=False):
    """``remaining`` of ``amount`` requests or tokens a minute; all of them again in ``reset_s``."""

    kind: Literal["requests", "tokens"]
    amount: int
    remaining: int
    reset_s: float
