"""Small real models and data for tests of training: they learn in seconds, and are built as the large ones are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from openglm.data.batches import Batch, stacked
from openglm.data.causal import shifted
from openglm.models.glm4 import Glm4, Glm4Config
from openglm.models.glm4_moe import Glm4Moe, Glm4MoeConfig
from openglm.models.glm4_moe_lite import Glm4MoeLite, Glm4MoeLiteConfig

VOCABULARY = 61


def dense(seed: int = 1, **changed: Any) -> Glm4:
    """A GLM-4 of two layers."""
    config = Glm4Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        rms_norm_eps=1e-5,
        attention_bias=True,
    )
    model = Glm4(replace(config, **changed))
    model.initialise(torch.Generator().manual_seed(seed))
    return model


def sparse(seed: int = 1) -> Glm4Moe:
    """A GLM-4.5 of two layers, one of them of experts, and one that predicts a token further."""
    config = Glm4MoeConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        moe_intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        rms_norm_eps=1e-5,
        attention_bias=True,
        use_qk_norm=True,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_shared_experts=1,
        n_group=1,
        topk_group=1,
        first_k_dense_replace=1,
        norm_topk_prob=True,
        routed_scaling_factor=1.5,
        num_nextn_predict_layers=1,
    )
    model = Glm4Moe(config)
    model.initialise(torch.Generator().manual_seed(seed))
    return model


def latent(seed: int = 1) -> Glm4MoeLite:
    """A GLM-4.7-Flash of the same depths."""
    dropped = ("head_dim", "use_qk_norm", "attention_bias", "partial_rotary_factor", "decoder_sparse_step")
    told = {name: value for name, value in sparse().config.to_json().items() if name not in dropped}
    sizes = {"q_lora_rank": 24, "kv_lora_rank": 32, "qk_nope_head_dim": 12, "qk_rope_head_dim": 8, "v_head_dim": 20}
    model = Glm4MoeLite(Glm4MoeLiteConfig.from_json({**told, **sizes, "model_type": "glm4_moe_lite"}))
    model.initialise(torch.Generator().manual_seed(seed))
    return model


class Counting:
    """Batches of arithmetic sequences: easy to learn, and another one for each number."""

    def __init__(self, rows: int = 4, length: int = 12, rank: int = 0, world: int = 1, ragged: int = 3) -> None:
        self.rows, self.length, self.rank, self.world, self.ragged = rows, length, rank, world, ragged

    def __getitem__(self, number: int) -> Batch:
        """Rows ``rank``, ``rank + world``, … of batch ``number``."""
        first = number * self.rows * self.world + self.rank
        rows = []
        for row in range(first, first + self.rows * self.world, self.world):
            start, step = np.random.default_rng([7, row]).integers(1, 20, 2)
            rows.append(shifted((start + step * np.arange(self.length + 1 + row % self.ragged)) % VOCABULARY))
        return stacked(rows, pad=0)


class Same:
    """One batch for ever."""

    def __init__(self, source: Counting) -> None:
        self.batch = source[0]

    def __getitem__(self, number: int) -> Batch:
        """The one."""
        return self.batch
