"""ChatGLM2-6B and ChatGLM3-6B (2023), and GLM-4-9B in its first layout: the first causal GLMs.

Sources: the remote code of THUDM/chatglm2-6b and chatglm3-6b (``modeling_chatglm.py``), whose names these are; vLLM,
model_executor/models/chatglm.py. transformers has no class of them. With them the line gave up blank infilling, the
bidirectional prefix and two-dimensional positions for a plain causal model with the constant prefix ``[gMASK]<sop>``.
The graph is GLM-4's (``glm4.py``), to the last operation; names and fields differ:

    query_key_value   queries of all heads, then keys, then values, in one matrix, with a bias
    dense_h_to_4h     gate above up in one matrix

``rotary_pos_emb.inv_freq`` is in the published files though nobody reads it; it is kept as it was found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from openglm.models.config import PublishedConfig
from openglm.models.decoder import Decoder
from openglm.parts.attention import attend, split_heads
from openglm.parts.cache import CacheShape, LayerCache
from openglm.parts.norm import RMSNorm
from openglm.parts.rotary import Angles, Rotation


@dataclass(frozen=True, kw_only=True)
class ChatGLM2Config(PublishedConfig):
    """Fields of config.json, by their names; those without a default must be there."""

    MODEL_TYPE = "chatglm"
    ARCHITECTURE = "ChatGLMModel"
    FIXED: ClassVar[Mapping[str, Any]] = {
        "add_bias_linear": False,
        "apply_residual_connection_post_layernorm": False,
        "attention_dropout": 0.0,
        "classifier_dropout": None,
        "fp32_residual_connection": False,
        "hidden_dropout": 0.0,
        "multi_query_attention": True,
        "original_rope": True,
        "post_layer_norm": True,
        "pre_seq_len": None,
        "prefix_projection": False,
        "quantization_bit": 0,
        "rmsnorm": True,
    }

    num_layers: int
    padded_vocab_size: int
    hidden_size: int
    ffn_hidden_size: int
    kv_channels: int
    num_attention_heads: int
    multi_query_group_num: int
    layernorm_epsilon: float
    seq_length: int
    add_qkv_bias: bool
    rope_ratio: float = 1.0
    tie_word_embeddings: bool = False

    @classmethod
    def translated(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Two sizes are said twice."""
        for repeated in ("vocab_size", "num_hidden_layers"):
            given.pop(repeated, None)
        return given

    def contradictions(self) -> Iterator[str]:
        """Key heads serve equal groups of query heads, and pairs turn."""
        heads, groups = self.num_attention_heads, self.multi_query_group_num
        if groups < 1 or heads % groups:
            yield f"num_attention_heads {heads} is no multiple of multi_query_group_num {groups}"
        if self.kv_channels % 4:
            yield f"half of kv_channels {self.kv_channels} is no number of pairs"

    def to_json(self) -> dict[str, Any]:
        """As everywhere, with the two sizes again under the names that other programs look for."""
        return super().to_json() | {"vocab_size": self.padded_vocab_size, "num_hidden_layers": self.num_layers}

    @property
    def rotation(self) -> Rotation:
        """Half of each head, interleaved."""
        return Rotation(self.kv_channels // 2, 10_000.0 * self.rope_ratio, "interleaved")


class Attention(nn.Module):
    """Grouped-query attention with one matrix for queries, keys and values. ``[B, T, D] -> [B, T, D]``."""

    def __init__(self, config: ChatGLM2Config) -> None:
        super().__init__()
        c = config
        self.heads, self.kv_heads = c.num_attention_heads, c.multi_query_group_num
        self.widths = tuple(c.kv_channels * heads for heads in (self.heads, self.kv_heads, self.kv_heads))
        self.query_key_value = nn.Linear(c.hidden_size, sum(self.widths), bias=c.add_qkv_bias)
        self.dense = nn.Linear(self.widths[0], c.hidden_size, bias=False)

    def forward(self, x: Tensor, angles: Angles, mask: Tensor | None, cache: LayerCache | None) -> Tensor:
        """Attend."""
        queries, keys, values = self.query_key_value(x).split(self.widths, dim=-1)
        q, k = angles.rotate(split_heads(queries, self.heads)), angles.rotate(split_heads(keys, self.kv_heads))
        v = split_heads(values, self.kv_heads)
        if cache is not None:
            k, v = cache.append(k, v)
        return self.dense(attend(q, k, v, mask))


class FeedForward(nn.Module):
    """SwiGLU under its old names. ``[..., D] -> [..., D]``."""

    def __init__(self, config: ChatGLM2Config) -> None:
        super().__init__()
        self.dense_h_to_4h = nn.Linear(config.hidden_size, 2 * config.ffn_hidden_size, bias=False)
        self.dense_4h_to_h = nn.Linear(config.ffn_hidden_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``down(silu(gate x) * up x)``."""
        gate, up = self.dense_h_to_4h(x).chunk(2, dim=-1)
        return self.dense_4h_to_h(functional.silu(gate) * up)


class Block(nn.Module):
    """Pre-norm attention and feed-forward. ``[B, T, D] -> [B, T, D]``."""

    def __init__(self, config: ChatGLM2Config) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden_size, config.layernorm_epsilon)
        self.self_attention = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.layernorm_epsilon)
        self.mlp = FeedForward(config)

    def forward(self, x: Tensor, angles: Angles, mask: Tensor | None, cache: LayerCache | None) -> Tensor:
        """Attention, then the feed-forward layer, each beside the residual stream."""
        x = x + self.self_attention(self.input_layernorm(x), angles, mask, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class Transformer(nn.Module):
    """Names only: what is published under ``transformer.``."""

    def __init__(self, config: ChatGLM2Config) -> None:
        super().__init__()
        c = config
        words = nn.Embedding(c.padded_vocab_size, c.hidden_size)
        self.embedding = nn.ModuleDict({"word_embeddings": words})
        self.rotary_pos_emb = nn.Module()
        pair = torch.arange(0, c.rotation.width, 2, dtype=torch.float32)
        self.rotary_pos_emb.register_buffer("inv_freq", 1.0 / c.rotation.theta ** (pair / c.rotation.width))
        layers = nn.ModuleList(Block(c) for _ in range(c.num_layers))
        norm = RMSNorm(c.hidden_size, c.layernorm_epsilon)
        self.encoder = nn.ModuleDict({"layers": layers, "final_layernorm": norm})
        self.output_layer = nn.Linear(c.hidden_size, c.padded_vocab_size, bias=False)


class ChatGLM2(Decoder):
    """ChatGLM2-6B, ChatGLM3-6B, and GLM-4-9B as it was first published."""

    CONFIG = ChatGLM2Config

    def __init__(self, config: ChatGLM2Config) -> None:
        super().__init__(config, config.rotation, initial_std=0.02)
        self.transformer = Transformer(config)
        self.tie()

    @property
    def embedding(self) -> nn.Embedding:
        """``transformer.embedding.word_embeddings``."""
        words = self.transformer.embedding["word_embeddings"]
        assert isinstance(words, nn.Embedding)
        return words

    def blocks(self) -> Sequence[nn.Module]:
        """``transformer.encoder.layers``."""
        return self.transformer.encoder["layers"]

    @property
    def final_norm(self) -> nn.Module:
        """``transformer.encoder.final_layernorm``."""
        return self.transformer.encoder["final_layernorm"]

    @property
    def head(self) -> nn.Linear:
        """``transformer.output_layer``."""
        return self.transformer.output_layer

    def cache_shapes(self) -> list[CacheShape]:
        """Keys and values of the key-value heads."""
        c = self.config
        return [CacheShape(c.multi_query_group_num, c.kv_channels, c.kv_channels)] * c.num_layers
