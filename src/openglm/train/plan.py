"""What a run is to do, as one value: written beside its checkpoints, and compared before a run goes on."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Literal, Self

from openglm.errors import Refused


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to train. Rates are peaks, sizes are counts; what the model is and what it reads is not said here."""

    steps: int
    micro_batches: int = 1
    """Of one step, on each rank: their gradients are added up before the weights move."""
    lr: float = 3e-3
    """Of embeddings, head, norms and biases (AdamW)."""
    matrix_lr: float | None = None
    """Of the matrices of the layers, by Muon; without it AdamW takes them too."""
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    schedule: Literal["cosine", "linear", "stable"] = "cosine"
    warmup: int = 100
    end: float = 0.1
    """Where the rate ends, as a share of its peak."""
    decay: int = 0
    """Steps of the way down; of the schedule ``stable`` only."""
    clip: float = 1.0
    """The gradient's norm is held at this."""
    dtype: Literal["fastest", "bfloat16", "float32"] = "fastest"
    """Of the products; weights, their moments and sums stay float32. A run settles what is fastest where it begins."""
    mtp_weight: float = 0.0
    """Of multi-token prediction (GLM-4.5: 0.3, later 0.1)."""
    router_bias_rate: float = 1e-3
    """How far the bias of an expert moves a step, against its load; 0 leaves it alone."""
    embedding_shrink: float = 1.0
    """The share of its gradient that reaches the embedding (GLM-130B: 0.1, against spikes)."""
    evaluate_every: int = 0
    save_every: int = 0
    """Steps between checkpoints; 0 saves at the end only."""
    keep: int = 2
    """Checkpoints that stay; older ones go."""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name in ("steps", "micro_batches", "keep"):
            if getattr(self, name) < 1:
                raise Refused(f"{name} is {getattr(self, name)}", hint="It must be at least 1.")
        if not 0 <= self.warmup < self.steps:
            raise Refused(f"warmup is {self.warmup}", hint=f"It must be at least 0 and less than steps ({self.steps}).")
        if self.schedule == "stable" and not 0 < self.decay <= self.steps - self.warmup:
            raise Refused(f"decay is {self.decay}", hint=f"The schedule stable needs 1 to {self.steps - self.warmup}.")
        if self.lr <= 0 or (self.matrix_lr is not None and self.matrix_lr <= 0):
            raise Refused(f"lr is {self.lr}, matrix_lr is {self.matrix_lr}", hint="They must be above 0.")

    def write(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """What ``write`` wrote."""
        told = json.loads(path.read_text())
        if unknown := told.keys() - {field.name for field in fields(cls)}:
            raise Refused(f"{path.name} has {', '.join(sorted(unknown))}, which no plan has", hint="Remove it.")
        return cls(**{**told, "betas": tuple(told.get("betas", cls.betas))})

    def same_walk(self, other: Plan) -> list[str]:
        """The fields in which ``other`` would take other steps than this; how often to save and look is free."""
        free = {"evaluate_every": 0, "save_every": 0, "keep": 1}
        mine, theirs = asdict(replace(self, **free)), asdict(replace(other, **free))  # type: ignore[arg-type]
        return sorted(name for name in mine if mine[name] != theirs[name])
