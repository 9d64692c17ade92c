"""What a tuning is to do, as one value that is read from JSON: strictly, so that a misspelt name is not left out.

It knows names and bounds. ``tuning.py`` does it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self, get_args

from openglm.errors import Refused
from openglm.tune.examples import Method
from openglm.tune.launch.trainers import TRAINERS

#: Learning rates at a width of 4096: of all weights, and of adapters, which begin at nothing and move faster.
RATE, ADAPTER_RATE, RATE_WIDTH = 2e-5, 2e-4, 4096
EPOCHS = 3
#: Of the loss of a further token: what GLM-4.5 ends with (arXiv 2508.06471).
MTP_WEIGHT = 0.1
#: Steps that an epoch has at least, where the size of a batch is left to us, and the most rows of one.
STEPS_PER_EPOCH, BATCH_MAX = 32, 32
OWN = "openglm"
Argument = str | int | float | bool


@dataclass(frozen=True, kw_only=True)
class Order:
    """``base`` is a checkpoint in the published layout with its ``tokenizer.json``; all that is made lies in ``into``.

    ``rank`` is of adapters (arXiv 2106.09685); with 0 every weight learns. What is None is chosen here.
    """

    base: Path
    training: Path
    into: Path
    validation: Path | None = None
    method: Method = "supervised"
    rank: int = 0
    alpha: float | None = None
    n_epochs: int | None = None
    batch_size: int | None = None
    learning_rate_multiplier: float | None = None
    beta: float | None = None
    mtp: bool = True
    """Whether the layer that predicts a further token learns too, where the model has one; pairs teach it nothing."""
    seed: int = 0
    name: str = ""
    gguf: bool = True
    """Whether to write the file that the embedded engine reads too; refused before training where it cannot be."""
    threads: int | None = None
    trainer: str = OWN
    """Who trains: this package, or one of ``launch``."""
    command: tuple[str, ...] = ()
    """What starts another trainer, where its own name does not: a path, or more words (``ssh -tt host swift``)."""
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    """More of its options, or others than are chosen."""
    processes: int = 1
    """How many processes the command trains with, that share a batch."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.method not in get_args(Method):
            raise Refused(f"method is {self.method!r}", hint=f"One of {', '.join(get_args(Method))}.")
        for name in ("n_epochs", "batch_size", "learning_rate_multiplier", "beta", "threads", "processes"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise Refused(f"{name} is {value}", hint="It must be above 0, or left out.")
        if self.trainer not in (OWN, *TRAINERS):
            raise Refused(f"trainer is {self.trainer!r}", hint=f"One of {', '.join((OWN, *TRAINERS))}.")
        if self.rank < 0:
            raise Refused(f"rank is {self.rank}", hint="It must be 0 (every weight learns) or more.")

    @classmethod
    def read(cls, text: str | bytes) -> Self:
        """From JSON. Raises ``Refused`` naming the member that is wrong."""
        try:
            told: Mapping[str, Any] = json.loads(text)
            known = {each.name: each.type for each in fields(cls)}
            if unknown := sorted(told.keys() - known.keys()):
                raise Refused(f"the order has {', '.join(unknown)}", hint=f"It may have {', '.join(known)}.")
            paths = {
                name: Path(value) for name, value in told.items() if "Path" in str(known[name]) and value is not None
            }
            return cls(**{**told, **paths})
        except (ValueError, TypeError, AttributeError) as error:
            if isinstance(error, Refused):
                raise
            raise Refused(f"the order cannot be read: {error}", hint="See tune/order.py for what it has.") from None

    def epochs(self) -> int:
        """Asked for, or chosen."""
        return self.n_epochs or EPOCHS

    def batch(self, units: int) -> int:
        """Rows (or pairs) of a step: asked for, or as many as leave an epoch enough steps."""
        return self.batch_size or max(1, min(BATCH_MAX, units // STEPS_PER_EPOCH))

    def mtp_weight(self, layers: int) -> float:
        """Of a model with so many layers that predict further tokens."""
        return MTP_WEIGHT if layers and self.mtp and self.method != "dpo" else 0.0

    def rate(self, width: int) -> float:
        """The learning rate's peak: narrower models bear larger steps (muP's direction, by the root of the width)."""
        rate = ADAPTER_RATE if self.rank else RATE
        return rate * (RATE_WIDTH / width) ** 0.5 * (self.learning_rate_multiplier or 1.0)
