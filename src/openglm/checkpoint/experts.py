"""Experts on disk and in memory: one tensor each there, one stack for all of them here.

Published checkpoints have three matrices for each expert; a model computes with two stacks (``parts/experts.py``):

    …mlp.experts.0.gate_proj.weight   [F, D]  ┐
    …mlp.experts.0.up_proj.weight     [F, D]  ├ for each expert e  ↔  …mlp.experts.gate_up_proj  [E, 2F, D]
    …mlp.experts.1.gate_proj.weight   …       ┘                       [e, :F] = gate, [e, F:] = up
    …mlp.experts.0.down_proj.weight   [D, F]    for each expert e  ↔  …mlp.experts.down_proj     [E, D, F]

All other tensors have the same name and shape in both. This mapping is all that stands between a model's
``state_dict()`` and a published checkpoint; files are ``safetensors_folder.py``'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

GATE_UP, DOWN = ".mlp.experts.gate_up_proj", ".mlp.experts.down_proj"


@dataclass(frozen=True)
class Place:
    """Where a published tensor is in memory: a whole tensor, or ``[expert, rows]`` of a stack."""

    name: str
    expert: int | None = None
    rows: tuple[int | None, int | None] = (None, None)

    def of(self, stack: Tensor) -> Tensor:
        """The part of the tensor ``name`` that this is: a view."""
        return stack if self.expert is None else stack[self.expert, slice(*self.rows)]


def published(name: str, shape: tuple[int, ...]) -> Iterator[tuple[str, Place]]:
    """The published tensors that the tensor ``name`` of a model, of this shape, is made of, and their places in it."""
    if name.endswith(GATE_UP):
        stem, inner = name.removesuffix("gate_up_proj"), shape[1] // 2
        for expert in range(shape[0]):
            yield f"{stem}{expert}.gate_proj.weight", Place(name, expert, (0, inner))
            yield f"{stem}{expert}.up_proj.weight", Place(name, expert, (inner, None))
    elif name.endswith(DOWN):
        stem = name.removesuffix("down_proj")
        for expert in range(shape[0]):
            yield f"{stem}{expert}.down_proj.weight", Place(name, expert)
    else:
        yield name, Place(name)
