"""What attention has already computed: keys and values of earlier tokens, so that a new token costs one row.

Plain tensors, allocated once: ``[batch, heads, capacity, width]`` twice for each layer. What the two hold is the
layer's affair (multi-head latent attention keeps its two compressed forms there). It does not know which positions or
sequences its rows are. Models fill it, ``hidden(..., cache=)``; whoever decodes makes it and may rewind it.

``Cache`` has sequences that grow together. ``SideBySide`` has some that grow each at its own end and come and go.
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


class SideBySideLayer(LayerCache):
    """The rows of one layer, where the ends are the whole cache's affair."""

    def __init__(self, keys: Tensor, values: Tensor, ends: list[Tensor]) -> None:
        super().__init__(keys, values)
        self._ends = ends

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keep one token of each of the first B rows, at its row's end; give back these rows up to the furthest end.

        What a row has beyond its own end is of others that were there before: the mask must hide it.
        """
        (ends,) = self._ends
        rows = torch.arange(len(ends), device=ends.device)
        self.keys[rows, :, ends] = keys[:, :, 0]
        self.values[rows, :, ends] = values[:, :, 0]
        furthest = int(ends.max()) + 1
        return self.keys[: len(ends), :, :furthest], self.values[: len(ends), :, :furthest]


class SideBySide(Cache):
    """Rows of which each has an end of its own. Before ``hidden`` is called for one token of the first B rows, ``ends``
    says how many tokens each of them has; ``swap`` sees that they are the first B."""

    def __init__(
        self,
        shapes: list[CacheShape],
        *,
        batch: int,
        capacity: int,
        dtype: torch.dtype,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(shapes, batch=batch, capacity=capacity, dtype=dtype, device=device)
        self._ends: list[Tensor] = []
        self.layers = [SideBySideLayer(layer.keys, layer.values, self._ends) for layer in self.layers]

    def ends(self, ends: Tensor) -> None:
        """[B]: where the next token of each of the first B rows goes."""
        self._ends[:] = [ends]

    def put(self, row: int, cache: Cache) -> None:
        """Begin ``row`` with all that ``cache``, which has one sequence, keeps."""
        for mine, theirs in zip(self.layers, cache.layers, strict=True):
            mine.keys[row, :, : theirs.length] = theirs.keys[0, :, : theirs.length]
            mine.values[row, :, : theirs.length] = theirs.values[0, :, : theirs.length]

    def swap(self, one: int, other: int, length: int) -> None:
        """Change places of two rows, as far as either is filled (``length`` tokens)."""
        for layer in self.layers:
            for kept in (layer.keys, layer.values):
                kept[[one, other], :, :length] = kept[[other, one], :, :length]
