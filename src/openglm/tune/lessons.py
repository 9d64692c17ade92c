"""Rows in the order in which a model learns them: batch k is always the same one, whatever came before.

    epoch    every row once (a pair counts as one), in an order drawn for this epoch
    step s   `batch` rows of that endless line, in micro-batches of as many as fit (`positions_max`)

So a run goes on by asking for the next number. The last step is filled up from an epoch that nobody asked for; what it
reads of that counts for nothing. It knows rows and no files; ``tuning.py`` hands it to ``train.loop.Run``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from openglm.bounds import POSITIONS_MAX
from openglm.data.batches import Batch, stacked
from openglm.data.rows import Row
from openglm.tune.preference import Pairs


@dataclass
class Lessons:
    """A source of ``train.loop.Run``: what is learned, how often, how many at a time, and in which order.

    ``units`` has one row each for ``supervised``, two for ``dpo``: the better answer and the worse. ``reference`` is
    what the model thought of them before it learned, [units, 2] nats; only pairs have one.
    """

    units: Sequence[tuple[Row, ...]]
    epochs: int
    batch: int
    seed: int
    pad: int
    reference: torch.Tensor | None = None

    def __post_init__(self) -> None:
        """Find how many rows go side by side: as many as divide the batch and have no more than ``POSITIONS_MAX``."""
        self.batch = min(self.batch, len(self.units))
        self.sizes = np.array([sum(len(row.tokens) + 1 for row in unit) for unit in self.units])
        room = max(1, POSITIONS_MAX // int(self.sizes.max()))
        self.side_by_side = max(n for n in range(1, self.batch + 1) if self.batch % n == 0 and n <= room)
        self._laid: tuple[int, np.ndarray] | None = None

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return -(-len(self.units) * self.epochs // self.batch)

    @property
    def micro_batches(self) -> int:
        """Of one step."""
        return self.batch // self.side_by_side

    @property
    def tokens(self) -> int:
        """Of all epochs: every token that is read, learned or not; a token in three epochs counts three times."""
        return int(self.sizes.sum()) * self.epochs

    def tokens_after(self, step: int) -> int:
        """How many of them are behind after so many steps."""
        epoch, within = divmod(min(step * self.batch, len(self.units) * self.epochs), len(self.units))
        return int(self.sizes.sum()) * epoch + (int(self.sizes[self._order(epoch)[:within]].sum()) if within else 0)

    def __getitem__(self, number: int) -> Batch:
        """The micro-batch of this number: a pure function of it and of what the lessons are."""
        first = number * self.side_by_side
        return self.stack([self._unit(place) for place in range(first, first + self.side_by_side)])

    def stack(self, units: Sequence[int]) -> Batch:
        """These units side by side, of pairs the better rows first."""
        rows = [row for answers in zip(*(self.units[unit] for unit in units), strict=True) for row in answers]
        batch = stacked(rows, self.pad)
        return batch if self.reference is None else Pairs.of(batch, self.reference[list(units)])

    def all_of(self) -> list[Batch]:
        """Every unit once, in the order of the file: to measure by."""
        starts = range(0, len(self.units), self.side_by_side)
        return [self.stack(range(start, min(start + self.side_by_side, len(self.units)))) for start in starts]

    def _unit(self, place: int) -> int:
        epoch, within = divmod(place, len(self.units))
        return int(self._order(epoch)[within])

    def _order(self, epoch: int) -> np.ndarray:
        if self._laid is None or self._laid[0] != epoch:
            self._laid = (epoch, np.random.default_rng([self.seed, epoch]).permutation(len(self.units)))
        return self._laid[1]


def units_of(rows: Sequence[Row], each: int) -> list[tuple[Row, ...]]:
    """Rows in groups of ``each``."""
    return [tuple(rows[at : at + each]) for at in range(0, len(rows), each)]
