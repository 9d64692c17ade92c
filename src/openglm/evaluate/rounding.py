"""What a model loses when it is written with fewer bits: the same weights, rounded as the file has them, side by side.

The rounding is that of the ``gguf`` package, there and back, so this is what an engine loses by the file; what it loses
by computing otherwise (a cache in f16, products of integers) comes on top and is not seen here.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import gguf
import torch

from openglm.data.batches import Batch
from openglm.export.llama import Precision, kind_of


@dataclass(frozen=True, kw_only=True)
class Loss:
    """Of one precision, over the targets of some batches."""

    precision: str
    nats: float
    """More than the whole model needs for a token, on average."""
    agreement: float
    """Share of tokens where both have the same favourite."""
    difference: float
    """Of the log probability of the target, on average, without its sign."""


def rounded(model: Any, precision: Precision) -> Any:
    """A copy whose weights are what a file of this precision gives back."""
    small = copy.deepcopy(model)
    with torch.no_grad():
        for name, weight in small.named_parameters():
            data = weight.float().numpy()
            kind = kind_of(name, data, precision)
            if kind != gguf.GGMLQuantizationType.F32:
                back = gguf.quants.dequantize(gguf.quants.quantize(data, kind), kind)
                weight.copy_(torch.from_numpy(back.reshape(data.shape).copy()))
    return small


@torch.no_grad()
def lost(model: Any, precision: Precision, batches: Iterable[Batch]) -> Loss:
    """Compare a model with its rounded self."""
    whole, small = model.eval(), rounded(model, precision).eval()
    count, nats, agreed, difference = 0, 0.0, 0, 0.0
    for batch in batches:
        at = batch.weights > 0
        mask = batch.mask()
        targets = batch.targets[at][:, None]
        states = (one.hidden(batch.tokens, batch.positions, mask)[at] for one in (whole, small))
        said = [one.logits(found).float().log_softmax(-1) for one, found in zip((whole, small), states, strict=True)]
        exact, rough = (found.gather(1, targets).squeeze(1) for found in said)
        count += len(targets)
        nats += float((exact - rough).sum())
        difference += float((exact - rough).abs().sum())
        agreed += int((said[0].argmax(-1) == said[1].argmax(-1)).sum())
    return Loss(precision=precision, nats=nats / count, agreement=agreed / count, difference=difference / count)
