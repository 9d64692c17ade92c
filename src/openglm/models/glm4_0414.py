"""GLM-4-0414 and GLM-Z1 (April 2025, ``Glm4ForCausalLM``): GLM-4 with a norm on either side of every layer.

Source: transformers, models/glm4. The second norm keeps what a layer adds to the residual stream at a known size:

    x = x + post_self_attn_layernorm(self_attn(input_layernorm(x)))
    x = x + post_mlp_layernorm(mlp(post_attention_layernorm(x)))

The 9B has biases on queries, keys and values, the 32B none. Everything else is GLM-4's (``glm4.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from openglm.models.decoder import CausalLM
from openglm.models.glm4 import Block, Glm4Config, attention_of
from openglm.parts.cache import LayerCache
from openglm.parts.feed_forward import FusedGatedFeedForward
from openglm.parts.norm import RMSNorm
from openglm.parts.rotary import Angles


@dataclass(frozen=True, kw_only=True)
class Glm4Config0414(Glm4Config):
    """The same fields as GLM-4."""

    MODEL_TYPE = "glm4"
    ARCHITECTURE = "Glm4ForCausalLM"


class SandwichBlock(Block):
    """Attention and feed-forward, each between two norms. ``[B, T, D] -> [B, T, D]``."""

    def __init__(self, config: Glm4Config0414) -> None:
        c = config
        feed_forward = FusedGatedFeedForward(c.hidden_size, c.intermediate_size)
        super().__init__(c.hidden_size, c.rms_norm_eps, attention_of(c), feed_forward)
        self.post_self_attn_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.post_mlp_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)

    def forward(self, x: Tensor, angles: Angles, mask: Tensor | None, cache: LayerCache | None) -> Tensor:
        """Attention, then the feed-forward layer."""
        x = x + self.post_self_attn_layernorm(self.self_attn(self.input_layernorm(x), angles, mask, cache))
        return x + self.post_mlp_layernorm(self.mlp(self.post_attention_layernorm(x)))


class Glm4Sandwich(CausalLM):
    """GLM-4-9B-0414, GLM-4-32B-0414, GLM-Z1."""

    CONFIG = Glm4Config0414

    def __init__(self, config: Glm4Config0414) -> None:
        super().__init__(config, config.rotation, [SandwichBlock(config) for _ in range(config.num_hidden_layers)])
