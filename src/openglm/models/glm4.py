"""GLM-4-9B (2024, ``GlmForCausalLM``): the block that the whole later line varies.

Source: arXiv 2406.12793; transformers, models/glm. Against a Llama: half of each head turns, in interleaved pairs;
queries, keys and values have biases; gate and up are one matrix; two key-value heads serve all query heads.

    x = x + self_attn(input_layernorm(x))
    x = x + mlp(post_attention_layernorm(x))

A trap in the published names: ``post_attention_layernorm`` comes after attention and is the norm *before* the
feed-forward layer, not a norm of attention's output.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from openglm.models.config import PublishedConfig
from openglm.models.decoder import CausalLM
from openglm.parts.attention import GroupedQueryAttention
from openglm.parts.cache import LayerCache
from openglm.parts.feed_forward import FusedGatedFeedForward
from openglm.parts.norm import RMSNorm
from openglm.parts.rotary import Angles, Rotation


def attention_contradictions(config: Any) -> Iterator[str]:
    """What cannot be of grouped-query attention under the names of GLM-4 and GLM-4.5."""
    c = config
    heads, kv_heads, turning = c.num_attention_heads, c.num_key_value_heads, c.head_dim * c.partial_rotary_factor
    if kv_heads < 1 or heads % kv_heads:
        yield f"num_attention_heads {heads} is no multiple of num_key_value_heads {kv_heads}"
    if not 0 < turning <= c.head_dim or int(turning) % 2:
        yield f"partial_rotary_factor {c.partial_rotary_factor} of head_dim {c.head_dim} is no number of pairs"


@dataclass(frozen=True, kw_only=True)
class Glm4Config(PublishedConfig):
    """Fields of config.json, by their names; those without a default must be there."""

    MODEL_TYPE = "glm"
    ARCHITECTURE = "GlmForCausalLM"
    FIXED: ClassVar[Mapping[str, Any]] = {"hidden_act": "silu", "attention_dropout": 0.0}

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    #: transformers' own default is 1.5625e-07; every checkpoint says its own.
    rms_norm_eps: float
    attention_bias: bool
    rope_theta: float = 10_000.0
    partial_rotary_factor: float = 0.5
    max_position_embeddings: int = 131_072
    tie_word_embeddings: bool = False
    initializer_range: float = 0.02

    def contradictions(self) -> Iterator[str]:
        """Key heads serve equal groups of query heads, and pairs turn."""
        return attention_contradictions(self)

    @property
    def rotation(self) -> Rotation:
        """Half of each head, interleaved."""
        return Rotation(int(self.head_dim * self.partial_rotary_factor), self.rope_theta, "interleaved")


class Block(nn.Module):
    """Pre-norm attention and feed-forward, under the published names. ``[B, T, D] -> [B, T, D]``."""

    def __init__(self, width: int, eps: float, attention: nn.Module, feed_forward: nn.Module) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(width, eps)
        self.self_attn = attention
        self.post_attention_layernorm = RMSNorm(width, eps)
        self.mlp = feed_forward

    def forward(self, x: Tensor, angles: Angles, mask: Tensor | None, cache: LayerCache | None) -> Tensor:
        """Attention, then the feed-forward layer, each beside the residual stream."""
        x = x + self.self_attn(self.input_layernorm(x), angles, mask, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


def attention_of(config: Any, qk_norm_eps: float | None = None) -> GroupedQueryAttention:
    """Grouped-query attention of the sizes that a GLM-4 or GLM-4.5 configuration names."""
    return GroupedQueryAttention(
        config.hidden_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        qkv_bias=config.attention_bias,
        qk_norm_eps=qk_norm_eps,
    )


class Glm4(CausalLM):
    """GLM-4-9B, GLM-4-9B-Chat, and CodeGeeX4 where it is published in this layout."""

    CONFIG = Glm4Config

    def __init__(self, config: Glm4Config) -> None:
        c = config
        blocks = [
            Block(
                c.hidden_size,
                c.rms_norm_eps,
                attention_of(c),
                FusedGatedFeedForward(c.hidden_size, c.intermediate_size),
            )
            for _ in range(c.num_hidden_layers)
        ]
        super().__init__(c, c.rotation, blocks)
