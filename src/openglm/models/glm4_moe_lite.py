"""GLM-4.7-Flash (January 2026, ``Glm4MoeLiteForCausalLM``): GLM-4.5's experts with multi-head latent attention.

Sources: transformers, models/glm4_moe_lite; DeepSeek-V2, arXiv 2405.04434, section 2.1, for the attention. Keys and
values of all heads are made from one narrow vector, and only that is kept of a token, beside one small rotated key that
all heads share: 512 + 64 numbers a layer, where GLM-4.5 keeps 8 heads of 128 + 128.

    q          = q_b_proj(q_a_layernorm(q_a_proj(x)))                    each head: nope | rope
    c, k_rope  = kv_a_proj_with_mqa(x);  c = kv_a_layernorm(c)           kept
    k_nope, v  = kv_b_proj(c)                                            each head
    scores     = [q_nope, rotated q_rope] · [k_nope, rotated k_rope]

``v`` may be wider than a key. ``kv_b_proj`` could be multiplied into the projections around it when decoding; it is not
here, so that the file reads as the definition does. Everything else is ``glm4_moe.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from openglm.models.config import PublishedConfig
from openglm.models.glm4_moe import ExpertsConfig, Glm4Moe
from openglm.parts.attention import attend, split_heads
from openglm.parts.cache import CacheShape, LayerCache
from openglm.parts.norm import RMSNorm
from openglm.parts.rotary import Angles, Rotation

#: The norms inside attention do not take the model's epsilon: the published code builds them with this one.
LATENT_EPS = 1e-6


@dataclass(frozen=True, kw_only=True)
class Glm4MoeLiteConfig(ExpertsConfig):
    """Fields of config.json, by their names; those without a default must be there."""

    MODEL_TYPE = "glm4_moe_lite"
    ARCHITECTURE = "Glm4MoeLiteForCausalLM"
    FIXED: ClassVar[Mapping[str, Any]] = {
        "hidden_act": "silu",
        "attention_dropout": 0.0,
        "topk_method": "noaux_tc",
        # llama.cpp's converter takes softmax for granted without this one, and the file is silently wrong.
        "scoring_func": "sigmoid",
        "partial_rotary_factor": 1.0,
        "moe_layer_freq": 1,
    }

    q_lora_rank: int | None
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int
    #: "dense" or "sparse" for each layer of the trunk; older files say ``first_k_dense_replace`` instead.
    mlp_layer_types: tuple[str, ...]
    attention_bias: bool = False
    rope_interleave: bool = True

    @classmethod
    def translated(cls, given: dict[str, Any]) -> dict[str, Any]:
        """``first_k_dense_replace`` as the list that newer files have; sizes that follow from others are dropped."""
        layers, dense = given.get("num_hidden_layers", 0), given.pop("first_k_dense_replace", 1)
        types = given.get("mlp_layer_types") or ["dense"] * dense + ["sparse"] * (layers - dense)
        for derived in ("qk_head_dim", "head_dim"):
            given.pop(derived, None)
        return given | {"mlp_layer_types": tuple(types)}

    def contradictions(self) -> Iterator[str]:
        """Those of experts, and a kind for each layer."""
        yield from super().contradictions()
        if len(self.mlp_layer_types) != self.num_hidden_layers or set(self.mlp_layer_types) - {"dense", "sparse"}:
            yield f"mlp_layer_types is not dense or sparse for each of num_hidden_layers {self.num_hidden_layers}"
        if self.qk_rope_head_dim % 2:
            yield f"qk_rope_head_dim {self.qk_rope_head_dim} is no number of pairs"

    def to_json(self) -> dict[str, Any]:
        """As everywhere, with the number of dense layers for older readers where it says all."""
        dense = self.mlp_layer_types.count("dense")
        written = super().to_json() | {"mlp_layer_types": list(self.mlp_layer_types)}
        in_front = all(kind == "dense" for kind in self.mlp_layer_types[:dense])
        return written | ({"first_k_dense_replace": dense} if in_front else {})

    @property
    def rotation(self) -> Rotation:
        """All of the small part of each head that knows positions."""
        return Rotation(self.qk_rope_head_dim, self.rope_theta, "interleaved" if self.rope_interleave else "halves")

    def has_experts(self, layer: int) -> bool:
        """As the list says."""
        return self.mlp_layer_types[layer] == "sparse"


class LatentAttention(nn.Module):
    """Multi-head latent attention. ``[B, T, D] -> [B, T, D]``; latents are cached as keys, rotated keys as values."""

    def __init__(self, config: Glm4MoeLiteConfig) -> None:
        super().__init__()
        c = config
        self.heads, self.nope, self.value = c.num_attention_heads, c.qk_nope_head_dim, c.v_head_dim
        key = c.qk_nope_head_dim + c.qk_rope_head_dim
        if c.q_lora_rank is None:
            self.q_proj = nn.Linear(c.hidden_size, self.heads * key, bias=False)
        else:
            self.q_a_proj = nn.Linear(c.hidden_size, c.q_lora_rank, bias=c.attention_bias)
            self.q_a_layernorm = RMSNorm(c.q_lora_rank, LATENT_EPS)
            self.q_b_proj = nn.Linear(c.q_lora_rank, self.heads * key, bias=False)
        self.latent = c.kv_lora_rank
        self.kv_a_proj_with_mqa = nn.Linear(c.hidden_size, self.latent + c.qk_rope_head_dim, bias=c.attention_bias)
        self.kv_a_layernorm = RMSNorm(self.latent, LATENT_EPS)
        self.kv_b_proj = nn.Linear(self.latent, self.heads * (self.nope + self.value), bias=False)
        self.o_proj = nn.Linear(self.heads * self.value, c.hidden_size, bias=c.attention_bias)

    def forward(self, x: Tensor, angles: Angles, mask: Tensor | None = None, cache: LayerCache | None = None) -> Tensor:
        """Attend as the module's head says."""
        q = split_heads(self._queries(x), self.heads)
        q = torch.cat((q[..., : self.nope], angles.rotate(q[..., self.nope :])), dim=-1)
        compressed = self.kv_a_proj_with_mqa(x)[:, None]  # one head: [B, 1, T, latent + rope]
        latent = self.kv_a_layernorm(compressed[..., : self.latent])
        shared_key = angles.rotate(compressed[..., self.latent :])
        if cache is not None:
            latent, shared_key = cache.append(latent, shared_key)
        k_nope, v = split_heads(self.kv_b_proj(latent[:, 0]), self.heads).split((self.nope, self.value), dim=-1)
        k = torch.cat((k_nope, shared_key.expand(-1, self.heads, -1, -1)), dim=-1)
        return self.o_proj(attend(q, k, v, mask))

    def _queries(self, x: Tensor) -> Tensor:
        if hasattr(self, "q_proj"):
            return self.q_proj(x)
        return self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x)))


class Glm4MoeLite(Glm4Moe):
    """GLM-4.7-Flash."""

    CONFIG: ClassVar[type[PublishedConfig]] = Glm4MoeLiteConfig

    def attention(self, config: Any) -> nn.Module:
        """Latent attention."""
        return LatentAttention(config)

    def cache_shapes(self) -> list[CacheShape]:
        """One latent and one rotated key for all heads."""
        return [CacheShape(1, self.config.kv_lora_rank, self.config.qk_rope_head_dim)] * len(self.model.layers)
