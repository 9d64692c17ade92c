"""Autoregressive blank infilling, the objective of GLM: which task a batch has, and the rows that come of a text.

Every arm of the paper's ablation, and every switch of the official code, is a field of one frozen value (`Blanks`).
Pure numpy; all chance comes from the generators that are handed in, so that whoever seeds them (`batches.py`) gets the
same rows again. It does not know tokenizers: ids come in a `Specials`, ends of sentences as a table.

A batch has one task, so that its rows are of about one length:

    token      spans of about three tokens, 15 % of the text, each behind [MASK]
    sentence   whole sentences, 15 % of the text, each behind [sMASK]
    document   one long span behind [gMASK]: the rest of the text, or a part anywhere in it

Source: GLM, arXiv 2103.10360, section 2.1–2.2; github.com/THUDM/GLM, `blocklm_utils.py` and `arguments.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from openglm.bounds import SHORTENED_MIN, SPAN_MAX
from openglm.data.parts_ab import Layout, continued, infilled, masked
from openglm.data.rows import Ints, Row
from openglm.data.spans import draw_lengths, fitted, length_weights, some_sentences
from openglm.data.specials import Specials
from openglm.errors import Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Blanks:
    """What is blanked, and how often. The defaults are GLM-base's; `layout` says how a row is written.

    `bert_prob` and `sentence_prob` are the shares of token- and sentence-level batches; the rest is document-level.
    """

    bert_prob: float = 1.0
    sentence_prob: float = 0.0
    bert_ratio: float = 0.15
    sentence_ratio: float = 0.15
    span_mean: float = 3.0
    gpt_min_ratio: float = 0.5  # the least share of a text that a document-level span has
    gpt_infill_prob: float = 0.5  # how often that span is the end of the text; else it may be anywhere
    single_span_prob: float = 0.0  # batches with one short span a row
    short_seq_prob: float = 0.0  # batches whose texts are cut into shorter ones
    task_mask: bool = False  # [sMASK] and [gMASK] for their tasks; off: all are [MASK]
    masked_lm: bool = False  # BERT's objective in GLM's place
    layout: Layout = field(default_factory=Layout)

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            Refused: a share outside 0..1, or two arms that exclude each other.
        """
        shares = ("bert_prob", "sentence_prob", "bert_ratio", "sentence_ratio", "gpt_min_ratio", "gpt_infill_prob")
        for name in (*shares, "single_span_prob", "short_seq_prob"):
            if not 0 <= getattr(self, name) <= 1:
                raise Refused(f"{name}: {getattr(self, name)} is no share", hint="Give a number from 0 to 1.")
        if self.bert_prob + self.sentence_prob > 1 + 1e-9:
            raise Refused("bert_prob, sentence_prob: together more than 1", hint="What is left of 1 is document-level.")
        if self.masked_lm and (self.bert_prob < 1 or not self.layout.bidirectional):
            raise Refused("masked_lm: BERT's objective is token-level and sees both ways", hint="Leave bert_prob at 1.")
        if self.short_seq_prob and self.layout.length_max <= SHORTENED_MIN + 1:
            raise Refused(
                f"short_seq_prob: texts of {self.layout.length_max} cannot be cut",
                hint=f"Make layout.length_max more than {SHORTENED_MIN + 1}.",
            )


@dataclass(frozen=True, slots=True)
class Plan:
    """What one batch is drawn for: the same on every rank, so that all have work of one size."""

    task: str  # token, sentence or document
    single_span: bool = False
    generated: int = 0  # document-level: so many tokens of each text are to be written
    shortened: int | None = None  # cut each text into pieces of about so many tokens


def planned(config: Blanks, shortest: int, longest: int, rng: np.random.Generator) -> Plan:
    """Draw a batch's plan for texts of `shortest` to `longest` tokens."""
    shortened = None
    if rng.random() < config.short_seq_prob:
        shortened = int(rng.integers(SHORTENED_MIN, config.layout.length_max - 1))
        shortest, longest = min(shortest, shortened), min(longest, shortened)
    if rng.random() < config.single_span_prob:
        return Plan("token", single_span=True, shortened=shortened)
    drawn = rng.random()
    if drawn < config.bert_prob:
        return Plan("token", shortened=shortened)
    if drawn < config.bert_prob + config.sentence_prob:
        return Plan("sentence", shortened=shortened)
    most = max(1, longest - 2)
    least = min(most, max(1, int(config.gpt_min_ratio * shortest)))
    return Plan("document", generated=int(rng.integers(least, most + 1)), shortened=shortened)


def rows(
    text: Ints, plan: Plan, config: Blanks, specials: Specials, ends: np.ndarray, rng: np.random.Generator
) -> list[Row]:
    """The rows of one text: one, or several of a text that the plan cuts into pieces.

    Args:
        text: [n] token ids, n from 3 to `layout.length_max`; documents end with `specials.eos`.
        plan: the batch's task.
        config: every switch.
        specials: ids of the marks.
        ends: [vocabulary] of bool: which tokens contain the end of a sentence.
        rng: the source of all chance.

    Raises:
        Refused: the text is too short or too long, or a mark is missing.
    """
    if not 3 <= len(text) <= config.layout.length_max:
        raise Refused(f"text: {len(text)} tokens", hint=f"Give 3 to {config.layout.length_max} (layout.length_max).")
    if plan.shortened is None:
        return [row(text, plan, config, specials, ends, rng)]
    count = (config.layout.length_max - 1) // plan.shortened
    pieces = [_piece(text, plan.shortened, specials, ends, rng) for _ in range(count)]
    return [row(piece, plan, config, specials, ends, rng) for piece in pieces]


def row(text: Ints, plan: Plan, config: Blanks, specials: Specials, ends: np.ndarray, rng: np.random.Generator) -> Row:
    """The row of one text; see `rows`."""
    if plan.task == "document":
        return _document(text, plan.generated, config, specials, rng)
    if plan.task == "sentence" and (spans := some_sentences(text, ends, config.sentence_ratio, specials, rng)):
        mask = specials.smask if config.task_mask else specials.mask
        return infilled(text, spans, mask, "sentence", config.layout, specials, rng)
    weights = length_weights(config.span_mean, SPAN_MAX)
    lengths = draw_lengths(1 if plan.single_span else len(text), config.bert_ratio, weights, rng)
    spans = fitted(text, lengths, config.bert_ratio, specials, rng)
    if config.masked_lm:
        return masked(text, spans, specials)
    return infilled(text, spans, specials.mask, "token", config.layout, specials, rng)


def _document(text: Ints, generated: int, config: Blanks, specials: Specials, rng: np.random.Generator) -> Row:
    mask = specials.gmask if config.task_mask else specials.mask
    generated = min(generated, len(text) - 2)
    several = bool(np.any(text[:-1] == specials.eos))
    if several or rng.random() < config.gpt_infill_prob:
        return continued(text, len(text) - generated, mask, config.layout, specials)
    spans = fitted(text, [generated], 1.0, specials, rng)
    return infilled(text, spans, mask, "document", config.layout, specials, rng)


def _piece(text: Ints, length: int, specials: Specials, ends: np.ndarray, rng: np.random.Generator) -> Ints:
    """About `length` tokens of the text, from the start of a sentence to the end of one where that costs under half."""
    head = text[:1] if int(text[0]) == specials.enc else text[:0]
    body = text[len(head) :]
    if length >= len(body):
        return text
    stops = ends[body] | (body == specials.eos)
    start = int(rng.integers(0, len(body) - length))
    while start > 0 and (body[start] == specials.eos or not stops[start - 1]):
        start -= 1
    end = start + length
    while end > start and not stops[end - 1]:
        end -= 1
    if end - start < length // 2:
        end = start + length
    return np.concatenate([head, body[start:end]])
