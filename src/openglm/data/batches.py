"""Batches of tensors: batch k of a seed is always the same one, whatever came before and however many ranks there are.

    epoch    every document, in an order drawn for this epoch, laid end to end and cut into rows of `length`
    batch k  rows k·B·W … (k+1)·B·W - 1 of that endless line; rank r of W takes every W-th of them
    row i    its own generator, seeded by (seed, i): who has the row does not matter

So a run goes on after an interruption by asking for batch k + 1, nothing else has to be kept; and two ranks of four
rows see what one rank of eight sees. It knows no corpus and no model: tokens come from `shards.py`, what is done with a
row is the objective's affair.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Protocol

import numpy as np
import torch

from openglm.data import blanks, causal, fim
from openglm.data.blanks import Blanks
from openglm.data.fim import Decode, Encode, Middles
from openglm.data.rows import Ints, Row
from openglm.data.shards import Shards
from openglm.data.specials import Specials
from openglm.errors import Refused
from openglm.parts.masks import prefix_mask


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """B sequences, padded at their ends to the longest (T). Padding has weight 0 and is seen by nobody that counts."""

    tokens: torch.Tensor  # [B, T] int64
    targets: torch.Tensor  # [B, T] int64, aligned with tokens: no further shift
    positions: torch.Tensor  # [B, 2, T] int64 for blanks, [B, T] for the causal objectives
    weights: torch.Tensor  # [B, T] float32: what each target counts
    separators: torch.Tensor  # [B] int64: so many first tokens are seen by all; 0 is plain causal attention
    task: str  # the rows' common task, for the log

    def mask(self) -> torch.Tensor | None:
        """[B, 1, T, T] of bool, true where a query sees a key; None is plain causal, which kernels do faster."""
        return prefix_mask(self.separators, self.tokens.shape[1]) if self.separators.any() else None

    def count(self) -> torch.Tensor:
        """[]: what the sum of its loss is divided by."""
        return self.weights.sum()

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        moved = {f.name: getattr(self, f.name).to(device) for f in fields(self) if f.name != "task"}
        return replace(self, **moved)


def stacked(rows: list[Row], pad: int, multiple: int = 1) -> Batch:
    """Rows side by side, padded to the longest, rounded up to a multiple (few shapes: what compilers like)."""
    longest = -(-max(len(row.tokens) for row in rows) // multiple) * multiple

    def laid(name: str, fill: float = 0) -> torch.Tensor:
        parts = [getattr(row, name) for row in rows]
        whole = np.full((len(rows), *parts[0].shape[:-1], longest), fill, parts[0].dtype)
        for i, part in enumerate(parts):
            whole[i, ..., : part.shape[-1]] = part
        return torch.from_numpy(whole)

    return Batch(
        tokens=laid("tokens", pad),
        targets=laid("targets", pad),
        positions=laid("positions"),
        weights=laid("weights"),
        separators=torch.tensor([row.separator for row in rows]),
        task=rows[0].task,
    )


class Objective(Protocol):
    """What is done with the texts of a batch."""

    @property
    def overlap(self) -> int:
        """So many tokens of the next row are read too: 1 where the last token's target lies there."""

    def rows(self, text: Ints, of_batch: np.random.Generator, of_row: np.random.Generator) -> list[Row]:
        """The rows of one text. `of_batch` is a fresh generator that says the same to every row of a batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlankInfilling:
    """GLM's objective; see `blanks.py`."""

    specials: Specials
    ends: np.ndarray  # [vocabulary] of bool: tokens with the end of a sentence
    config: Blanks = field(default_factory=Blanks)
    overlap: int = 0

    def rows(self, text: Ints, of_batch: np.random.Generator, of_row: np.random.Generator) -> list[Row]:
        """One row, or several where a batch is of shortened texts."""
        plan = blanks.planned(self.config, len(text), len(text), of_batch)
        return blanks.rows(text, plan, self.config, self.specials, self.ends, of_row)


@dataclass(frozen=True, slots=True, kw_only=True)
class Causal:
    """Each token predicts the next; see `causal.py`."""

    overlap: int = 1

    def rows(self, text: Ints, of_batch: np.random.Generator, of_row: np.random.Generator) -> list[Row]:
        """One row."""
        return [causal.shifted(text)]


@dataclass(frozen=True, slots=True, kw_only=True)
class FillInTheMiddle:
    """Causal, with the middle of some documents moved to their end; see `fim.py`."""

    specials: Specials
    encode: Encode
    decode: Decode
    config: Middles = field(default_factory=Middles)
    overlap: int = 1

    def rows(self, text: Ints, of_batch: np.random.Generator, of_row: np.random.Generator) -> list[Row]:
        """One row, a few tokens longer than the text: each document in it is rearranged by itself."""
        cuts = np.flatnonzero(text == self.specials.eos) + 1
        moved = [
            fim.rearranged(document, self.config, self.specials, of_row, self.encode, self.decode)
            for document in np.split(text, cuts)
            if len(document)
        ]
        return [causal.shifted(np.concatenate(moved), "fim")]


class Batches:
    """The endless sequence of batches that one rank sees."""

    def __init__(
        self,
        shards: Shards,
        objective: Objective,
        *,
        length: int,
        rows: int,
        seed: int,
        pad: int,
        rank: int = 0,
        world: int = 1,
        multiple: int = 1,
    ) -> None:
        """Args say what a batch is made of.

        Args:
            shards: the tokens.
            objective: what is done with them.
            length: tokens of text in a row, before the objective adds its marks.
            rows: texts in a batch of this rank (B).
            seed: another one, another order and other blanks.
            pad: fills up shorter rows.
            rank: which of `world` processes this is.
            world: how many there are.
            multiple: T is rounded up to a multiple of this.

        Raises:
            Refused: the corpus is shorter than one batch, or a number makes no sense.
        """
        if not (length > 2 and rows > 0 and 0 <= rank < world):
            raise Refused(
                f"length={length}, rows={rows}, rank={rank} of world={world}",
                hint="Give a length above 2, rows above 0, and a rank below world.",
            )

        self.rows_per_epoch = (shards.tokens - objective.overlap) // length
        if self.rows_per_epoch < rows * world:
            raise Refused(
                f"length, rows: a batch has {rows * world} × {length} tokens, the corpus only {shards.tokens}",
                hint="Make the batch smaller or the corpus larger.",
            )
        self.shards, self.objective, self.length, self.rows, self.seed = shards, objective, length, rows, seed
        self.pad, self.rank, self.world, self.multiple = pad, rank, world, multiple
        self._laid: tuple[int, Ints, Ints] | None = None
        self._mixed: tuple[int, Ints] | None = None

    def __getitem__(self, k: int) -> Batch:
        """Batch k, counted from 0: a pure function of k and of what the constructor was told."""
        first = k * self.rows * self.world + self.rank
        rows: list[Row] = []
        for i in range(first, first + self.rows * self.world, self.world):
            rows += self.objective.rows(
                self.text(self._drawn(i)),
                np.random.default_rng([self.seed, 1, k]),
                np.random.default_rng([self.seed, 2, i]),
            )
        return stacked(rows, self.pad, self.multiple)

    def starting(self, k: int = 0) -> Iterator[Batch]:
        """Batches k, k + 1, …"""
        while True:
            yield self[k]
            k += 1

    def _drawn(self, i: int) -> int:
        """Which row of the line is read as the i-th. A long document has many rows, and they come far from each other:
        a model that reads a module of 50,000 tokens in one go forgets all else meanwhile."""
        epoch, within = divmod(i, self.rows_per_epoch)
        if self._mixed is None or self._mixed[0] != epoch:
            self._mixed = epoch, np.random.default_rng([self.seed, 3, epoch]).permutation(self.rows_per_epoch)
        return epoch * self.rows_per_epoch + int(self._mixed[1][within])

    def text(self, i: int) -> Ints:
        """Row i of the endless line of documents: [length + overlap] tokens."""
        epoch, within = divmod(i, self.rows_per_epoch)
        order, ends = self._line(epoch)
        start = within * self.length
        stop = start + self.length + self.objective.overlap
        place = int(np.searchsorted(ends, start, side="right"))
        pieces = []
        while start < stop:
            document, end = int(order[place]), int(ends[place])
            offset = end - int(self.shards.lengths[document])
            pieces.append(self.shards.piece(document, start - offset, min(stop, end) - offset))
            start, place = end, place + 1
        return np.concatenate(pieces)

    def _line(self, epoch: int) -> tuple[Ints, Ints]:
        """The epoch's order of documents, and where each ends in the line. The last one asked for is kept."""
        if self._laid is None or self._laid[0] != epoch:
            order = np.random.default_rng([self.seed, 0, epoch]).permutation(len(self.shards))
            self._laid = (epoch, order, np.cumsum(self.shards.lengths[order]))
        return self._laid[1], self._laid[2]
