"""Root mean square normalisation (Zhang & Sennrich 2019, arXiv 1910.07467), the norm of every GLM since ChatGLM2.

It knows a width and an epsilon; who is normalised before or after what is written in the models.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class RMSNorm(nn.Module):
    """``x / rms(x) * weight`` over the last dimension, computed in fp32 whatever ``x`` is. ``[..., D] -> [..., D]``."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Give back ``x`` normalised, in its own precision."""
        # bf16 keeps eight bits: a sum of thousands of squares in it is noise. In fp32 both casts cost nothing.
        return functional.rms_norm(x.float(), self.weight.shape, self.weight.float(), self.eps).to(x.dtype)

    def extra_repr(self) -> str:
        """What ``print(model)`` shows."""
        return f"{self.weight.shape[0]}, eps={self.eps}"
