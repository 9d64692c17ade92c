"""Keeping experts busy without a loss of their own: the router's bias moves against each expert's load.

arXiv 2408.15664: ``b += u * sign(mean load - load)`` after each step. The bias only decides who is chosen, never the
weight of the answer, and is no parameter, so no optimiser would ever move it.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import nn


def routers(model: nn.Module) -> list[nn.Module]:
    """The parts that choose experts: whoever counts loads beside a correction bias."""
    return [part for part in model.modules() if hasattr(part, "loads") and hasattr(part, "e_score_correction_bias")]


@torch.no_grad()
def rebalance(model: nn.Module, rate: float) -> float:
    """Move every bias by ``rate`` and begin to count anew; returns the worst load, as a multiple of its layer's mean."""
    worst = 1.0
    for router in routers(model):
        loads = router.loads.float()
        if dist.is_initialized():
            dist.all_reduce(loads)
        mean = loads.mean()
        router.e_score_correction_bias.add_(rate * torch.sign(mean - loads))
        worst = max(worst, float(loads.max() / mean.clamp(min=1)))
        router.loads.zero_()
    return worst
