"""A mixture of experts: many small feed-forward layers, of which a router gives each token a few.

The router is DeepSeek-V3's (arXiv 2412.19437, section 2.1.2), as GLM-4.5 uses it: a sigmoid for each expert; a bias
that only decides who is chosen, never how much it counts; the chosen scores brought to a sum of one and scaled. The
bias is no parameter: the optimiser never sees it, and whoever trains moves it against the load (``balance``). One
shared expert sees every token. Nothing here knows layers or checkpoints; on disk each expert is on its own
(``checkpoint/experts.py``).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from openglm.parts.feed_forward import GatedFeedForward


class SigmoidRouter(nn.Module):
    """Chooses ``chosen`` of ``experts`` for each token, from the best ``groups_chosen`` of ``groups`` groups."""

    def __init__(
        self,
        width: int,
        experts: int,
        *,
        chosen: int,
        scale: float,
        normalise: bool = True,
        groups: int = 1,
        groups_chosen: int = 1,
    ) -> None:
        super().__init__()
        assert experts % groups == 0, (experts, groups)
        self.chosen, self.scale, self.normalise = chosen, scale, normalise
        self.groups, self.groups_chosen = groups, groups_chosen
        self.weight = nn.Parameter(torch.zeros(experts, width))
        self.register_buffer("e_score_correction_bias", torch.zeros(experts, dtype=torch.float32))
        # Counted while training, asked for by the trainer, of no interest to a checkpoint.
        self.register_buffer("load", torch.zeros(experts, dtype=torch.float32), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens ``[N, D]`` to their experts ``[N, chosen]``, in no order, and as many weights in fp32."""
        with torch.autocast(x.device.type, enabled=False):  # two close scores must not change places by rounding
            scores = functional.linear(x.float(), self.weight.float()).sigmoid()
        experts = self._among_groups(scores.detach() + self.e_score_correction_bias).topk(self.chosen, sorted=False)[1]
        weights = scores.gather(1, experts)
        if self.normalise:
            weights = weights / (weights.sum(dim=-1, keepdim=True) + 1e-20)
        if self.training:
            self.load += experts.flatten().bincount(minlength=self.load.shape[0])
        return experts, weights * self.scale

    def _among_groups(self, biased: Tensor) -> Tensor:
        """Scores ``[N, experts]`` with those outside the best groups sunk; a group is as good as its two best."""
        if self.groups == 1:
            return biased
        by_group = biased.unflatten(1, (self.groups, -1))
        best = by_group.topk(2, dim=-1)[0].sum(dim=-1).topk(self.groups_chosen, dim=-1)[1]
        outside = torch.ones(by_group.shape[:2], dtype=torch.bool, device=biased.device).scatter(1, best, False)
        return by_group.masked_fill(outside[..., None], float("-inf")).flatten(1)

    @torch.no_grad()
    def balance(self, load: Tensor, rate: float) -> None:
        """Move the bias by ``rate`` towards experts with less than their share of ``load`` ``[experts]``.

        ``b += rate * sign(mean(load) - load)``, arXiv 2412.19437; after it counting starts anew.
        """
        self.e_score_correction_bias += rate * (load.mean() - load).sign()
        self.load.zero_()


class Experts(nn.Module):
    """``experts`` gated feed-forward layers in two stacks: ``[E, 2 * inner, D]``, gate first, and ``[E, D, inner]``."""

    def __init__(self, width: int, inner: int, experts: int) -> None:
        super().__init__()
        self.gate_up_proj = nn.Parameter(torch.empty(experts, 2 * inner, width))
        self.down_proj = nn.Parameter(torch.empty(experts, width, inner))

    def forward(self, x: Tensor, experts: Tensor, weights: Tensor) -> Tensor:
        """Each token through its experts, weighed and summed.

        ``x`` ``[N, D]``, ``experts`` and ``weights`` ``[N, chosen]``; returns ``[N, D]``. Tokens are sorted by expert,
        so that each expert is two matrix products over its own rows, and sorted back.
        """
        chosen = experts.shape[1]
        order = experts.flatten().argsort(stable=True)
        loads = experts.flatten().bincount(minlength=self.gate_up_proj.shape[0]).tolist()
        rows = x[order // chosen].split(loads)
        # unbind, not [e]: its gradient is one stack, where indexing adds up as many full stacks as there are experts.
        done = [
            _gated(mine, gate_up, down)
            for mine, gate_up, down in zip(rows, self.gate_up_proj.unbind(), self.down_proj.unbind(), strict=True)
            if len(mine)
        ]
        back = torch.cat(done)[order.argsort()].unflatten(0, (-1, chosen))
        return (back * weights[..., None].to(back.dtype)).sum(dim=1)


def _gated(x: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    gate, up = functional.linear(x, gate_up).chunk(2, dim=-1)
    return functional.linear(functional.silu(gate) * up, down)


class MixtureOfExperts(nn.Module):
    """Routed experts plus the shared one. ``[B, T, D] -> [B, T, D]``; the names are those of published checkpoints."""

    def __init__(self, gate: SigmoidRouter, experts: Experts, shared_experts: GatedFeedForward) -> None:
        super().__init__()
        self.gate = gate
        self.experts = experts
        self.shared_experts = shared_experts

    def forward(self, x: Tensor) -> Tensor:
        """Route, compute, add the shared expert."""
        tokens = x.flatten(0, -2)
        experts, weights = self.gate(tokens)
        return self.experts(tokens, experts, weights).view(x.shape) + self.shared_experts(x)
