"""What the trainer asks of a model and of its data; ``models/`` and ``data/batches.py`` keep to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from openglm.data.batches import Batch


class Trainable(Protocol):
    """A model, as the trainer sees it: what every architecture of ``models/`` is."""

    def blocks(self) -> Sequence[nn.Module]:
        """The layers, in order: what FSDP2 shards one by one."""

    @property
    def head(self) -> nn.Linear:
        """Hidden states to the vocabulary."""

    def hidden(self, tokens: Tensor, positions: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """[B, T, D] after the last norm."""

    def logits(self, hidden: Tensor) -> Tensor:
        """[..., V] of [..., D]."""

    def mtp_hidden(self, hidden: Tensor, tokens: Tensor, positions: Tensor | None, mask: Tensor | None) -> Tensor:
        """[B, T, D] for the token after ``tokens``; models without such layers need not have it."""

    def mtp_logits(self, hidden: Tensor) -> Tensor:
        """[..., V] of what ``mtp_hidden`` gave."""


class Source(Protocol):
    """Batches of one rank, each a pure function of its number: a resumed run asks for the same ones."""

    def __getitem__(self, number: int) -> Batch:
        """The micro-batch of this number, counted from 0 without end."""
