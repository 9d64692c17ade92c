"""What attention has already computed: keys and values of earlier tokens, so that a new token costs one row.

Plain tensors, allocated once: ``[batch, heads, capacity, width]`` twice for each layer. What the two hold is the
layer's affair (multi-head latent attention keeps its two compressed forms there). It does not know which positions or
sequences its rows are. Models fill it, ``hidden(..., cache=)``; whoever decodes makes it and may rewind it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from openglm.errors import Refused


@dataclass(frozen=True)
class CacheShape:
    """What one layer keeps of a token: ``heads`` rows of ``key`` and of ``value`` numbers."""

    heads: int
    key: int
    value: int


class LayerCache:
    """The rows of one layer. ``keys`` and ``values`` are ``[B, heads, capacity, width]``; ``length`` are filled."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self.keys = keys
        self.values = values
        self.length = 0

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keep ``[B, heads, T, width]`` and give back all that is kept, ``[B, heads, length, width]``."""
        end = self.length + keys.shape[2]
        if end > self.keys.shape[2]:
            raise Refused(
                f"the cache holds {self.keys.shape[2]} tokens, and {end} are asked of it",
                hint="Make it larger: model.cache(batch, capacity).",
            )
        self.keys[:, :, self.length : end] = keys
        self.values[:, :, self.length : end] = values
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]


class Cache:
    """One ``LayerCache`` for each layer, in order."""

    def __init__(
        self,
        shapes: list[CacheShape],
        *,
        batch: int,
        capacity: int,
        dtype: torch.dtype,
        device: torch.device | str = "cpu",
    ) -> None:
        def room(heads: int, width: int) -> Tensor:
            return torch.zeros(batch, heads, capacity, width, dtype=dtype, device=device)

        self.layers = [LayerCache(room(s.heads, s.key), room(s.heads, s.value)) for s in shapes]

    @property
    def length(self) -> int:
        """Tokens kept, as the first layer has them."""
        return self.layers[0].length

    def rewind(self, length: int) -> None:
        """Forget what came after the first ``length`` tokens: a draft that was not accepted."""
        for layer in self.layers:
            layer.length = min(layer.length, length)
