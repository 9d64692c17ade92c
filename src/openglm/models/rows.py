"""Rows of a classic model that are filled side by side and come and go: continuous batching.

    seats = rows.join(prompt, [choose])     read part A once, into a cache of its own
    rows.step(seats)                        one token for each; whoever is not named waits where it is
    rows.leave(seat)                        its place is free

Each step computes one token of every row that is named, in one product a matrix, whatever their lengths and however
long each has been there: a new one joins at the next step and waits for nobody's end (Orca, Yu et al., OSDI 2022). Part
A is read whole: it sees itself both ways, so that no part of it can be computed before the rest.

It does not know texts, tokenizers or who asks. One thread calls it, one call at a time; our own engine is its caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from openglm.errors import Refused
from openglm.models.classic import Classic
from openglm.models.infill import Choose, Marks, Row, begun, sampled
from openglm.parts.cache import SideBySide

#: Below this temperature the likeliest token is all that is left, and dividing by it leaves the range of fp32.
COLDEST = 1e-4


def use_threads(count: int) -> None:
    """How many threads torch computes a product with, in this whole process; 0 leaves it to torch."""
    if count:
        torch.set_num_threads(count)


def chooser(temperature: float, top_p: float, seed: int | None) -> Choose | None:
    """How a row chooses; None is the likeliest token. Without a seed chance is the system's.

    Raises:
        Refused: a number is out of range.
    """
    if 0 <= temperature < COLDEST or top_p == 0:
        return None
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed % 2**63)
    return sampled(temperature, top_p, generator)


@dataclass(slots=True, eq=False)
class Seat:
    """One row among others. ``tokens`` counts what the model chose for it, marks that end spans among them."""

    row: Row
    choose: Choose | None
    endless: bool
    place: int  # which row of the cache is its
    length: int  # tokens in it
    tokens: int = 0


class Rows:
    """Up to ``count`` rows of up to ``capacity`` tokens, parts A and B together."""

    def __init__(self, model: Classic, marks: Marks, *, count: int, capacity: int) -> None:
        """Make room for all of them.

        Raises:
            Refused: the model has fewer positions than ``capacity``.
        """
        if model.places is not None and capacity > model.places:
            raise Refused(
                f"capacity: {capacity} tokens, and the model has {model.places} positions", hint="Make it smaller."
            )
        weight = model.embedding.weight
        self._model = model
        self._marks = marks
        self._seats: list[Seat | None] = [None] * count
        self._cache = SideBySide(
            model.cache_shapes(), batch=count, capacity=capacity, dtype=weight.dtype, device=weight.device
        )
        self.capacity = capacity
        self._unsaid = torch.tensor([*marks.blanks, marks.sop], device=weight.device)
        self._stops = torch.tensor(sorted(marks.stops), device=weight.device)

    @property
    def free(self) -> int:
        """So many rows may join."""
        return self._seats.count(None)

    @torch.no_grad()
    def join(self, prompt: Sequence[int], chooses: Sequence[Choose | None], *, endless: bool = False) -> list[Seat]:
        """Read ``prompt`` once, and begin a row of it for each of ``chooses``.

        ``endless`` rows do not choose what ends a span. Raises ``Refused`` for a prompt that has no blank or leaves no
        room; whoever has no ``free`` row made a mistake.
        """
        assert len(chooses) <= self.free
        row = begun(self._model, prompt, self._marks)
        if row.done or len(prompt) >= self.capacity:
            raise Refused(
                f"prompt: {len(prompt)} tokens with {len(row.places)} blanks",
                hint=f"Put a [MASK] or [gMASK] where something is missing, in less than {self.capacity} tokens.",
            )
        device = self._unsaid.device
        place = torch.arange(len(prompt), device=device)
        read = self._model.cache(1, len(prompt))
        seen = torch.ones(1, 1, len(prompt), len(prompt), dtype=torch.bool, device=device)
        tokens = torch.tensor([list(prompt)], device=device)
        self._model.hidden(tokens, torch.stack([place, torch.zeros_like(place)])[None], seen, read)
        seats = []
        for choose in chooses:
            at = self._seats.index(None)
            seat = Seat(begun(self._model, prompt, self._marks), choose, endless, at, len(prompt))
            self._cache.put(at, read)
            self._seats[at] = seat
            seats.append(seat)
        return seats

    def leave(self, seat: Seat) -> None:
        """Give its place back."""
        assert self._seats[seat.place] is seat
        self._seats[seat.place] = None

    def clear(self) -> None:
        """All places are free, whoever had them."""
        self._seats = [None] * len(self._seats)

    @torch.no_grad()
    def step(self, seats: Sequence[Seat]) -> list[tuple[Seat, int, int | None]]:
        """One token for each of ``seats``, in any order: the seat, the number of the blank from left to right, and the
        token, or None where the span ended.

        A row that is done, or that is as long as ``capacity``, must not be named.
        """
        seats = self._first(seats)
        device = self._unsaid.device
        lengths = torch.tensor([seat.length for seat in seats], device=device)
        tokens = torch.tensor([[seat.row.token] for seat in seats], device=device)
        positions = torch.tensor([seat.row.position for seat in seats], device=device)[:, :, None]
        seen = torch.arange(int(lengths.max()) + 1, device=device) <= lengths[:, None]
        self._cache.ends(lengths)
        hidden = self._model.hidden(tokens, positions, seen[:, None, None, :], self._cache)
        logits = self._model.logits(hidden[:, -1]).float().index_fill(-1, self._unsaid, float("-inf"))
        told = []
        for seat, token in zip(seats, self._chosen(seats, logits), strict=True):
            seat.length += 1
            seat.tokens += 1
            blank = seat.row.numbers[0]
            told.append((seat, blank, token if seat.row.hear(token, self._marks, self.capacity) else None))
        return told

    def end_span(self, seat: Seat) -> None:
        """Go on to its next blank, as if the model had ended this one."""
        seat.row.end_span(self._marks)

    def _chosen(self, seats: Sequence[Seat], logits: Tensor) -> list[int]:
        for number, seat in enumerate(seats):
            if seat.endless:
                logits[number, self._stops] = float("-inf")
        chosen: list[int] = logits.argmax(-1).tolist()
        for number, seat in enumerate(seats):
            if seat.choose is not None:  # each with a generator of its own: others change nothing for it
                chosen[number] = int(seat.choose(logits[number : number + 1]))
        return chosen

    def _first(self, seats: Sequence[Seat]) -> list[Seat]:
        """Bring ``seats`` to the first places, so that their caches are one slice; returns them in that order."""
        wanted = set(seats)
        for seat in seats:
            if seat.place < len(wanted):
                continue
            goal = next(at for at in range(len(wanted)) if self._seats[at] not in wanted)
            other = self._seats[goal]
            self._cache.swap(goal, seat.place, max(seat.length, other.length if other else 0))
            self._seats[goal], self._seats[seat.place] = seat, other
            if other is not None:
                other.place = seat.place
            seat.place = goal
        return [seat for seat in self._seats[: len(wanted)] if seat is not None]
