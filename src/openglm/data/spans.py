"""Where a text is blanked: how long spans are, which fit into which document, and where they come to lie.

Pure numpy; all chance comes from the generator that is handed in. It does not know what is done with a span:
`blanks.py` asks here, `parts_ab.py` lays the result out.

Source: `ConstructBlockStrategy` of github.com/THUDM/GLM (`blocklm_utils.py`), whose laws are kept one by one. Two
things differ, both so that a batch has as many rows as it was given texts: the official code drops a sample in which
not all spans fit (here those that fit are kept), and takes no span of a sample under seven tokens (here one at least).
A third is a defect that is not kept: [CLS] of a later document in a pack is never part of a sentence.
"""

from __future__ import annotations

from math import exp, factorial

import numpy as np

from openglm.data.rows import Ints
from openglm.data.specials import Specials
from openglm.errors import Refused

Span = tuple[int, int]  # start and end (exclusive) in the text


def length_weights(mean: float, longest: int) -> np.ndarray:
    """How likely each length 1..`longest` is: Poisson(`mean`) without its zero, cut off and made to sum to 1."""
    weights = np.array([mean**n * exp(-mean) / factorial(n) for n in range(1, longest + 1)])
    return weights / weights.sum()


def draw_lengths(total: int, ratio: float, weights: np.ndarray, rng: np.random.Generator) -> list[int]:
    """Lengths until they cover `ratio` of `total` tokens, one at least."""
    wanted = max(1, int(ratio * total))
    lengths: list[int] = []
    while sum(lengths) < wanted:
        lengths.append(int(rng.choice(len(weights), p=weights)) + 1)
    return lengths


def place(lengths: list[int], room: int, offset: int, rng: np.random.Generator) -> list[Span]:
    """Spans of these lengths in `room` tokens from `offset` on, uniformly, one visible token at least between two.

    Each of the k gaps costs one token, so k sorted draws from what is left say how far each span is moved.
    """
    slack = room - sum(lengths) - (len(lengths) - 1)
    assert slack >= 0, "place: the spans do not fit"
    spans = []
    for moved, length in zip(sorted(rng.integers(0, slack + 1, len(lengths)).tolist()), lengths, strict=True):
        spans.append((offset + moved, offset + moved + length))
        offset += length + 1
    return spans


def documents(text: Ints, specials: Specials) -> list[tuple[int, int]]:
    """Offset and length of what may be blanked in each document of a packed sample.

    Neither [CLS] nor the end of a document may, nor the last token of one that the sample cuts off.
    """
    found = []
    start = 0
    for end in [*np.flatnonzero(text == specials.eos).tolist(), len(text)]:
        first = start + int(start < len(text) and int(text[start]) == specials.enc)
        length = end - first - int(end == len(text))
        if length > 0:
            found.append((first, length))
        start = end + 1
    return found


def fitted(text: Ints, lengths: list[int], ratio: float, specials: Specials, rng: np.random.Generator) -> list[Span]:
    """Spans of these lengths that cross no document's end. Short documents get their share first, the longest the rest.

    Raises:
        Refused: there is no token that may be blanked.
    """
    rooms = sorted(documents(text, specials), key=lambda room: room[1])
    if not rooms:
        raise Refused("text: nothing in it can be blanked", hint="Give at least two tokens that are not special.")
    waiting = rng.permutation(lengths).tolist()
    spans: list[Span] = []
    for offset, room in rooms[:-1]:
        mine: list[int] = []
        # Gaps between spans are tokens too; they matter for ratios above a half, which the official code has not.
        while waiting and sum(mine) + waiting[0] <= min(int(room * ratio), room - len(mine)):
            mine.append(waiting.pop(0))
        spans += place(mine, room, offset, rng)
    offset, room = rooms[-1]
    mine = []
    while waiting and sum(mine) + waiting[0] + len(mine) <= room:
        mine.append(waiting.pop(0))
    if not mine and not spans:
        mine = [min(waiting[0], room)]
    return spans + place(mine, room, offset, rng)


def sentences(text: Ints, ends: np.ndarray, specials: Specials) -> list[Span]:
    """The whole sentences of a sample. What has no end of its own before its document ends is none.

    Args:
        text: the sample's tokens.
        ends: [vocabulary] of bool: whether a token contains the end of a sentence.
        specials: for [CLS] and the end of a document.
    """
    found: list[Span] = []
    start = 0
    for i, token in enumerate(text.tolist()):
        if token == specials.eos or (i == start and token == specials.enc):
            start = i + 1
        elif ends[token]:
            found.append((start, i + 1))
            start = i + 1
    if start < len(text):
        found.append((start, len(text)))
    return found


def some_sentences(
    text: Ints, ends: np.ndarray, ratio: float, specials: Specials, rng: np.random.Generator
) -> list[Span]:
    """Sentences in random order until they cover `ratio` of the sample. They may be neighbours; no two overlap."""
    found = sentences(text, ends, specials)
    chosen: list[Span] = []
    for i in rng.permutation(len(found)).tolist():
        chosen.append(found[i])
        if sum(end - start for start, end in chosen) >= int(ratio * len(text)):
            break
    return chosen
