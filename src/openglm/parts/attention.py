"""Grouped-query attention (Ainslie et al. 2023, arXiv 2305.13245): many query heads read few key and value heads.

``attend`` is the one place where softmax happens, on torch's fused kernel; ``GroupedQueryAttention`` puts projections,
optional norms of queries and keys, rotation and cache around it. Neither knows which positions may see which: without a
mask they are causal, with one they do what it says, so that a bidirectional prefix uses the same code.

A mask is ``[..., T, S]``, broadcast over batch and heads: boolean (True: may be seen) or numbers added to the scores.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from openglm.parts.cache import LayerCache
from openglm.parts.norm import RMSNorm
from openglm.parts.rotary import Angles

#: Up to so many keys, products beat torch's fused kernel on a CPU in bf16: 15 ms forward and back against 44 at 256
#: keys, 29 against 77 at 512, 115 against 125 at 1,024 (one core with AVX512-BF16). In fp32 they are slower.
PRODUCTS_UP_TO = 512


def causal_mask(new: int, past: int, device: torch.device | str = "cpu") -> Tensor:
    """Which of ``past + new`` tokens each of ``new`` ones may see: boolean ``[new, past + new]``.

    Torch's own ``is_causal`` aligns at the upper left, so that it is right for an empty past only.
    """
    return torch.ones(new, past + new, dtype=torch.bool, device=device).tril(past)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, scale: float | None = None) -> Tensor:
    """Softmax attention with the heads put side by side again.

    ``q`` ``[B, H, T, d]``, ``k`` ``[B, K, S, d]``, ``v`` ``[B, K, S, e]``, H a multiple of K, ``mask`` as above or None
    for causal; ``scale`` is ``d ** -0.5`` unless given. Returns ``[B, T, H * e]``.
    """
    new, seen = q.shape[2], k.shape[2]
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and new > 1 and seen <= PRODUCTS_UP_TO:
        return _by_products(q, k, v, causal_mask(new, seen - new) if mask is None else mask, scale)
    if mask is None and new > 1 and seen > new:
        mask = causal_mask(new, seen - new, q.device)
    out = functional.scaled_dot_product_attention(
        q, k, v, mask, is_causal=mask is None and new > 1, scale=scale, enable_gqa=q.shape[1] != k.shape[1]
    )
    return out.transpose(1, 2).flatten(2)


def _by_products(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float | None) -> Tensor:
    """The same by plain products: query heads that read one key head are rows of one matrix."""
    batch, heads, new, width = q.shape
    groups, seen = batch * k.shape[1], k.shape[2]
    if mask.dtype == torch.bool:
        mask = torch.zeros(mask.shape, dtype=q.dtype).masked_fill_(~mask, float("-inf"))
    added = mask.expand(batch, heads, new, seen).reshape(groups, -1, seen)
    rows = (q * (width**-0.5 if scale is None else scale)).reshape(groups, -1, width)
    weights = torch.baddbmm(added, rows, k.reshape(groups, seen, width).mT).softmax(-1)
    out = torch.bmm(weights, v.reshape(groups, seen, -1))
    return out.view(batch, heads, new, -1).transpose(1, 2).flatten(2)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """``[B, T, heads * d] -> [B, heads, T, d]``."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


class GroupedQueryAttention(nn.Module):
    """Attention with separate projections, named as GLM-4 and later publish them.

    ``qk_norm_eps`` switches the norm of each query and key head on (GLM-4.5; Henry et al. 2020, arXiv 2010.04245).
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int,
        kv_heads: int,
        head_dim: int,
        qkv_bias: bool,
        out_bias: bool = False,
        qk_norm_eps: float | None = None,
    ) -> None:
        super().__init__()
        self.heads, self.kv_heads = heads, kv_heads
        self.q_proj = nn.Linear(width, heads * head_dim, bias=qkv_bias)
        self.k_proj = nn.Linear(width, kv_heads * head_dim, bias=qkv_bias)
        self.v_proj = nn.Linear(width, kv_heads * head_dim, bias=qkv_bias)
        self.o_proj = nn.Linear(heads * head_dim, width, bias=out_bias)
        self.q_norm = None if qk_norm_eps is None else RMSNorm(head_dim, qk_norm_eps)
        self.k_norm = None if qk_norm_eps is None else RMSNorm(head_dim, qk_norm_eps)

    def forward(
        self, x: Tensor, angles: Angles | None = None, mask: Tensor | None = None, cache: LayerCache | None = None
    ) -> Tensor:
        """``[B, T, D] -> [B, T, D]``; without ``angles`` nothing turns (learned positions were added before)."""
        q = split_heads(self.q_proj(x), self.heads)
        k = split_heads(self.k_proj(x), self.kv_heads)
        v = split_heads(self.v_proj(x), self.kv_heads)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if angles is not None:
            q, k = angles.rotate(q), angles.rotate(k)
        if cache is not None:
            k, v = cache.append(k, v)
        return self.o_proj(attend(q, k, v, mask))
