"""What the trainer asks of a model and of its data; every architecture and every objective keeps to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import Tensor, nn


class Batch(NamedTuple):
    """One micro-batch; the same for every objective. B rows of T tokens."""

    tokens: Tensor
    """[B, T] int64."""
    positions: Tensor | None
    """[B, 2, T] int64 for models with two-dimensional positions, [B, T] for one, None for 0 … T-1."""
    mask: Tensor | None
    """[B, 1, T, T] bool, true where a query (row) sees a key (column); None is plain causal."""
    targets: Tensor
    """[B, T] int64, already shifted: what position t is to say."""
    weights: Tensor
    """[B, T] float: 0 where nothing is asked."""


class Trainable(Protocol):
    """A model, as the trainer sees it."""

    def hidden(self, tokens: Tensor, positions: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """[B, T, D] after the last norm."""

    def logits(self, hidden: Tensor) -> Tensor:
        """[..., V] of [..., D]."""

    def mtp_hidden(self, hidden: Tensor, tokens: Tensor, positions: Tensor | None, mask: Tensor | None) -> Tensor:
        """[B, T, D] for the token after ``tokens``; models without such layers need not have it."""

    def blocks(self) -> Sequence[nn.Module]:
        """The layers, in order: what FSDP2 shards one by one."""


class Source(Protocol):
    """Batches, each a pure function of its number: a resumed run asks for the same ones."""

    def batch(self, number: int) -> Batch:
        """The micro-batch of this number."""
