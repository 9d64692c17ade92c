"""Muon for the matrices inside the layers, AdamW for all the rest, as GLM-4.5 is trained.

Muon steps along the momentum with its singular values made equal, by five Newton-Schulz iterations (Keller Jordan,
2024). torch has one for plain matrices; this one also takes stacked experts, one matrix each, and the sharded tensors
of FSDP2, which it gathers, because a shard's singular values are not the matrix's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # the quintic whose slope at zero is largest
ITERATIONS = 5
UPDATE_RMS = 0.2  # the size of an AdamW update, so that one learning rate serves both (arXiv 2502.16982 §2.2)


def orthogonal(update: Tensor, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """The nearest matrix [..., m, n] with singular values near 1, by products in ``dtype``; a stack is many of them."""
    a, b, c = COEFFICIENTS
    x = update.to(dtype)
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal, scaled to AdamW's size; parameters are [m, n] or stacks of them [experts, m, n]."""

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 1e-3,
        momentum: float = 0.95,
        weight_decay: float = 0.1,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One update of every parameter that has a gradient."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._one(weight, weight.grad, group["lr"], group["momentum"], group["weight_decay"])
        return loss

    def _one(self, weight: Tensor, grad: Tensor, lr: float, momentum: float, weight_decay: float) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(grad)
        state["momentum"].lerp_(grad, 1 - momentum)
        update = grad.lerp(state["momentum"], momentum)  # Nesterov's look ahead
        whole = update.full_tensor() if isinstance(update, DTensor) else update
        turned = orthogonal(whole, self.dtype) * (UPDATE_RMS * max(whole.shape[-2:]) ** 0.5)
        if isinstance(update, DTensor):
            turned = distribute_tensor(turned, update.device_mesh, update.placements)
        weight.mul_(1 - lr * weight_decay)
        weight.add_(turned.to(weight.dtype), alpha=-lr)


def optimisers(
    model: nn.Module,
    *,
    lr: float,
    matrix_lr: float | None = None,
    weight_decay: float = 0.1,
    betas: tuple[float, float] = (0.9, 0.95),
    dtype: torch.dtype = torch.bfloat16,
) -> list[torch.optim.Optimizer]:
    """AdamW for embeddings, heads, norms and biases, and Muon (at ``matrix_lr``) for the matrices of the layers.

    ``dtype`` is of Muon's products. Without ``matrix_lr`` AdamW takes them all. Norms and biases never decay, and a
    tied weight is one parameter.
    """
    ends = {id(weight) for part in model.modules() if isinstance(part, nn.Embedding) for weight in part.parameters()}
    ends.add(id(model.head.weight))
    matrices, tables, rest = [], [], []
    for weight in model.parameters():
        if not weight.requires_grad:
            continue
        if weight.ndim < 2:
            rest.append(weight)
        elif id(weight) in ends or matrix_lr is None:
            tables.append(weight)
        else:
            matrices.append(weight)
    groups = [{"params": tables, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
    found: list[torch.optim.Optimizer] = [
        torch.optim.AdamW([group for group in groups if group["params"]], lr=lr, betas=betas, eps=1e-8, fused=True)
    ]
    if matrices and matrix_lr is not None:
        found.append(Muon(matrices, lr=matrix_lr, weight_decay=weight_decay, dtype=dtype))
    for optimiser in found:
        for group in optimiser.param_groups:
            group["peak_lr"] = group["lr"]
    return found
