"""Tiny sizes of the modern GLMs, weights in which every part matters, and what tests ask of a model.

Norms are not 1, biases not 0, and the routers' bias changes who is chosen: a part that is left out is noticed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

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


def some_tokens(rows: int = 2, length: int = 13) -> Tensor:
    """Tokens of a tiny vocabulary."""
    return torch.randint(1, 96, (rows, length))


def far(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference."""
    return float((ours - theirs).detach().abs().max())


def decoded(model: Decoder, tokens: Tensor, cuts: list[int]) -> Tensor:
    """Logits of ``tokens`` computed with a cache, in pieces that end at ``cuts``."""
    cache = model.cache(batch=tokens.shape[0], capacity=tokens.shape[1])
    pieces = zip([0, *cuts], [*cuts, tokens.shape[1]], strict=True)
    return torch.cat([model.logits(model.hidden(tokens[:, a:b], cache=cache)) for a, b in pieces], dim=1)
