"""Shards on disk, and batches that are a pure function of their number."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from openglm.data import causal, fim, shards
from openglm.data.batches import Batch, Batches, BlankInfilling, Causal, FillInTheMiddle, Objective
from openglm.data.blanks import Blanks
from openglm.data.fim import Middles
from openglm.data.parts_ab import Layout
from openglm.data.shards import Shards
from openglm.data.specials import PUBLISHED, find
from openglm.errors import Refused

IDS = {name: 128 + i for i, name in enumerate((*PUBLISHED, "[CLS]", "[dBLOCK]"))}  # below: ASCII, a character a token
SPECIALS = find(IDS)
VOCABULARY = 128 + len(IDS)
ENDS = np.zeros(VOCABULARY, bool)
ENDS[ord(".")] = True


def encode(text: str) -> list[int]:
    return [ord(letter) for letter in text]


def decode(tokens: list[int]) -> str:
    return "".join(map(chr, tokens))


def encode_all(texts: list[str]) -> list[list[int]]:
    return [encode(text) for text in texts]


def texts(count: int = 50) -> list[str]:
    rng = np.random.default_rng(1)
    return [decode(rng.choice([*b"abcdefgh. "], rng.integers(1, 90)).tolist()) for _ in range(count)]


def written(folder: Path, found: list[str], per_shard: int = 7, source: str = "test") -> Shards:
    return shards.write(
        folder,
        iter(found),
        encode_all,
        vocabulary=VOCABULARY,
        eos=SPECIALS.eos,
        source=source,
        documents_per_shard=per_shard,
    )


OBJECTIVES: dict[str, Objective] = {
    "blanks": BlankInfilling(
        specials=SPECIALS,
        ends=ENDS,
        config=Blanks(bert_prob=0.4, sentence_prob=0.2, short_seq_prob=0.2, layout=Layout(length_max=40)),
    ),
    "causal": Causal(),
    "fim": FillInTheMiddle(specials=SPECIALS, encode=encode, decode=decode, config=Middles(spm_rate=0.5)),
}
each_objective = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)


def equal(one: Batch, two: Batch) -> bool:
    names = ("tokens", "targets", "positions", "weights", "separators")
    return one.task == two.task and all(torch.equal(getattr(one, name), getattr(two, name)) for name in names)


def batches(
    found: Shards, objective: Objective, rows: int = 4, seed: int = 3, rank: int = 0, world: int = 1
) -> Batches:
    return Batches(found, objective, length=40, rows=rows, seed=seed, pad=SPECIALS.pad, rank=rank, world=world)


def test_what_was_written_is_read_document_by_document(tmp_path: Path) -> None:
    found = texts()
    read = written(tmp_path, found)
    assert [decode(document[:-1].tolist()) for document in read.documents()] == found
    assert all(document[-1] == SPECIALS.eos for document in read.documents())
    assert read.lengths.tolist() == [len(text) + 1 for text in found]
    assert decode(read.piece(20, 3, 9).tolist()) == found[20][3:9]
    assert (tmp_path / "00000.tokens").stat().st_size == 2 * sum(read.lengths[:7])
    read.verify()


def test_a_large_vocabulary_takes_four_bytes_a_token(tmp_path: Path) -> None:
    big = shards.write(tmp_path, ["ab"], lambda _: [[70_000, 150_000]], vocabulary=151_552, eos=151_329, source="big")
    assert big.piece(0).tolist() == [70_000, 150_000, 151_329]


def test_an_interrupted_run_goes_on_and_leaves_the_same_bytes(tmp_path: Path) -> None:
    found = texts()
    straight = written(tmp_path / "straight", found)
    asked: list[str] = []

    def stumbling(part: list[str]) -> list[list[int]]:
        if len(asked) > 20:
            raise KeyboardInterrupt
        asked.extend(part)
        return encode_all(part)

    folder = tmp_path / "resumed"
    with pytest.raises(KeyboardInterrupt):
        shards.write(
            folder, found, stumbling, vocabulary=VOCABULARY, eos=SPECIALS.eos, source="test", documents_per_shard=7
        )
    with pytest.raises(Refused, match="no complete shards"):
        Shards(folder)
    again: list[str] = []

    def counting(part: list[str]) -> list[list[int]]:
        again.extend(part)
        return encode_all(part)

    shards.write(folder, found, counting, vocabulary=VOCABULARY, eos=SPECIALS.eos, source="test", documents_per_shard=7)
    assert again == found[21:]  # three shards of seven were there
    names = {path.name for path in folder.iterdir()}
    assert names == {path.name for path in straight.folder.iterdir()}
    assert all((folder / name).read_bytes() == (straight.folder / name).read_bytes() for name in names)


def test_tokens_of_another_source_are_not_taken_for_these(tmp_path: Path) -> None:
    written(tmp_path, texts())
    with pytest.raises(Refused, match=r"source: .* another corpus"):
        written(tmp_path, texts(), source="other")
    (tmp_path / "index.json").unlink()
    with pytest.raises(Refused, match=r"source: .* another corpus"):
        written(tmp_path, texts(), source="other")


def test_a_changed_byte_is_found(tmp_path: Path) -> None:
    read = written(tmp_path, texts())
    path = tmp_path / "00002.tokens"
    path.write_bytes(b"\x01" + path.read_bytes()[1:])
    with pytest.raises(Refused, match="00002: its bytes changed"):
        read.verify()


def test_a_corpus_without_texts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="texts: there are none"):
        written(tmp_path, [])


@each_objective
def test_batch_k_is_the_same_however_one_gets_there(tmp_path: Path, objective: Objective) -> None:
    found = written(tmp_path, texts())
    one = batches(found, objective)
    straight = [one[k] for k in range(12)]
    fresh = batches(Shards(tmp_path), objective)
    assert all(equal(fresh[k], straight[k]) for k in (11, 0, 7))
    resumed = batches(found, objective).starting(5)
    assert all(equal(next(resumed), batch) for batch in straight[5:])
    assert not equal(straight[0], straight[1])
    assert not equal(straight[0], batches(found, objective, seed=4)[0])


@each_objective
def test_ranks_together_see_what_one_alone_would(tmp_path: Path, objective: Objective) -> None:
    found = written(tmp_path, texts())
    alone = batches(found, objective, rows=4)[3]
    parts = [batches(found, objective, rows=2, rank=rank, world=2)[3] for rank in range(2)]
    assert {part.task for part in parts} == {alone.task}

    def told(batch: Batch) -> list[list[int]]:
        return sorted(row[weight > 0].tolist() for row, weight in zip(batch.targets, batch.weights, strict=True))

    assert told(alone) == sorted(told(parts[0]) + told(parts[1]))


def test_an_epoch_reads_every_token_once_but_for_the_last_row(tmp_path: Path) -> None:
    found = written(tmp_path, texts())
    rows = batches(found, BlankInfilling(specials=SPECIALS, ends=ENDS))
    for epoch in range(2):
        count = rows.rows_per_epoch
        line = np.concatenate([rows.text(epoch * count + i) for i in range(count)])
        assert len(line) == count * 40
        assert found.tokens - len(line) < 40
        documents = {tuple(document.tolist()) for document in found.documents()}
        whole = [tuple(part.tolist()) for part in np.split(line, np.flatnonzero(line == SPECIALS.eos) + 1)]
        assert set(whole[:-1]) <= documents
        assert len(whole) - 1 >= len(found) - 3
    assert rows.text(0).tolist() != rows.text(rows.rows_per_epoch).tolist()  # another epoch, another order


def test_rows_of_one_document_are_drawn_far_from_each_other_and_each_once_an_epoch(tmp_path: Path) -> None:
    """A batch is a sample of the corpus, also where a document is longer than a batch."""
    words = [f"{name} {number}. " for name in ("ant", "bee", "cat", "dog") for number in range(200)]
    found = written(tmp_path, ["".join(words[at : at + 200]) for at in range(0, 800, 200)])
    rows = batches(found, Causal())
    count = rows.rows_per_epoch // 4
    drawn = [tuple(row.tolist()) for k in range(count) for row in rows[k].tokens]
    line = [tuple(rows.text(i)[:-1].tolist()) for i in range(rows.rows_per_epoch)]
    assert len(drawn) == count * 4
    assert not Counter(drawn) - Counter(line)
    apart = [abs(line.index(a) - line.index(b)) for a, b in pairwise(drawn)]
    assert np.median(apart) > len(line) / 8
    assert [tuple(row.tolist()) for row in rows[count].tokens] != drawn[:4]  # another epoch, another order


def test_causal_targets_are_the_next_tokens_and_rows_overlap_by_one(tmp_path: Path) -> None:
    found = written(tmp_path, texts())
    rows = batches(found, Causal())
    batch = rows[0]
    assert batch.tokens.shape == batch.positions.shape == (4, 40)
    assert torch.equal(batch.tokens[:, 1:], batch.targets[:, :-1])
    assert rows.text(0)[-1] == rows.text(1)[0]
    assert batch.weights.min() == 1
    assert batch.mask() is None


def test_padding_counts_nothing_and_rounds_up(tmp_path: Path) -> None:
    found = written(tmp_path, texts())
    objective = BlankInfilling(specials=SPECIALS, ends=ENDS)
    plain = batches(found, objective)[0]
    wide = Batches(found, objective, length=40, rows=4, seed=3, pad=SPECIALS.pad, multiple=64)[0]
    length = plain.tokens.shape[1]
    assert wide.tokens.shape[1] == 64
    assert torch.equal(wide.tokens[:, :length], plain.tokens)
    assert (wide.tokens[:, length:] == SPECIALS.pad).all()
    assert not wide.weights[:, length:].any()
    mask = wide.mask()
    assert mask is not None
    assert not mask[:, :, :length, length:].any()


def test_a_batch_larger_than_the_corpus_is_refused(tmp_path: Path) -> None:
    found = written(tmp_path, texts(3))
    with pytest.raises(Refused, match="length, rows: a batch has 1000 × 40 tokens"):
        batches(found, Causal(), rows=1000)
    with pytest.raises(Refused, match="rank=2 of world=2"):
        batches(found, Causal(), rank=2, world=2)


@given(st.text("abc\n ", max_size=80), st.booleans(), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_a_rearranged_document_has_all_its_text_and_ends_with_its_middle(
    text: str, ended: bool, spm_rate: float, seed: int
) -> None:
    document = np.array(encode(text) + [SPECIALS.eos] * ended, np.int64)
    config = Middles(fim_rate=1.0, spm_rate=spm_rate)
    moved = fim.rearranged(document, config, SPECIALS, np.random.default_rng(seed), encode, decode).tolist()
    if not text:
        assert moved == document.tolist()
        return
    assert (moved[-1] == SPECIALS.eos) == ended
    body = moved[:-1] if ended else moved
    prefix, middle, suffix = SPECIALS.code_prefix, SPECIALS.code_middle, SPECIALS.code_suffix
    assert prefix is not None
    assert middle is not None
    assert suffix is not None
    at = {mark: body.index(mark) for mark in (prefix, middle, suffix)}
    assert at[middle] > max(at[prefix], at[suffix])
    assert min(at[prefix], at[suffix]) == 0
    ends = sorted([*at.values(), len(body)])
    parts = {mark: decode(body[place + 1 : ends[ends.index(place) + 1]]) for mark, place in at.items()}
    assert parts[prefix] + parts[middle] + parts[suffix] == text
    if spm_rate in (0.0, 1.0):
        assert (at[suffix] < at[prefix]) == (spm_rate == 1.0)


def test_cuts_fall_anywhere_in_a_document() -> None:
    document = np.array(encode("abc"), np.int64)
    moved = {
        decode(fim.rearranged(document, Middles(fim_rate=1.0), SPECIALS, rng, encode, decode).tolist())
        for rng in map(np.random.default_rng, range(300))
    }
    assert len(moved) == 10  # two cuts among four places, in order


def test_documents_are_rearranged_as_often_as_asked() -> None:
    document = np.array(encode("def f(): pass"), np.int64)
    for rate in (0.0, 0.5, 1.0):
        rng = np.random.default_rng(0)
        moved = [fim.rearranged(document, Middles(fim_rate=rate), SPECIALS, rng, encode, decode) for _ in range(400)]
        assert sum(len(tokens) > len(document) for tokens in moved) / 400 == pytest.approx(rate, abs=0.08)


def test_refusals_of_the_causal_objectives_name_what_is_wrong() -> None:
    with pytest.raises(Refused, match="fim_rate: 2 is no share"):
        Middles(fim_rate=2)
    with pytest.raises(Refused, match="text: 1 tokens"):
        causal.shifted(np.array([1]))
    plain = find({name: i for i, name in enumerate(PUBLISHED[:18])})
    with pytest.raises(Refused, match=r"no <.code_prefix.>"):
        fim.ordered([1], [2], [3], plain)
    with pytest.raises(Refused, match=r"it has no \[MASK\]"):
        find({"<sop>": 1})
