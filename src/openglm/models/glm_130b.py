"""GLM-130B (2022): rotary positions, DeepNorm, GEGLU, and a softmax that stays within fp16.

What it took to train so deep a model in half precision: norms by DeepNorm (``classic.py``), scores divided by the
number of their layer before they are kept in fp16 and multiplied by it again inside an fp32 softmax, gradients of the
embedding shrunk to a tenth. Positions are one-dimensional: a span's tokens stay at their blank after [MASK], and count
on after [gMASK]. The head is the embedding.

Sources: arXiv 2210.02414; github.com/THUDM/SwissArmyTransformer, ``sat/model/official/glm130B_model.py``, whose names
these are; github.com/THUDM/GLM-130B, ``configs/model_glm_130b.sh`` and ``evaluation/dataset.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from openglm.models.classic import Attention, Classic, DeepNormBlock, scale_outputs
from openglm.models.config import PublishedConfig
from openglm.parts.attention import causal_mask
from openglm.parts.rotary import Rotation


@dataclass(frozen=True, kw_only=True)
class Glm130BConfig(PublishedConfig):
    """Sizes, under the names of the published script's options."""

    MODEL_TYPE = "glm-130b"
    ARCHITECTURE = "GLM130B"

    num_layers: int = 70
    hidden_size: int = 12288
    inner_hidden_size: int = 32768
    num_attention_heads: int = 96
    vocab_size: int = 150528
    max_sequence_length: int = 2048
    layernorm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    tie_word_embeddings: bool = True
    embedding_gradient: float = 1.0  # 0.1 in the official run: what is kept of the embedding's gradient


class Geglu(nn.Module):
    """``x1 * gelu(x2)`` of one matrix's two halves (arXiv 2002.05202). ``[..., D] -> [..., D]``."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.dense_h_to_4h = nn.Linear(width, 2 * inner)
        self.dense_4h_to_h = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """The gate is the second half."""
        first, second = self.dense_h_to_4h(x).chunk(2, dim=-1)
        return self.dense_4h_to_h(first * functional.gelu(second))


def attend_within_fp16(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, layer: int) -> Tensor:
    """Softmax attention whose scores never leave fp16's range (section 3.2 of the paper).

    The same numbers as ``attend``: what is divided by ``layer`` (counted from 1) before the product is multiplied after
    it, in fp32. Shapes are those of ``attend``.
    """
    new, seen = q.shape[2], k.shape[2]
    scores = (q / (q.shape[-1] ** 0.5 * layer)) @ k.transpose(-1, -2)
    mask = causal_mask(new, seen - new, q.device) if mask is None else mask
    weights = (scores.float() * layer).masked_fill(~mask, float("-inf")).softmax(dim=-1)
    return (weights.to(v.dtype) @ v).transpose(1, 2).flatten(2)


class Glm130B(Classic):
    """GLM-130B, or a small one like it."""

    CONFIG = Glm130BConfig
    COUNTS_ON = True

    def __init__(self, config: Glm130BConfig) -> None:
        c = config
        rotation = Rotation(c.hidden_size // c.num_attention_heads, 10_000.0, "halves")
        super().__init__(config, rotation, c.initializer_range)
        layers = [
            DeepNormBlock(
                c.hidden_size,
                c.num_layers,
                c.layernorm_epsilon,
                Attention(
                    c.hidden_size,
                    c.num_attention_heads,
                    by_head=True,
                    attended=partial(attend_within_fp16, layer=number + 1),
                ),
                Geglu(c.hidden_size, c.inner_hidden_size),
            )
            for number in range(c.num_layers)
        ]
        self.assemble(layers, word_embeddings=nn.Embedding(c.vocab_size, c.hidden_size))

    @property
    def embedding(self) -> nn.Embedding:
        """``transformer.word_embeddings``."""
        words = self.transformer["word_embeddings"]
        assert isinstance(words, nn.Embedding)
        return words

    def placed(self, tokens: Tensor, positions: Tensor) -> tuple[Tensor, Any]:
        """Tokens with their gradient shrunk, and angles of the first positions; the second are not used."""
        x, kept = self.embedding(tokens), self.config.embedding_gradient
        if kept != 1.0:
            x = kept * x + (1 - kept) * x.detach()
        return x, self.rotation.angles(positions[:, 0])

    @torch.no_grad()
    def initialise(self, generator: torch.Generator | None = None) -> None:
        """DeepNorm's: matrices that values pass through smaller by ``(2 layers) ** -0.5``, queries and keys not."""
        super().initialise(generator)
        beta = (2 * self.config.num_layers) ** -0.5
        scale_outputs(self, beta)
        for block in self.blocks():
            assert isinstance(block, DeepNormBlock)
            block.attention.query_key_value.weight.unflatten(0, (block.attention.heads, 3, -1))[:, 2].mul_(beta)
            assert isinstance(block.mlp, Geglu)
            block.mlp.dense_h_to_4h.weight.mul_(beta)
