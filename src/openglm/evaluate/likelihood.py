"""How likely a model finds texts that it has not seen: nats, perplexity and accuracy a token, bits a byte.

Bits a byte can be compared between vocabularies, the others only within one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from openglm.data.batches import Batch
from openglm.data.tokenizer import Tokenizer
from openglm.train.loss import loss_of


@dataclass(frozen=True, kw_only=True)
class Likelihood:
    """What was found over ``tokens`` targets, which are ``bytes`` bytes of text."""

    tokens: int
    bytes: int
    nats: float
    accuracy: float

    @property
    def perplexity(self) -> float:
        """Of a token."""
        return math.exp(self.nats)

    @property
    def bits_per_byte(self) -> float:
        """Of the text."""
        return self.nats * self.tokens / math.log(2) / self.bytes


@torch.no_grad()
def likelihood(model: Any, batches: Iterable[Batch], tokenizer: Tokenizer) -> Likelihood:
    """Over all targets of the batches that carry loss, in the precision of the model."""
    model.eval()
    tokens, size, nats, right = 0, 0, 0.0, 0.0
    for batch in batches:
        found = loss_of(model, batch)
        nats, right = nats + float(found.nats), right + float(found.right)
        targets = batch.targets[batch.weights > 0].tolist()
        tokens += len(targets)
        size += len(tokenizer.decode(targets, marks=False).encode())
    return Likelihood(tokens=tokens, bytes=max(1, size), nats=nats / tokens, accuracy=right / tokens)
