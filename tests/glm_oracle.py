"""Tiny random GLMs in transformers' own classes, to hold ours against."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from torch.nn import functional

from glm_models import DENSE, LITE, MOE, randomise

TURN = {"rope_type": "default", "rope_theta": 500.0}

#: A name, transformers' class, and a configuration.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "GLM-4": ("Glm", DENSE),
    "GLM-4 with tied head, no bias, a key head for each query head, a quarter turning": (
        "Glm",
        DENSE
        | {"tie_word_embeddings": True, "attention_bias": False, "num_key_value_heads": 4}
        | {"rope_parameters": TURN | {"partial_rotary_factor": 0.25}},
    ),
    "GLM-4-0414": ("Glm4", DENSE),
    "GLM-4-0414 without bias, one key head": ("Glm4", DENSE | {"attention_bias": False, "num_key_value_heads": 1}),
    "GLM-4.5": ("Glm4Moe", MOE),
    "GLM-4.5-Air, which has no QK-norm": ("Glm4Moe", MOE | {"use_qk_norm": False, "routed_scaling_factor": 1.0}),
    "experts from the first layer, in groups, weights as they come, two shared": (
        "Glm4Moe",
        MOE
        | {"first_k_dense_replace": 0, "n_group": 4, "topk_group": 2, "norm_topk_prob": False}
        | {"n_shared_experts": 2, "attention_bias": False, "tie_word_embeddings": True},
    ),
    "GLM-4.7-Flash": ("Glm4MoeLite", LITE),
    "latent attention without latent queries, paired in halves, with biases": (
        "Glm4MoeLite",
        LITE
        | {"q_lora_rank": None, "rope_interleave": False, "attention_bias": True, "rope_parameters": TURN}
        | {"n_group": 2, "topk_group": 1, "mlp_layer_types": ["sparse", "dense", "sparse"]},
    ),
}


def oracle(case: str) -> Any:
    """A random model of transformers, in fp32."""
    name, fields = CASES[case]
    config = getattr(transformers, f"{name}Config")(**fields)
    model = getattr(transformers, f"{name}ForCausalLM")(config).float().eval()
    randomise(model)
    return model


def published(model: Any, folder: Path, **changes: Any) -> Path:
    """``folder`` with the model as transformers writes it, some fields of config.json changed."""
    model.save_pretrained(folder)
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return folder


def again(model: Any, folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """What transformers reads from ``folder``, by the class of ``model``; nothing may be missing or left over."""
    found, report = type(model).from_pretrained(folder, dtype=dtype, output_loading_info=True)
    assert not report["missing_keys"], report
    assert not report["unexpected_keys"], report
    assert not report["mismatched_keys"], report
    return found.eval()


def loss(logits: Tensor, tokens: Tensor) -> Tensor:
    """Next-token cross-entropy."""
    return functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
