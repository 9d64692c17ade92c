"""How large a model is, by the kinds of parameters that published figures count or leave out.

It reads names and shapes, so that a model on the meta device, which has no memory, will do. The published sizes are in
``published.toml``.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from openglm.models.decoder import Decoder
from openglm.parts.experts import MixtureOfExperts

#: What prediction layers may have of their own (``glm4_moe.py``).
EMBEDDINGS = ("embed_tokens.weight", "shared_head.head.weight")


@dataclass(frozen=True)
class Size:
    """Numbers of parameters; buffers (the router's bias) are not among them."""

    total: int
    """All."""
    prediction: int
    """Of them, in layers that predict further tokens, with the embeddings and heads these have of their own."""
    trunk_embedding: int
    """Of them, in the trunk's embedding and head, a tied head once."""
    prediction_embedding: int
    """Of them, in embeddings and heads of prediction layers."""
    idle: int
    """Of them, in experts of the trunk that a token does not go through."""

    @property
    def active(self) -> int:
        """What one token goes through in the trunk, embedding and head included."""
        return self.total - self.idle - self.prediction

    @property
    def reported(self) -> int:
        """As the GLM-4.5 report counts: with prediction layers, without embeddings and heads."""
        return self.total - self.trunk_embedding - self.prediction_embedding


def size_of(model: Decoder) -> Size:
    """The size of ``model``, on whatever device it is."""
    prefixes = tuple(model.config.prediction_prefixes())
    counts = {name: parameter.numel() for name, parameter in model.named_parameters()}
    ahead = {name: count for name, count in counts.items() if name.startswith(prefixes)}
    idle = 0
    for name, module in model.named_modules():
        if isinstance(module, MixtureOfExperts) and not name.startswith(prefixes):
            experts = sum(parameter.numel() for parameter in module.experts.parameters())
            chosen, among = module.gate.chosen, module.gate.weight.shape[0]
            idle += experts * (among - chosen) // among
    return Size(
        total=sum(counts.values()),
        prediction=sum(ahead.values()),
        trunk_embedding=sum(weight.numel() for weight in {model.embedding.weight, model.head.weight}),
        prediction_embedding=sum(count for name, count in ahead.items() if name.endswith(EMBEDDINGS)),
        idle=idle,
    )


@cache
def published_sizes() -> dict[str, Any]:
    """``published.toml``: by name the title, the source, the figures and config.json."""
    return tomllib.loads((Path(__file__).parent / "published.toml").read_text(encoding="utf-8"))
