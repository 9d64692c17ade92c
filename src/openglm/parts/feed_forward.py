"""Feed-forward layers: two linear maps with a curve between them, or three with a gate (arXiv 2002.05202).

    plain   down(act(up x))                  GELU: GLM-10B, ChatGLM-6B
    gated   down(act(gate x) * up x)         SwiGLU: ChatGLM2 and after; GEGLU: GLM-130B

A gated layer is published with gate and up as two matrices or as one, hence two classes; gate is the upper half of the
one. They know widths and a curve; which layer has which is written in the models.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

Activation = Literal["silu", "gelu", "gelu_tanh"]

#: The curves, by name; "gelu_tanh" is the approximation that GPT-2 and the first GLMs were trained with.
ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "gelu": functional.gelu,
    "gelu_tanh": partial(functional.gelu, approximate="tanh"),
}


class FeedForward(nn.Module):
    """The plain one. ``[..., width] -> [..., width]``."""

    def __init__(self, width: int, inner: int, *, activation: Activation = "gelu", bias: bool = True) -> None:
        super().__init__()
        self.up_proj = nn.Linear(width, inner, bias=bias)
        self.down_proj = nn.Linear(inner, width, bias=bias)
        self.curve = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """``down(act(up x))``."""
        return self.down_proj(self.curve(self.up_proj(x)))


class GatedFeedForward(nn.Module):
    """The gated one with gate and up apart (GLM-4.5 and after). ``[..., width] -> [..., width]``."""

    def __init__(self, width: int, inner: int, *, activation: Activation = "silu", bias: bool = False) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, inner, bias=bias)
        self.up_proj = nn.Linear(width, inner, bias=bias)
        self.down_proj = nn.Linear(inner, width, bias=bias)
        self.curve = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """``down(act(gate x) * up x)``."""
        return self.down_proj(self.curve(self.gate_proj(x)) * self.up_proj(x))


class FusedGatedFeedForward(nn.Module):
    """The gated one with gate and up as one matrix (GLM-4). ``[..., width] -> [..., width]``."""

    def __init__(self, width: int, inner: int, *, activation: Activation = "silu", bias: bool = False) -> None:
        super().__init__()
        self.gate_up_proj = nn.Linear(width, 2 * inner, bias=bias)
        self.down_proj = nn.Linear(inner, width, bias=bias)
        self.curve = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """``down(act(gate x) * up x)``."""
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        return self.down_proj(self.curve(gate) * up)
