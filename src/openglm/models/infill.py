"""Filling blanks with a classic model: part A is read once, then each span is written token by token from a cache.

A prompt is a text with marks where something is missing. Each blank is filled in turn, from left to right or in an
order that is asked for, and sees the whole text and what was filled before it, as in training: ``<sop>`` at the blank's
place begins a span, ``<eop>`` (or the end of a document) ends it. Several prompts go side by side, each at its pace.

It does not know tokenizers or servers. Evaluation and examples call it; who streams takes ``filling``, and who has
prompts that come and go takes ``rows.py``, for which a ``Row`` says how blanks follow each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from openglm.data.specials import Specials
from openglm.errors import Refused
from openglm.models.classic import Classic

Choose = Callable[[Tensor], Tensor]  # logits [B, V] in fp32 to tokens [B]


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """The ids that filling needs."""

    blanks: frozenset[int]  # what stands for something missing: [MASK], [sMASK], [gMASK]
    gmask: int
    sop: int
    stops: frozenset[int]  # what ends a span: <eop>, the end of a document

    @classmethod
    def of(cls, specials: Specials) -> Self:
        """Those of a vocabulary."""
        return cls(
            blanks=frozenset({specials.mask, specials.gmask, specials.smask}),
            gmask=specials.gmask,
            sop=specials.sop,
            stops=frozenset({specials.eop, specials.eos}),
        )


def greedy(logits: Tensor) -> Tensor:
    """The likeliest token of each row."""
    return logits.argmax(-1)


def sampled(temperature: float, top_p: float, generator: torch.Generator) -> Choose:
    """Draw from the likeliest tokens that together have ``top_p`` (Holtzman et al., arXiv 1904.09751).

    Raises:
        Refused: a number is out of range.
    """
    if not (temperature > 0 and 0 < top_p <= 1):
        raise Refused(
            f"temperature={temperature}, top_p={top_p}", hint="Give a temperature above 0 and a top_p above 0 up to 1."
        )

    def choose(logits: Tensor) -> Tensor:
        sorted_p, tokens = (logits / temperature).softmax(-1).sort(-1, descending=True)
        kept = sorted_p.masked_fill(sorted_p.cumsum(-1) - sorted_p >= top_p, 0.0)
        return tokens.gather(-1, torch.multinomial(kept, 1, generator=generator)).squeeze(-1)

    return choose


@dataclass(slots=True)
class Row:
    """Where one prompt stands: which blank, and what its span has. Fresh, it is at the first ``<sop>``."""

    places: list[int]  # the blanks still to fill, this one first, as places in the prompt
    numbers: list[int]  # the same, as numbers of blanks from left to right
    counts_on: list[bool]  # whether the first position moves along
    token: int  # the next input
    span: list[int] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether no blank is left."""
        return not self.places

    @property
    def position(self) -> tuple[int, int]:
        """Of the next input; anything once all is done."""
        if not self.places:
            return 0, 0
        step = len(self.span) + 1
        return self.places[0] + step * self.counts_on[0], step

    def hear(self, token: int, marks: Marks, span_max: int) -> bool:
        """Take what the model chose. True if it belongs to the span."""
        if token in marks.stops or len(self.span) == span_max:
            self.end_span(marks)
            return False
        self.token = token
        self.span.append(token)
        return True

    def end_span(self, marks: Marks) -> None:
        """Go on to the next blank."""
        self.places, self.numbers, self.counts_on = self.places[1:], self.numbers[1:], self.counts_on[1:]
        self.token, self.span = marks.sop, []


def infill(
    model: Classic,
    prompts: Sequence[Sequence[int]],
    marks: Marks,
    *,
    span_max: int,
    orders: Sequence[Sequence[int]] | None = None,
    choose: Choose = greedy,
    lengths: Sequence[Sequence[int]] | None = None,
    bidirectional: bool = True,
    two_d: bool = True,
) -> list[list[list[int]]]:
    """What fills each blank of each prompt, from left to right; see ``filling`` for arguments and errors."""
    filled: list[list[list[int]]] = [[[] for token in prompt if token in marks.blanks] for prompt in prompts]
    for row, blank, token in filling(
        model,
        prompts,
        marks,
        span_max=span_max,
        orders=orders,
        choose=choose,
        lengths=lengths,
        bidirectional=bidirectional,
        two_d=two_d,
    ):
        filled[row][blank].append(token)
    return filled


@torch.no_grad()
def filling(
    model: Classic,
    prompts: Sequence[Sequence[int]],
    marks: Marks,
    *,
    span_max: int,
    orders: Sequence[Sequence[int]] | None = None,
    choose: Choose = greedy,
    lengths: Sequence[Sequence[int]] | None = None,
    bidirectional: bool = True,
    two_d: bool = True,
) -> Iterator[tuple[int, int, int]]:
    """Each token as it is chosen: (prompt, blank from left to right, token). Whoever stops asking stops the work.

    Args:
        model: a classic model, in eval mode.
        prompts: texts with one blank at least; padding is seen to.
        marks: ids.
        span_max: the most tokens of a span; one that has so many is ended.
        orders: for each prompt the numbers of its blanks in the order in which they are filled.
        choose: from logits to tokens; marks of prompts are never among the candidates.
        lengths: for each prompt how many tokens each of its blanks has, from left to right; nothing else ends them.
        bidirectional: how the model was trained to see part A.
        two_d: whether second positions count the tokens of a span, or only tell it from part A.

    Raises:
        Refused: a prompt has no blank or is too long for the model, an order is none, or a length is out of range.
    """
    rows = [
        _row(model, list(prompt), marks, span_max, orders[i] if orders else None) for i, prompt in enumerate(prompts)
    ]
    for row, told in zip(rows, lengths or [], strict=lengths is not None):
        if len(told) != len(row.places) or not all(1 <= length <= span_max for length in told):
            raise Refused(
                f"lengths: {list(told)} for {len(row.places)} blanks",
                hint=f"Give one of 1 to {span_max} (span_max) for each blank.",
            )
    device = model.embedding.weight.device
    read = torch.tensor([len(prompt) for prompt in prompts], device=device)
    width = int(read.max())
    column = torch.arange(width, device=device)
    part_a = column < read[:, None]
    tokens = torch.full((len(rows), width), marks.sop, device=device)
    for i, prompt in enumerate(prompts):
        tokens[i, : len(prompt)] = torch.tensor(prompt, device=device)
    seen = part_a[:, None, None, :].expand(-1, 1, width, -1)
    if not bidirectional:
        seen = seen & (column <= column[:, None])
    steps = max(len(row.places) for row in rows) * (span_max + 1)
    cache = model.cache(len(rows), width + steps)
    places = torch.stack([column, torch.zeros_like(column)]).expand(len(rows), 2, width) * part_a[:, None]
    model.hidden(tokens, places, seen, cache)

    ends = [] if lengths is None else sorted(marks.stops)
    unsaid = torch.tensor([*marks.blanks, marks.sop, *ends], device=device)
    ahead = part_a[:, None, None, :]
    while not all(row.done for row in rows):
        ahead = torch.cat([ahead, ahead.new_ones(len(rows), 1, 1, 1)], dim=-1)
        tokens = torch.tensor([[row.token] for row in rows], device=device)
        positions = torch.tensor([row.position for row in rows], device=device)[:, :, None]
        if not two_d:
            positions[:, 1].clamp_(max=1)
        logits = model.logits(model.hidden(tokens, positions, ahead, cache)[:, -1]).float()
        chosen = choose(logits.index_fill(-1, unsaid, float("-inf"))).tolist()
        for i, (row, token) in enumerate(zip(rows, chosen, strict=True)):
            if not row.done:
                blank = row.numbers[0]
                if row.hear(token, marks, span_max if lengths is None else lengths[i][blank]):
                    yield i, blank, token


def _row(model: Classic, prompt: list[int], marks: Marks, span_max: int, order: Sequence[int] | None) -> Row:
    blanks = [place for place, token in enumerate(prompt) if token in marks.blanks]
    if not blanks:
        raise Refused("prompt: nothing is missing in it", hint="Put a [MASK] or [gMASK] where it is.")
    numbers = list(range(len(blanks)) if order is None else order)
    if sorted(numbers) != list(range(len(blanks))):
        raise Refused(
            f"order: {numbers} does not name each of {len(blanks)} blanks once",
            hint="Number them from 0, left to right.",
        )
    if span_max < 1 or (model.places is not None and max(len(prompt), span_max + 2) > model.places):
        raise Refused(
            f"prompt, span_max: {len(prompt)} tokens, and spans of {span_max}",
            hint=f"This model has {model.places} positions; a span has one token at least. Shorten one or the other.",
        )
    return begun(model, prompt, marks, numbers)


def begun(model: Classic, prompt: Sequence[int], marks: Marks, order: Sequence[int] | None = None) -> Row:
    """A prompt of which nothing is written yet. ``order`` names its blanks; without it they go from left to right."""
    blanks = [place for place, token in enumerate(prompt) if token in marks.blanks]
    numbers = list(range(len(blanks)) if order is None else order)
    places = [blanks[number] for number in numbers]
    counts_on = [model.COUNTS_ON and prompt[place] == marks.gmask for place in places]
    return Row(places, numbers, counts_on, marks.sop)
