"""A text and its spans, laid out as GLM reads them: part A (the text with its blanks), then part B (the spans).

    text  x1 x2 x3 x4 x5 x6        spans [x3], [x5 x6], shuffled
    A     x1 x2 [M] x4 [M]         B   <sop> x5 x6    <sop> x3
    first positions   1 2 3 4 5 | 5 5 5 | 3 3          where in A; a span has its blank's place
    second positions  0 0 0 0 0 | 1 2 3 | 1 2          where in its span
    targets                       x5 x6 <eop> x3 <eop>

(The paper counts first positions from 1, its code and this one from 0.) Pure numpy; it does not choose spans, and
`blanks.py` is its only caller.

Source: GLM, arXiv 2103.10360, figure 2; `make_block_data`, `make_masked_data` and `construct_blocks` of the official
code. Rows are equal to what it makes; a document's rest without second positions, where it fails, is what was meant.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from openglm.data.rows import Ints, Row
from openglm.data.spans import Span
from openglm.data.specials import Specials
from openglm.errors import Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How parts A and B are written. The defaults are the paper's; each other value is an arm of its ablation."""

    length_max: int = 512  # the most tokens of a text before it is blanked; first positions stay below it
    shuffle: bool = True  # part B's spans in random order, so that each learns from each
    two_d: bool = True  # off: second positions only tell A from B
    sentinels: bool = False  # T5's way: blanks are numbered, and part B has no place in the text
    bidirectional: bool = True  # off: part A is read from left to right too
    counts_on: bool = False  # GLM-130B's way: a document-level span's first positions count on from its blank
    random_position: bool = False  # first positions start anywhere, so that all of them are trained
    block_mask_prob: float = 0.0  # this share of part B's inputs becomes [dBLOCK]
    context_mask_ratio: float = 0.0  # so many [dBLOCK] in part A, as a share of the text, next to blanks
    context_mask_range: int = 3  # how far from a blank those may be


def _separator(layout: Layout, context: int) -> int:
    """How many first tokens everybody sees."""
    return context if layout.bidirectional else 0


def _first_positions(length: int, spans: list[Span], layout: Layout, rng: np.random.Generator) -> Ints:
    """[length]: for each token of the text its place in part A; all tokens of a span share the place of its blank."""
    steps = np.ones(length, np.int64)
    for start, end in spans:
        steps[start + 1 : end] = 0
    places = np.cumsum(steps) - 1
    if layout.random_position and places[-1] < layout.length_max - 1:
        places = places + int(rng.integers(0, layout.length_max - places[-1]))
    return places


def infilled(
    text: Ints, spans: list[Span], mask: int, task: str, layout: Layout, specials: Specials, rng: np.random.Generator
) -> Row:
    """Parts A and B of a text whose `spans` are blanked by `mask`.

    Args:
        text: [n] token ids.
        spans: disjoint, in any order, one at least.
        mask: the token that stands for a blank (ignored where blanks are numbered).
        task: what the row is called in the log; only token-level rows get [dBLOCK].

    Raises:
        Refused: there are more blanks than numbered marks in the vocabulary.
    """
    if layout.sentinels and len(spans) > len(specials.sentinel_masks):
        raise Refused(
            f"sentinels: {len(spans)} blanks, and the tokenizer has {len(specials.sentinel_masks)} numbered masks",
            hint="Train it with more, or make texts shorter.",
        )
    places = _first_positions(len(text), spans, layout, rng)
    in_order = sorted(spans)
    told = [in_order[i] for i in rng.permutation(len(spans))] if layout.shuffle else in_order
    number = {span: i if layout.sentinels else 0 for i, span in enumerate(told)}

    a_tokens: list[Ints] = []
    a_places: list[Ints] = []
    blanks: list[int] = []  # where in part A
    last = 0
    for start, end in in_order:
        blank = specials.sentinel_masks[number[start, end]] if layout.sentinels else mask
        blanks.append(sum(len(part) for part in a_tokens) + start - last)
        a_tokens += [text[last:start], np.array([blank])]
        a_places += [places[last:start], places[start : start + 1]]
        last = end
    a_tokens.append(text[last:])
    a_places.append(places[last:])
    part_a = np.concatenate(a_tokens)
    context = len(part_a)

    b_tokens: list[Ints] = []
    b_targets: list[Ints] = []
    b_places: list[Ints] = []
    b_steps: list[Ints] = []
    for start, end in told:
        length = end - start + 1
        words = text[start:end].copy()
        if layout.block_mask_prob > 0 and task == "token":
            words[rng.random(len(words)) < layout.block_mask_prob] = _dblock(specials)
        sop = specials.sentinel_sops[number[start, end]] if layout.sentinels else specials.sop
        b_tokens += [np.array([sop]), words]
        b_targets += [text[start:end], np.array([specials.eop])]
        place = np.full(length, layout.length_max if layout.sentinels else places[start])
        b_places.append(place + np.arange(1, length + 1) if layout.counts_on and task == "document" else place)
        b_steps.append(np.arange(1, length + 1) if layout.two_d else np.ones(length, np.int64))

    noisy = part_a.copy()
    if layout.context_mask_ratio > 0 and task == "token":
        near = _beside(blanks, context, layout.context_mask_range)
        count = min(len(near), int(layout.context_mask_ratio * len(text)))
        noisy[rng.choice(near, count, replace=False)] = _dblock(specials)
    weights = np.concatenate([np.zeros(context), np.ones(sum(len(part) for part in b_tokens))]).astype(np.float32)
    return Row(
        tokens=np.concatenate([noisy, *b_tokens]).astype(np.int64),
        targets=np.concatenate([part_a, *b_targets]).astype(np.int64),
        positions=np.stack(
            [np.concatenate(a_places + b_places), np.concatenate([np.zeros(context, np.int64), *b_steps])]
        ).astype(np.int64),
        weights=weights,
        separator=_separator(layout, context),
        context=context,
        task=task,
    )


def continued(text: Ints, kept: int, mask: int, layout: Layout, specials: Specials) -> Row:
    """The first `kept` tokens, a blank, and the rest to be written; the text's own end is the last target."""
    source, rest = text[:kept], text[kept:]
    length = len(text) + 1
    places = np.arange(length) if layout.counts_on else np.minimum(np.arange(length), kept)
    steps = np.maximum(np.arange(length) - kept, 0)
    weights = np.zeros(length, np.float32)
    weights[kept + 1 :] = 1
    return Row(
        tokens=np.concatenate([source, [mask, specials.sop], rest[:-1]]).astype(np.int64),
        targets=np.concatenate([source, [mask], rest]).astype(np.int64),
        positions=np.stack([places, steps if layout.two_d else np.minimum(steps, 1)]).astype(np.int64),
        weights=weights,
        separator=_separator(layout, kept + 1),
        context=kept + 1,
        task="document",
    )


def masked(text: Ints, spans: list[Span], specials: Specials) -> Row:
    """BERT's objective, the paper's baseline: each token of a span becomes [MASK] and is predicted there, alone."""
    weights = np.zeros(len(text), np.float32)
    for start, end in spans:
        weights[start:end] = 1
    return Row(
        tokens=np.where(weights > 0, specials.mask, text).astype(np.int64),
        targets=text.astype(np.int64),
        positions=np.stack([np.arange(len(text)), np.zeros(len(text), np.int64)]),
        weights=weights,
        separator=len(text),
        context=len(text),
        task="token",
    )


def _beside(blanks: list[int], context: int, reach: int) -> list[int]:
    """The places of part A within `reach` of a blank that are none themselves."""
    taken = set(blanks)
    near = {place + step for place in blanks for step in range(-reach, reach + 1)}
    return sorted(place for place in near - taken if 0 <= place < context)


def _dblock(specials: Specials) -> int:
    if specials.dblock is None:
        raise Refused(
            "block_mask_prob, context_mask_ratio: the tokenizer has no [dBLOCK]",
            hint="Train it with the classic marks.",
        )
    return specials.dblock
