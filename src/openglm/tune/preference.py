"""Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290): of two answers, rather the better one.

    margin = β · ((log π(y_w) - log π(y_l)) - (log π_ref(y_w) - log π_ref(y_l)))        loss = -log σ(margin)

The reference is the model before it learned, and never moves: what it thought of every answer is computed once, before
the first step, so that no second model is in memory. It knows models as ``train.loss`` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from openglm.data.batches import Batch
from openglm.train.loss import Loss
from openglm.train.trainable import Trainable


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs(Batch):
    """2B rows: B better answers, then the B worse ones to the same prompts."""

    reference: Tensor  # [B, 2] float32: nats of the better and of the worse, before anything was learned

    @classmethod
    def of(cls, batch: Batch, reference: Tensor) -> Self:
        """The rows of ``batch``, the first half of which are the better ones."""
        return cls(reference=reference, **{field.name: getattr(batch, field.name) for field in fields(Batch)})

    def count(self) -> Tensor:
        """[]: how many pairs; a step's loss is the mean over them."""
        return self.weights.new_tensor(len(self.reference))


def log_probabilities(model: Trainable, batch: Batch) -> Tensor:
    """[rows]: nats that the model gives to all of a row's learned tokens together."""
    hidden = model.hidden(batch.tokens, batch.positions, batch.mask())
    row, at = batch.weights.nonzero(as_tuple=True)
    logits = model.logits(hidden[row, at]).float()
    each = -functional.cross_entropy(logits, batch.targets[row, at], reduction="none")
    return each.new_zeros(len(batch.tokens)).index_add(0, row, each)


@dataclass(frozen=True)
class Preference:
    """The loss of ``train.loop.Run`` for pairs. ``beta``: how dearly the model pays for leaving the reference."""

    beta: float = 0.1

    def __call__(self, model: Trainable, batch: Batch, mtp_weight: float = 0.0) -> Loss:
        """``right`` counts the pairs of which the better answer gained on the worse one."""
        assert isinstance(batch, Pairs)
        assert not mtp_weight, "pairs do not teach further tokens"
        better, worse = log_probabilities(model, batch).chunk(2)
        margins = self.beta * ((better - worse) - (batch.reference[:, 0] - batch.reference[:, 1]))
        total = -functional.logsigmoid(margins).sum()
        return Loss(total, total.detach(), (margins.detach() > 0).float().sum())


@torch.no_grad()
def reference_of(model: Trainable, batches: Sequence[Batch]) -> Tensor:
    """[pairs, 2]: what the model, as it is, thinks of the answers of ``batches``, whose pairs come in order."""
    found = [torch.stack(log_probabilities(model, batch).chunk(2), dim=1) for batch in batches]
    return torch.cat(found).float()
