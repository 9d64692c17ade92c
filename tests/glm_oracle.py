"""Tiny random GLMs in transformers' own classes, to hold ours against; and what both are asked.

Weights are large enough for every part to matter: norms are not 1, biases not 0, and the routers' bias changes who is
chosen.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from torch.nn import functional

from openglm.models.decoder import Decoder

SIZES: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "pad_token_id": 0,
}
DENSE = SIZES | {"head_dim": 16}
EXPERTS = {
    "moe_intermediate_size": 24,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "routed_scaling_factor": 2.5,
    "num_nextn_predict_layers": 0,
}
MOE = DENSE | EXPERTS | {"first_k_dense_replace": 1, "attention_bias": True, "use_qk_norm": True}
LITE = (
    SIZES
    | EXPERTS
    | {"num_key_value_heads": 4, "q_lora_rank": 20, "kv_lora_rank": 16}
    | {"qk_nope_head_dim": 12, "qk_rope_head_dim": 8, "v_head_dim": 20}
)
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


def randomise(model: torch.nn.Module) -> None:
    """Every weight and bias at random, from torch's own seed."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.15)
            else:
                parameter.normal_(1.0 if "norm" in name else 0.0, 0.2)
        for name, buffer in model.named_buffers():
            if name.endswith("e_score_correction_bias"):
                buffer.normal_(0.0, 0.3)


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


def again(model: Any, folder: Path) -> Any:
    """What transformers reads from ``folder``, by the class of ``model``; nothing may be missing or left over."""
    found, report = type(model).from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"], report
    assert not report["unexpected_keys"], report
    assert not report["mismatched_keys"], report
    return found.eval()


def some_tokens(rows: int = 2, length: int = 13) -> Tensor:
    """Tokens of a tiny vocabulary."""
    return torch.randint(1, 96, (rows, length))


def loss(logits: Tensor, tokens: Tensor) -> Tensor:
    """Next-token cross-entropy."""
    return functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


def far(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference."""
    return float((ours - theirs).detach().abs().max())


def decoded(model: Decoder, tokens: Tensor, cuts: list[int]) -> Tensor:
    """Logits of ``tokens`` computed with a cache, in pieces that end at ``cuts``."""
    cache = model.cache(batch=tokens.shape[0], capacity=tokens.shape[1])
    pieces = zip([0, *cuts], [*cuts, tokens.shape[1]], strict=True)
    return torch.cat([model.logits(model.hidden(tokens[:, a:b], cache=cache)) for a, b in pieces], dim=1)
