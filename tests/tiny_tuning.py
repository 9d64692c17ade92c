"""A base model of a few thousand parameters in the published layout, and examples that it learns in seconds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from openglm.checkpoint import folder
from openglm.data.tokenizer import Tokenizer, train_bpe
from openglm.models.registry import build

QUESTIONS = {"red": "apple", "green": "leaf", "blue": "sky", "white": "snow", "black": "coal", "yellow": "sun"}
TEXTS = [f"What is {colour}? {thing}\n" for colour, thing in QUESTIONS.items()] * 20


def tokenizer() -> Tokenizer:
    """Bytes, marks and a few words."""
    return train_bpe(TEXTS, 330)


def base(where: Path, seed: int = 1, **changed: Any) -> Path:
    """A GLM-4-0414 of two layers that knows nothing yet, or another model of such a size."""
    words = tokenizer()
    told = {
        "model_type": "glm4",
        "vocab_size": 336,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.5,
        "max_position_embeddings": 256,
        "attention_bias": False,
        "tie_word_embeddings": False,
    }
    model = build({**told, **changed})
    model.initialise(torch.Generator().manual_seed(seed))
    folder.save(model, where)
    words.save(where / "tokenizer.json")
    return where


#: What makes of ``base`` a GLM-4.5 with experts and a layer that predicts a token further.
PREDICTING = {
    "model_type": "glm4_moe",
    "moe_intermediate_size": 32,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "first_k_dense_replace": 1,
    "routed_scaling_factor": 1.5,
    "num_nextn_predict_layers": 1,
}


def chat(question: str, answer: str, **more: Any) -> dict[str, Any]:
    """One line for ``supervised``."""
    return {
        "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer, **more}],
    }


def pair(question: str, better: str, worse: str) -> dict[str, Any]:
    """One line for ``dpo``."""
    return {
        "input": {"messages": [{"role": "user", "content": question}]},
        "preferred_output": [{"role": "assistant", "content": better}],
        "non_preferred_output": [{"role": "assistant", "content": worse}],
    }


def chats(shift: int = 0) -> list[dict[str, Any]]:
    """What the model is to know by heart: the right thing, or the one so many places further."""
    things = list(QUESTIONS.values())
    shifted = things[shift:] + things[:shift]
    return [chat(f"What is {colour}?", thing) for colour, thing in zip(QUESTIONS, shifted, strict=True)]


def pairs() -> list[dict[str, Any]]:
    """The right thing rather than the next one."""
    things = list(QUESTIONS.values())
    rivals = zip(QUESTIONS.items(), [*things[1:], things[0]], strict=True)
    return [pair(f"What is {colour}?", better, worse) for (colour, better), worse in rivals]


def lines(path: Path, told: Sequence[Any]) -> Path:
    """Written, one a line."""
    path.write_text("".join(json.dumps(each) + "\n" for each in told))
    return path
