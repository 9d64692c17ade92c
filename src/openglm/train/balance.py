"""Keeping experts busy without a loss of their own: after each step the routers' biases move against the load.

What moves is in ``parts/experts.py``; here are the loads of all ranks brought together, and what the log is told.
"""

from __future__ import annotations

import torch.distributed as dist
from torch import nn

from openglm.parts.experts import SigmoidRouter


def rebalance(model: nn.Module, rate: float) -> float | None:
    """Move every router's bias by ``rate``; the worst load as a multiple of its layer's mean, None without routers."""
    worst = None
    for router in _routers(model):
        load = router.load.clone()
        if dist.is_initialized():
            dist.all_reduce(load)
        worst = max(worst or 0.0, float(load.max() / load.mean().clamp(min=1)))
        router.balance(load, rate)
    return worst


def forget(model: nn.Module) -> None:
    """Count anew: what was counted was no step of training."""
    for router in _routers(model):
        router.load.zero_()


def _routers(model: nn.Module) -> list[SigmoidRouter]:
    return [part for part in model.modules() if isinstance(part, SigmoidRouter)]
