"""Filling in the middle, the causal way: a document is cut in three, and its middle is moved to the end.

    psm    <|code_prefix|> prefix <|code_suffix|> suffix <|code_middle|> middle
    spm    <|code_suffix|> suffix <|code_prefix|> prefix <|code_middle|> middle      CodeGeeX4's and GLM-4.5's order

Pure numpy. It knows a tokenizer only as two functions, and `batches.py` is its caller. Cuts fall between characters,
not between tokens: whoever asks for a completion stands in the middle of a word as often as not, and a model that was
only trained at the seams of tokens writes badly there.

Source: Bavarian et al., arXiv 2207.14255 (rate, PSM and SPM, cuts at characters); the infilling guide of CodeGeeX4 for
the marks and their order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from openglm.data.rows import Ints
from openglm.data.specials import Specials
from openglm.errors import Refused

Encode = Callable[[str], list[int]]
Decode = Callable[[list[int]], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Middles:
    """How often a document is rearranged, and which way."""

    fim_rate: float = 0.5  # the share of documents that are; the others stay as they are
    spm_rate: float = 1.0  # the share of those with the suffix first; 1.0 is GLM's order alone

    def __post_init__(self) -> None:
        """Refuse what is no share.

        Raises:
            Refused: a share outside 0..1.
        """
        for name in ("fim_rate", "spm_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise Refused(f"{name}: {getattr(self, name)} is no share", hint="Give a number from 0 to 1.")


def ordered(
    prefix: list[int], middle: list[int], suffix: list[int], specials: Specials, *, spm: bool = True
) -> list[int]:
    """The three parts behind their marks. With an empty `middle` it is the prompt of a completion.

    Raises:
        Refused: the vocabulary has no such marks.
    """
    before, between, after = specials.code_prefix, specials.code_middle, specials.code_suffix
    if before is None or between is None or after is None:
        raise Refused(
            "fim: the tokenizer has no <|code_prefix|> and its kind", hint="Train it with the published marks."
        )
    if spm:
        return [after, *suffix, before, *prefix, between, *middle]
    return [before, *prefix, after, *suffix, between, *middle]


def rearranged(
    document: Ints, config: Middles, specials: Specials, rng: np.random.Generator, encode: Encode, decode: Decode
) -> Ints:
    """A document (or the piece of one that fits a row), rearranged or not, as chance has it.

    An end of document stays at the end, so that the model learns where a middle is over. The result is three marks
    longer, and by however many tokens more its text has when it is cut elsewhere.
    """
    if rng.random() >= config.fim_rate:
        return document
    tokens = document.tolist()
    ended = bool(tokens) and tokens[-1] == specials.eos
    text = decode(tokens[:-1] if ended else tokens)
    if not text or "�" in text:  # a row's edge may cut a character of several bytes: its halves are no text
        return document
    first, second = sorted(rng.integers(0, len(text) + 1, 2).tolist())
    spm = bool(rng.random() < config.spm_rate)
    prefix, middle, suffix = encode(text[:first]), encode(text[first:second]), encode(text[second:])
    return np.array(ordered(prefix, middle, suffix, specials, spm=spm) + [specials.eos] * ended, np.int64)
