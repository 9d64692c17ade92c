"""The laws of blank infilling: spans, parts A and B, two-dimensional positions, who sees whom, what is counted."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from openglm.data import blanks, parts_ab, spans
from openglm.data.blanks import Blanks, Plan
from openglm.data.parts_ab import Layout
from openglm.data.rows import Row
from openglm.data.specials import Specials
from openglm.errors import Refused
from openglm.parts.masks import prefix_mask

MASK, GMASK, SMASK, SOP, EOP, EOS, CLS, DBLOCK = range(1, 9)
SENTINELS = tuple(range(10, 42))
SPECIALS = Specials(
    mask=MASK,
    gmask=GMASK,
    smask=SMASK,
    sop=SOP,
    eop=EOP,
    eos=EOS,
    pad=0,
    enc=CLS,
    dblock=DBLOCK,
    sentinel_masks=(MASK, *SENTINELS),
    sentinel_sops=(SOP, *range(50, 82)),
)
STOP = 100  # a token that ends a sentence
FIRST = 101  # words are this and above
VOCABULARY = 400
ENDS = np.zeros(VOCABULARY, bool)
ENDS[STOP] = True

documents_of_words = st.lists(
    st.lists(st.integers(STOP, VOCABULARY - 1), min_size=1, max_size=60), min_size=1, max_size=4
)
seeds = st.integers(0, 2**32 - 1)
shares = st.sampled_from([0.0, 0.3, 1.0])
layouts = st.builds(
    Layout,
    length_max=st.just(300),
    shuffle=st.booleans(),
    two_d=st.booleans(),
    bidirectional=st.booleans(),
    random_position=st.booleans(),
)


def packed(documents: list[list[int]], begin: bool = True) -> np.ndarray:
    """Documents as the official code packs them: [CLS] words <eos>, again and again."""
    flat = [token for words in documents for token in ([CLS] * begin + words + [EOS])]
    return np.array(flat, np.int64)


def restored(row: Row, layout: Layout) -> np.ndarray:
    """The original text, read back from parts A and B alone: each blank takes the span that has its place."""
    a, b = row.tokens[: row.context], row.targets[row.context :]
    a_places, b_places = row.positions[0, : row.context], row.positions[0, row.context :]
    text: list[int] = []
    for token, place in zip(a.tolist(), a_places.tolist(), strict=True):
        if token not in (MASK, GMASK, SMASK):
            text.append(token)
            continue
        words = b[b_places == place].tolist()
        text += words[:-1] if words[-1] == EOP else words
    return np.array(text)


def any_row(text: np.ndarray, task: str, layout: Layout, seed: int) -> Row:
    config = Blanks(task_mask=True, layout=layout)
    plan = Plan(task, generated=max(1, len(text) // 2))
    return blanks.row(text, plan, config, SPECIALS, ENDS, np.random.default_rng(seed))


tasks = st.sampled_from(["token", "sentence", "document"])


def test_the_papers_figure_2_comes_out_as_it_is_drawn() -> None:
    text = np.arange(201, 207)  # x1 … x6

    class Swapped(np.random.Generator):
        """Tells the second span first, as the figure does."""

        def permutation(self, *_: object, **__: object) -> np.ndarray:  # type: ignore[override]
            return np.array([1, 0])

    rng = Swapped(np.random.PCG64(0))
    row = parts_ab.infilled(text, [(2, 3), (4, 6)], MASK, "token", Layout(), SPECIALS, rng)
    assert row.tokens.tolist() == [201, 202, MASK, 204, MASK, SOP, 205, 206, SOP, 203]
    assert row.targets[5:].tolist() == [205, 206, EOP, 203, EOP]
    assert (row.positions[0] + 1).tolist() == [1, 2, 3, 4, 5, 5, 5, 5, 3, 3]
    assert row.positions[1].tolist() == [0, 0, 0, 0, 0, 1, 2, 3, 1, 2]
    assert row.weights.tolist() == [0] * 5 + [1] * 5
    assert row.separator == 5
    seen = prefix_mask(torch.tensor([5]), 10)[0, 0].int()
    assert seen[:5].tolist() == [[1] * 5 + [0] * 5] * 5
    assert seen[5:].tolist() == [[1] * (6 + i) + [0] * (4 - i) for i in range(5)]


@given(st.integers(1, 200), st.floats(0, 1), seeds)
def test_spans_never_touch_and_stay_inside_their_room(room: int, ratio: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = spans.draw_lengths(room, ratio, spans.length_weights(3, 39), rng)
    while sum(lengths) + len(lengths) - 1 > room:
        lengths.pop()
    found = spans.place(lengths, room, 7, rng)
    assert [end - start for start, end in found] == lengths
    assert all(7 <= start < end <= 7 + room for start, end in found)
    assert all(left[1] < right[0] for left, right in pairwise(found))


@given(documents_of_words, seeds)
def test_no_span_crosses_the_end_of_a_document_or_hides_a_mark(words: list[list[int]], seed: int) -> None:
    text, rng = packed(words), np.random.default_rng(seed)
    lengths = spans.draw_lengths(len(text), 0.15, spans.length_weights(3, 39), rng)
    for start, end in spans.fitted(text, lengths, 0.15, SPECIALS, rng):
        assert not set(text[start:end].tolist()) & {CLS, EOS}


@given(documents_of_words, seeds)
@example([[FIRST] * 7] * 2, 0)
def test_the_last_token_of_a_text_that_is_cut_off_stays_visible(words: list[list[int]], seed: int) -> None:
    text, rng = np.append(packed(words), [FIRST, FIRST]), np.random.default_rng(seed)
    lengths = spans.draw_lengths(len(text), 0.9, spans.length_weights(3, 39), rng)
    assert max(end for _, end in spans.fitted(text, lengths, 0.9, SPECIALS, rng)) < len(text)


@given(st.integers(1, 500), st.floats(0, 1), seeds)
def test_lengths_are_drawn_until_they_are_enough_and_no_further(total: int, ratio: float, seed: int) -> None:
    lengths = spans.draw_lengths(total, ratio, spans.length_weights(3, 39), np.random.default_rng(seed))
    assert sum(lengths[:-1]) < max(1, int(ratio * total)) <= sum(lengths)


@given(documents_of_words, seeds)
def test_of_several_documents_the_end_is_written_and_two_tokens_are_always_given(
    words: list[list[int]], seed: int
) -> None:
    text, rng = packed([*words, [FIRST]]), np.random.default_rng(seed)
    config = Blanks(bert_prob=0, gpt_min_ratio=1.0, gpt_infill_prob=0.0)
    plan = blanks.planned(config, len(text), len(text), rng)
    assert plan.generated == len(text) - 2
    row = blanks.row(text, Plan("document", generated=plan.generated + 5), config, SPECIALS, ENDS, rng)
    assert row.targets[row.context :].tolist() == text[2:].tolist()


@given(documents_of_words, tasks, layouts, seeds)
def test_the_text_can_be_read_back_from_parts_a_and_b(
    words: list[list[int]], task: str, layout: Layout, seed: int
) -> None:
    text = packed(words)
    sentences = spans.sentences(text, ENDS, SPECIALS)
    row = any_row(text, task, layout, seed)
    assert restored(row, layout).tolist() == text.tolist()
    if row.task == "sentence":
        assert sentences


@given(documents_of_words, tasks, layouts, seeds)
def test_only_part_b_is_counted_and_all_of_it(words: list[list[int]], task: str, layout: Layout, seed: int) -> None:
    row = any_row(packed(words), task, layout, seed)
    assert not row.weights[: row.context].any()
    assert (row.weights[row.context :] == 1).all()
    assert len(row.tokens) > row.context


@given(documents_of_words, tasks, layouts, seeds)
def test_each_input_of_part_b_is_the_target_before_it(
    words: list[list[int]], task: str, layout: Layout, seed: int
) -> None:
    row = any_row(packed(words), task, layout, seed)
    inputs, targets = row.tokens[row.context :], row.targets[row.context :]
    assert inputs[0] == SOP
    for before, token in zip(targets, inputs[1:], strict=False):
        assert token == (SOP if before == EOP else before)


@given(documents_of_words, tasks, layouts, seeds)
def test_a_span_has_the_place_of_its_blank_and_counts_from_one(
    words: list[list[int]], task: str, layout: Layout, seed: int
) -> None:
    row = any_row(packed(words), task, layout, seed)
    first, second = row.positions
    in_a = first[: row.context]
    assert (np.diff(in_a) == 1).all()  # part A counts up, wherever it begins
    assert layout.random_position or row.task == "document" or in_a[0] == 0
    assert in_a[-1] < layout.length_max
    assert (second[: row.context] == 0).all()
    blanks_at = set(in_a[np.isin(row.tokens[: row.context], [MASK, GMASK, SMASK])].tolist())
    assert set(first[row.context :].tolist()) == blanks_at
    starts = np.flatnonzero(row.tokens == SOP)
    for start, end in zip(starts, [*starts[1:], len(row.tokens)], strict=True):
        expected = np.arange(1, end - start + 1) if layout.two_d else np.ones(end - start)
        assert (second[start:end] == expected).all()
        assert len(set(first[start:end].tolist())) == 1


@given(st.lists(st.integers(0, 40), min_size=1, max_size=4), st.integers(1, 40), st.data())
def test_part_a_sees_only_itself_and_part_b_sees_a_and_what_was_told_before(
    separators: list[int], length: int, data: st.DataObject
) -> None:
    mask = prefix_mask(torch.tensor(separators), length)
    assert mask.shape == (len(separators), 1, length, length)
    row = data.draw(st.integers(0, len(separators) - 1))
    query, key = data.draw(st.integers(0, length - 1)), data.draw(st.integers(0, length - 1))
    a = separators[row]
    expected = key < a or (key <= query)
    assert bool(mask[row, 0, query, key]) == expected
    if query < a <= key:
        assert not mask[row, 0, query, key]
    last = data.draw(st.integers(1, length))
    assert torch.equal(prefix_mask(torch.tensor(separators), length, last), mask[:, :, -last:])


@given(seeds)
def test_about_fifteen_in_a_hundred_tokens_are_blanked_by_spans_of_about_three(seed: int) -> None:
    text = packed([list(range(FIRST, FIRST + 250))])
    row = any_row(text, "token", Layout(), seed)
    hidden = int(row.weights.sum()) - int((row.tokens == SOP).sum())
    assert 0.15 * len(text) - 1 <= hidden <= 0.15 * len(text) + 39
    weights = spans.length_weights(3, 39)
    assert weights.sum() == pytest.approx(1)
    assert (weights * np.arange(1, 40)).sum() == pytest.approx(3 / (1 - np.exp(-3)))  # a Poisson without its zero


@given(documents_of_words, seeds)
def test_sentence_blanks_are_whole_sentences(words: list[list[int]], seed: int) -> None:
    text, rng = packed(words), np.random.default_rng(seed)
    whole = set(spans.sentences(text, ENDS, SPECIALS))
    chosen = spans.some_sentences(text, ENDS, 0.15, SPECIALS, rng)
    assert set(chosen) <= whole
    assert len(set(chosen)) == len(chosen)
    assert sum(end - start for start, end in chosen) >= int(0.15 * len(text)) or len(chosen) == len(whole)
    for start, end in whole:
        assert text[end - 1] == STOP
        assert not set(text[start:end].tolist()) & {CLS, EOS}
        assert STOP not in text[start : end - 1]


@given(st.integers(0, 200), seeds)
def test_a_document_level_span_has_at_least_its_share_of_the_text(extra: int, seed: int) -> None:
    text, rng = packed([list(range(FIRST, FIRST + 60 + extra))]), np.random.default_rng(seed)
    config = Blanks(bert_prob=0, gpt_min_ratio=0.5)
    plan = blanks.planned(config, len(text), len(text), rng)
    row = blanks.row(text, plan, config, SPECIALS, ENDS, rng)
    assert row.task == "document"
    assert int(0.5 * len(text)) <= row.weights.sum() <= len(text)
    assert (row.tokens == SOP).sum() == 1


def test_a_batch_has_the_tasks_in_their_shares() -> None:
    rng = np.random.default_rng(0)
    config = Blanks(bert_prob=0.5, sentence_prob=0.3, single_span_prob=0.05, short_seq_prob=0.02)
    plans = [blanks.planned(config, 512, 512, rng) for _ in range(4000)]
    share = {task: sum(plan.task == task for plan in plans) / 4000 for task in ("token", "sentence", "document")}
    assert share["token"] == pytest.approx(0.95 * 0.5 + 0.05, abs=0.03)
    assert share["sentence"] == pytest.approx(0.95 * 0.3, abs=0.03)
    assert share["document"] == pytest.approx(0.95 * 0.2, abs=0.03)
    assert sum(plan.single_span for plan in plans) / 4000 == pytest.approx(0.05, abs=0.02)
    assert sum(plan.shortened is not None for plan in plans) / 4000 == pytest.approx(0.02, abs=0.01)


def test_each_task_has_its_mask_only_where_that_is_asked_for() -> None:
    text = packed([[*range(FIRST, FIRST + 20), STOP] * 3])
    for task, mask in (("token", MASK), ("sentence", SMASK), ("document", GMASK)):
        plan = Plan(task, generated=20)
        for asked in (True, False):
            row = blanks.row(text, plan, Blanks(task_mask=asked), SPECIALS, ENDS, np.random.default_rng(1))
            used = set(row.tokens[: row.context].tolist()) & {MASK, SMASK, GMASK}
            assert used == {mask if asked else MASK}


def test_spans_are_told_in_random_order_unless_shuffling_is_off() -> None:
    text = packed([list(range(FIRST, FIRST + 200))])
    for shuffle in (True, False):
        places = any_row(text, "token", Layout(shuffle=shuffle), 3).positions[0]
        told = places[np.flatnonzero(any_row(text, "token", Layout(shuffle=shuffle), 3).tokens == SOP)]
        assert (sorted(told) == told.tolist()) is not shuffle


def test_a_causal_prefix_has_no_separator_and_is_otherwise_the_same() -> None:
    text = packed([list(range(FIRST, FIRST + 100))])
    both, left = any_row(text, "token", Layout(), 5), any_row(text, "token", Layout(bidirectional=False), 5)
    assert (both.tokens == left.tokens).all()
    assert both.separator == both.context == left.context
    assert left.separator == 0


def test_numbered_blanks_pair_a_mask_with_a_start_and_give_part_b_no_place() -> None:
    text = packed([list(range(FIRST, FIRST + 100))])
    row = any_row(text, "token", Layout(sentinels=True), 5)
    a, b = row.tokens[: row.context].tolist(), row.tokens[row.context :].tolist()
    masks = [SPECIALS.sentinel_masks.index(token) for token in a if token in SPECIALS.sentinel_masks]
    sops = [SPECIALS.sentinel_sops.index(token) for token in b if token in SPECIALS.sentinel_sops]
    assert sops == list(range(len(sops)))  # numbered as they are told
    assert sorted(masks) == sops
    assert (row.positions[0, row.context :] == 512).all()
    few = replace(SPECIALS, sentinel_masks=(MASK,), sentinel_sops=(SOP,))
    with pytest.raises(Refused, match=r"sentinels: .* numbered masks"):
        blanks.row(text, Plan("token"), Blanks(layout=Layout(sentinels=True)), few, ENDS, np.random.default_rng(5))


def test_hidden_inputs_are_hidden_from_the_input_only() -> None:
    text = packed([list(range(FIRST, FIRST + 200))])
    config = Blanks(layout=Layout(block_mask_prob=1.0, context_mask_ratio=0.05))
    row = blanks.row(text, Plan("token"), config, SPECIALS, ENDS, np.random.default_rng(5))
    b = row.tokens[row.context :]
    assert set(b.tolist()) == {SOP, DBLOCK}
    assert DBLOCK not in row.targets
    noisy = np.flatnonzero(row.tokens[: row.context] == DBLOCK)
    at_blank = np.flatnonzero(row.tokens[: row.context] == MASK)
    assert len(noisy) == int(0.05 * len(text))
    assert all(min(abs(at_blank - place)) <= 3 for place in noisy)


def test_the_bert_baseline_predicts_each_hidden_token_in_its_place() -> None:
    text = packed([list(range(FIRST, FIRST + 100))])
    row = blanks.row(text, Plan("token"), Blanks(masked_lm=True), SPECIALS, ENDS, np.random.default_rng(2))
    hidden = row.weights > 0
    assert (row.targets == text).all()
    assert (row.tokens[hidden] == MASK).all()
    assert (row.tokens[~hidden] == text[~hidden]).all()
    assert row.separator == len(text)


@given(documents_of_words, seeds)
def test_shortened_texts_are_pieces_of_the_text(words: list[list[int]], seed: int) -> None:
    text = packed(words)
    config = Blanks(short_seq_prob=1.0, layout=Layout(length_max=300))
    rng = np.random.default_rng(seed)
    plan = blanks.planned(config, len(text), len(text), rng)
    assert plan.shortened is not None
    found = blanks.rows(text, plan, config, SPECIALS, ENDS, rng)
    assert len(found) == 299 // plan.shortened
    whole = " ".join(map(str, text.tolist()))
    for row in found:
        piece = restored(row, config.layout).tolist()
        assert piece[0] == CLS
        assert " ".join(map(str, piece[1:])) in whole
        assert len(piece) <= max(plan.shortened + 1, len(text) if plan.shortened >= len(text) - 1 else 0)
        assert len(piece) >= min(plan.shortened // 2, len(text))


@given(documents_of_words, tasks, layouts, seeds)
def test_the_same_seed_gives_the_same_row(words: list[list[int]], task: str, layout: Layout, seed: int) -> None:
    text = packed(words)
    one, two = any_row(text, task, layout, seed), any_row(text, task, layout, seed)
    assert (one.tokens == two.tokens).all()
    assert (one.positions == two.positions).all()


def test_what_cannot_be_is_refused_by_name() -> None:
    with pytest.raises(Refused, match="bert_prob"):
        Blanks(bert_prob=1.5)
    with pytest.raises(Refused, match="bert_prob, sentence_prob"):
        Blanks(bert_prob=0.9, sentence_prob=0.2)
    with pytest.raises(Refused, match="masked_lm"):
        Blanks(masked_lm=True, bert_prob=0.5)
    with pytest.raises(Refused, match="short_seq_prob"):
        Blanks(short_seq_prob=0.1, layout=Layout(length_max=20))
    for length in (2, 600):
        with pytest.raises(Refused, match="text: "):
            blanks.rows(np.arange(length), Plan("token"), Blanks(), SPECIALS, ENDS, np.random.default_rng(0))
    config = Blanks(layout=Layout(block_mask_prob=0.5))
    plain = replace(SPECIALS, dblock=None)
    with pytest.raises(Refused, match=r"\[dBLOCK\]"):
        blanks.rows(np.arange(200, 260), Plan("token"), config, plain, ENDS, np.random.default_rng(0))
