"""What a step minimises: cross-entropy at the positions that carry loss, and what MTP and the router add.

The head is applied to those positions only. Of blank infilling's tokens a sixth to three quarters carry loss, and at a
small size the head is the largest matrix of all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from openglm.data.batches import Batch
from openglm.train.trainable import Trainable

HEAD_ROWS = 512  # positions that go through the head at a time: their logits are still in a CPU's cache when used


class Loss(NamedTuple):
    """Sums over positions, not means: who accumulates divides once, by the count of the whole step."""

    total: Tensor
    """[]: what goes backward: the sum over weighted positions of nats, MTP's part included."""
    nats: Tensor
    """[]: the same without MTP's part; detached."""
    right: Tensor
    """[]: how many of those positions the model would have guessed; detached."""


def loss_of(model: Trainable, batch: Batch, mtp_weight: float = 0.0) -> Loss:
    """Of one batch: tokens [B, T], targets [B, T] (already shifted: they align with the tokens), weights [B, T]."""
    mask = batch.mask()
    hidden = model.hidden(batch.tokens, batch.positions, mask)
    total, right = _cross_entropy(model.logits, hidden, batch.targets, batch.weights)
    nats = total.detach()
    if mtp_weight:
        total = total + mtp_weight * _multi_token(model, hidden, batch, mask)
    return Loss(total, nats, right)


def _cross_entropy(
    head: Callable[[Tensor], Tensor], hidden: Tensor, targets: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """The weighted sum of nats, and of right guesses."""
    at = weights.flatten().nonzero().squeeze(-1)
    rows, target, weight = hidden.flatten(0, 1)[at], targets.flatten()[at], weights.flatten()[at].float()
    total, right = hidden.new_zeros((), dtype=torch.float32), hidden.new_zeros((), dtype=torch.float32)
    for start in range(0, len(at), HEAD_ROWS):
        part = slice(start, start + HEAD_ROWS)
        nats, guess = _Nats.apply(head(rows[part]).float(), target[part])
        total = total + (nats * weight[part]).sum()
        right = right + ((guess == target[part]) * weight[part]).sum()
    return total, right


class _Nats(torch.autograd.Function):
    """``-log softmax(logits)[target]`` and the best guess, [N, V] and [N] to [N] and [N], in place.

    The logits become their probabilities, which is all that the way back needs: torch's own keeps logits and their
    logarithms, and fills a gradient with zeros first. Nobody else may read the logits, and the way back goes once.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        top, guess = logits.detach().max(-1, keepdim=True)
        wanted = logits.gather(-1, target[:, None]) - top
        likely = logits.detach().sub_(top).exp_()
        total = likely.sum(-1, keepdim=True)
        ctx.save_for_backward(likely, total, target)
        ctx.mark_non_differentiable(guess)
        return (total.log() - wanted).squeeze(-1), guess.squeeze(-1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        likely, total, target = ctx.saved_tensors
        grad = grads[0][:, None]
        found = likely.mul_(grad / total)
        return found.scatter_add_(-1, target[:, None], -grad), None


def _multi_token(model: Trainable, hidden: Tensor, batch: Batch, mask: Tensor | None) -> Tensor:
    """Multi-token prediction: from the state at t and the token at t+1, the token after it.

    The target of position t is that of position t+1 in the batch (DeepSeek-V3, arXiv 2412.19437 §2.2), so the last
    position of a row has none, and neither has one whose own target carries no loss.
    """
    ahead = model.mtp_hidden(hidden, batch.targets, batch.positions + 1, mask)
    weights = batch.weights.roll(-1, dims=1) * (batch.weights > 0)
    weights[:, -1] = 0
    return _cross_entropy(model.mtp_logits, ahead, batch.targets.roll(-1, dims=1), weights)[0]
