"""How well a model fills gaps in a text it has not seen: the share filled exactly, and how near the others come.

A question is a text of which some spans of characters are hidden; cuts fall between characters, so that a question is
the same for every vocabulary and every kind of model:

    classic models   the text with [MASK] for each span; blanks are written from left to right    models/infill.py
    causal models    one span: suffix and prefix behind their marks, then the middle              data/fim.py

Decoding is greedy. Exact shares of long spans are small whatever the model: a poet has more than one word for a thing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from openglm.bounds import MIDDLE_TOKENS_MAX, SPAN_MAX
from openglm.data import fim
from openglm.data.rows import Ints
from openglm.data.shards import Shards
from openglm.data.spans import Span, draw_lengths, length_weights, place
from openglm.data.tokenizer import Tokenizer
from openglm.errors import Refused
from openglm.models.classic import Classic
from openglm.models.infill import Marks, infill

ROWS = 64  # questions side by side
Tell = Callable[[int], None]  # questions that are done


@dataclass(frozen=True, slots=True)
class Question:
    """A text in pieces: ``shown[0] hidden[0] shown[1] …``; one more is shown than hidden, and may be empty."""

    shown: tuple[str, ...]
    hidden: tuple[str, ...]

    def laid(self, encode: fim.Encode) -> tuple[Ints, list[Span]]:
        """The whole text as tokens [n], each piece encoded by itself, and where the hidden ones are in it."""
        tokens: list[int] = encode(self.shown[0])
        spans = []
        for hidden, shown in zip(self.hidden, self.shown[1:], strict=True):
            start = len(tokens)
            tokens = tokens + encode(hidden)
            spans.append((start, len(tokens)))
            tokens = tokens + encode(shown)
        return np.array(tokens, np.int64), spans


@dataclass(frozen=True, slots=True, kw_only=True)
class Infilling:
    """What was found over ``blanks`` spans of ``characters`` hidden characters."""

    blanks: int
    characters: int
    exact: float
    """Share of blanks."""
    characters_right: float
    """Of the longer of what was hidden and what was filled in, the share that no edit touches (Levenshtein)."""


def questions(
    held_out: Shards,
    tokenizer: Tokenizer,
    *,
    count: int,
    tokens_max: int,
    ratio: float = 0.0,
    span_mean: float = 3.0,
    seed: int = 0,
) -> list[Question]:
    """At most ``count``, of as many documents.

    Args:
        held_out: the documents.
        tokenizer: theirs.
        count: how many.
        tokens_max: of a longer document a piece is taken.
        ratio: so much of the text is hidden, one span at least: 0 is one span a text.
        span_mean: characters, before those without any are left out (Poisson).
        seed: the same one, the same questions.

    Raises:
        Refused: no document is long enough.
    """
    rng = np.random.default_rng([seed, 3])
    weights = length_weights(span_mean, SPAN_MAX)
    found: list[Question] = []
    for number in rng.permutation(len(held_out)).tolist():
        if len(found) == count:
            break
        tokens = held_out.piece(number)[:-1]
        start = int(rng.integers(0, max(1, len(tokens) - tokens_max + 1)))
        text = tokenizer.decode(tokens[start : start + tokens_max].tolist())
        lengths = draw_lengths(len(text), ratio, weights, rng)
        if "�" not in text and 2 * sum(lengths) <= len(text):  # an edge may cut a character of several bytes
            found.append(cut(text, place(lengths, len(text), 0, rng)))
    if not found:
        raise Refused("held-out text: nothing can be hidden in it", hint="Give longer documents, or a smaller ratio.")
    return found


def cut(text: str, spans: Sequence[Span]) -> Question:
    """A text and the spans of its characters that are hidden, from left to right."""
    edges = [0, *(edge for span in spans for edge in span), len(text)]
    pieces = [text[start:end] for start, end in pairwise(edges)]
    return Question(tuple(pieces[0::2]), tuple(pieces[1::2]))


def fill_blanks(
    model: Classic,
    tokenizer: Tokenizer,
    asked: Sequence[Question],
    *,
    lengths_told: bool = False,
    bidirectional: bool = True,
    two_d: bool = True,
    tell: Tell = lambda _done: None,
) -> list[list[str]]:
    """What a classic model writes for each hidden piece; ``lengths_told`` says how many tokens each has."""
    marks = Marks.of(tokenizer.specials)
    found: list[list[str]] = []
    for first in range(0, len(asked), ROWS):
        part = asked[first : first + ROWS]
        lengths = [[len(tokenizer.encode(hidden)) for hidden in question.hidden] for question in part]
        free = SPAN_MAX if model.places is None else min(SPAN_MAX, model.places - 2)
        filled = infill(
            model,
            [_blanked(question, tokenizer) for question in part],
            marks,
            span_max=max(map(max, lengths)) if lengths_told else free,
            lengths=lengths if lengths_told else None,
            bidirectional=bidirectional,
            two_d=two_d,
        )
        found += [[tokenizer.decode(span, marks=False) for span in spans] for spans in filled]
        tell(len(found))
    return found


def fill_middles(
    model: Any, tokenizer: Tokenizer, asked: Sequence[Question], *, tell: Tell = lambda _done: None
) -> list[list[str]]:
    """What a causal model writes between prefix and suffix. Raises ``Refused`` for a text with several gaps."""
    found = []
    for question in asked:
        if len(question.hidden) != 1:
            raise Refused("ratio: a causal model fills one gap of a text", hint="Ask with ratio 0.")
        prefix, suffix = (tokenizer.encode(shown) for shown in question.shown)
        middle = _written(model, fim.ordered(prefix, [], suffix, tokenizer.specials), tokenizer.specials.eos)
        found.append([tokenizer.decode(middle, marks=False)])
        tell(len(found))
    return found


def score(asked: Sequence[Question], filled: Sequence[Sequence[str]]) -> Infilling:
    """Compare what was filled in with what was hidden."""
    pairs = [
        pair for question, mine in zip(asked, filled, strict=True) for pair in zip(question.hidden, mine, strict=True)
    ]
    edits = sum(distance(hidden, mine) for hidden, mine in pairs)
    return Infilling(
        blanks=len(pairs),
        characters=sum(len(hidden) for hidden, _ in pairs),
        exact=sum(hidden == mine for hidden, mine in pairs) / len(pairs),
        characters_right=1 - edits / sum(max(len(hidden), len(mine)) for hidden, mine in pairs),
    )


def distance(one: str, other: str) -> int:
    """How many characters are to be put in, taken out or changed to make one the other (Levenshtein 1966)."""
    above = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        line = [row]
        for column, theirs in enumerate(other, 1):
            line.append(min(above[column] + 1, line[-1] + 1, above[column - 1] + (letter != theirs)))
        above = line
    return above[-1]


def _blanked(question: Question, tokenizer: Tokenizer) -> list[int]:
    tokens = tokenizer.encode(question.shown[0])
    for shown in question.shown[1:]:
        tokens = [*tokens, tokenizer.specials.mask, *tokenizer.encode(shown)]
    return tokens


@torch.no_grad()
def _written(model: Any, prompt: list[int], eos: int) -> list[int]:
    """What a causal model goes on with, up to the end of the document."""
    cache = model.cache(batch=1, capacity=len(prompt) + MIDDLE_TOKENS_MAX)
    found: list[int] = []
    ahead = prompt
    while len(found) < MIDDLE_TOKENS_MAX:
        token = int(model.logits(model.hidden(torch.tensor([ahead]), cache=cache)[:, -1]).argmax())
        if token == eos:
            break
        found.append(token)
        ahead = [token]
    return found
