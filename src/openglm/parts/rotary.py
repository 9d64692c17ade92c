"""Rotary position embedding (Su et al. 2021, arXiv 2104.09864): positions as angles by which pairs of numbers turn.

Two things differ along the GLM line, and both are data here: how much of a head turns (``width``, the rest passes), and
which numbers make a pair. Checkpoints of one pairing make noise under the other, silently:

    interleaved   (x0,x1) (x2,x3) …        ChatGLM2/3, GLM-4, GLM-4-0414; also 4.7-Flash
    halves        (x0,xn/2) (x1,xn/2+1) …  GLM-130B, ChatGLM-6B, GLM-4.5 and after ("NeoX style")

It does not know where positions come from: two-dimensional ones are two calls on two halves of a head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Pairing = Literal["interleaved", "halves"]


@dataclass(frozen=True)
class Angles:
    """What turns queries and keys at some positions: cosines and sines ``[B, 1, T, width / 2]``, in fp32."""

    cos: Tensor
    sin: Tensor
    pairing: Pairing

    def rotate(self, x: Tensor) -> Tensor:
        """Turn the first ``width`` numbers of each head, pass the rest. ``[B, H, T, head_dim]`` in and out."""
        return _Turned.apply(x, self.cos, self.sin, self.pairing)


class _Turned(torch.autograd.Function):
    """The turn, in one copy of ``x`` and in fp32; the way back is the turn by the opposite angle.

    On a CPU, forward and back, half of the time of the one that torch derives from slices, products and their joining.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor, pairing: Pairing) -> Tensor:
        """``[B, H, T, head_dim]`` in and out."""
        ctx.save_for_backward(cos, sin)
        ctx.pairing = pairing
        return _turn(x, cos, sin, pairing)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        """The gradient of ``x``."""
        cos, sin = ctx.saved_tensors
        return _turn(grads[0], cos, -sin, ctx.pairing), None, None, None


def _turn(x: Tensor, cos: Tensor, sin: Tensor, pairing: Pairing) -> Tensor:
    width = 2 * cos.shape[-1]
    dtype = torch.float32 if x.itemsize < cos.itemsize else x.dtype
    form = torch.preserve_format if x.stride(-1) == 1 else torch.contiguous_format  # the cheapest whose pairs lie so
    out = x.to(dtype, copy=True, memory_format=form)
    turning = out[..., :width]
    if pairing == "interleaved":  # pairs that lie side by side are complex numbers
        torch.view_as_complex(turning.unflatten(-1, (-1, 2))).mul_(torch.complex(cos, sin))
    else:
        first, second = turning.chunk(2, dim=-1)
        was = first.clone()
        first.mul_(cos).addcmul_(second, sin, value=-1)
        second.mul_(cos).addcmul_(was, sin)
    return out.to(x.dtype)


@dataclass(frozen=True)
class Rotation:
    """How a model turns: ``width`` numbers of each head, the slowest pair once in about ``2 pi theta`` positions.

    Plain data, no tensor: a model on the meta device has nothing to lose, and a checkpoint nothing to keep.
    """

    width: int
    theta: float
    pairing: Pairing

    def __post_init__(self) -> None:
        assert self.width % 2 == 0, f"pairs are made of {self.width} numbers"

    def angles(self, positions: Tensor) -> Angles:
        """The angles of ``positions`` ``[B, T]`` (integers; B may be 1 for all rows)."""
        pair = torch.arange(0, self.width, 2, dtype=torch.float32, device=positions.device)
        # fp32 throughout: position 100,000 times a frequency has no digit left in bf16.
        turns = positions[..., None].float() * (1.0 / self.theta ** (pair / self.width))
        return Angles(turns.cos()[:, None], turns.sin()[:, None], self.pairing)
