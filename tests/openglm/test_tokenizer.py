"""Two tokenizers in one format: every text comes back, marks have their published order, quoted marks are text."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openglm.data import fim, tokenizer
from openglm.data.specials import PUBLISHED, classic
from openglm.data.tokenizer import Tokenizer, train_bpe, train_characters
from openglm.errors import Refused

CODE = inspect.getsource(inspect) + "def hello():\n    return '床前明月光'\n"
POEMS = ["床前明月光，疑是地上霜。\n舉頭望明月，低頭思故鄉。", "春眠不覺曉，處處聞啼鳥。\n夜來風雨聲，花落知多少。"]
BPE = train_bpe([CODE], 1000)
CHARACTERS = train_characters(POEMS, 256 + 38 + 39)
both = pytest.mark.parametrize("trained", [BPE, CHARACTERS], ids=["bpe", "characters"])
# Marks that a decoder shows are taken for tokens even in plain text, and come back as the same letters.
any_text = st.text(st.characters(codec="utf-8"), max_size=60)


@both
@given(text=any_text)
def test_every_text_comes_back(trained: Tokenizer, text: str) -> None:
    assert trained.decode(trained.encode(text)) == text


@both
def test_marks_follow_the_base_vocabulary_in_the_published_order(trained: Tokenizer) -> None:
    first = len(trained) - len(PUBLISHED) - len(classic())
    names = [trained.library.id_to_token(first + i) for i in range(len(trained) - first)]
    assert names == [*PUBLISHED, *classic()]
    assert trained.specials.eos == first
    assert trained.specials.gmask == first + 2
    assert trained.specials.code_middle == first + 19


@both
def test_a_quoted_mark_is_text_and_an_intended_one_is_a_token(trained: Tokenizer) -> None:
    text = "[gMASK]<sop>ab<|endoftext|>"
    marks = {trained.specials.gmask, trained.specials.sop, trained.specials.eos}
    assert not set(trained.encode(text)) & marks
    assert not set(trained.encode_batch([text])[0]) & marks
    meant = trained.encode(text, marks=True)
    assert [meant[0], meant[1], meant[-1]] == [trained.specials.gmask, trained.specials.sop, trained.specials.eos]
    assert trained.decode(meant) == text
    assert trained.decode(meant, marks=False) == "ab"


@both
def test_a_saved_tokenizer_is_read_back_the_same(trained: Tokenizer, tmp_path: Path) -> None:
    trained.save(tmp_path / "tokenizer.json")
    read = Tokenizer.load(tmp_path / "tokenizer.json")
    assert read.digest == trained.digest
    assert read.encode(CODE[:500]) == trained.encode(CODE[:500])
    assert read.specials == trained.specials
    assert np.array_equal(read.ends, trained.ends)


def test_training_twice_gives_the_same_tokenizer() -> None:
    assert train_bpe([CODE], 1000).digest == BPE.digest
    assert train_characters(POEMS, len(CHARACTERS)).digest == CHARACTERS.digest


def test_known_characters_are_a_token_each_and_others_are_their_bytes() -> None:
    assert len(CHARACTERS.encode("床前明月光")) == 5
    assert len(CHARACTERS.encode("鱻")) == 3
    assert CHARACTERS.encode("鱻") == list("鱻".encode())


def test_the_most_frequent_characters_are_kept() -> None:
    trained = train_characters(["aaab", "bcc", "cd"], 256 + 38 + 2)
    assert [len(trained.encode(letter)) for letter in "ac"] == [1, 1]
    assert trained.encode("a") == [256]
    assert trained.encode("b") == [ord("b")]


def test_words_are_split_as_in_glm_4() -> None:
    pieces = BPE.library.pre_tokenizer.pre_tokenize_str("I'll pay 12345 for\tit!\n\n  ok")
    assert [span for _, span in pieces] == [
        (0, 1),  # I
        (1, 4),  # 'll
        (4, 8),  # _pay
        (8, 9),  # _
        (9, 12),  # 123
        (12, 14),  # 45
        (14, 18),  # _for
        (18, 21),  # tab it
        (21, 24),  # ! and its line breaks
        (24, 25),
        (25, 28),
    ]


def test_ends_of_sentences_are_found_in_every_script() -> None:
    for trained, text in ((BPE, "a.b"), (CHARACTERS, "光，疑")):
        ends = trained.ends[trained.encode(text)]
        assert ends.tolist() == [False, text == "a.b", False]
    assert CHARACTERS.ends[CHARACTERS.encode("霜。\n")].tolist() == [False, True, True]
    assert not BPE.ends[BPE.specials.eos]


def test_a_piece_that_begins_inside_a_character_is_left_as_it_is() -> None:
    document = np.array(BPE.encode("鱻 = 1\n")[1:])
    for seed in range(5):
        moved = fim.rearranged(
            document, fim.Middles(fim_rate=1.0), BPE.specials, np.random.default_rng(seed), BPE.encode, BPE.decode
        )
        assert moved.tolist() == document.tolist()


def test_numbered_marks_come_in_pairs() -> None:
    trained = train_characters(POEMS, 256 + 38 + 2 * 5 + 20, sentinels=5)
    assert len(trained.specials.sentinel_masks) == len(trained.specials.sentinel_sops) == 6
    assert trained.library.id_to_token(trained.specials.sentinel_masks[3]) == "[MASK3]"


def test_code_is_cut_between_characters_and_comes_back() -> None:
    document = np.array([*BPE.encode(CODE[:400]), BPE.specials.eos])
    moved = fim.rearranged(
        document, fim.Middles(fim_rate=1.0), BPE.specials, np.random.default_rng(3), BPE.encode, BPE.decode
    )
    suffix, rest = BPE.decode(moved[:-1].tolist()).removeprefix("<|code_suffix|>").split("<|code_prefix|>")
    prefix, middle = rest.split("<|code_middle|>")
    assert prefix + middle + suffix == CODE[:400]


def test_what_cannot_be_trained_or_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"size: 100 is too small; .* are 294"):
        train_bpe([CODE], 100)
    with pytest.raises(Refused, match="size: the texts give only"):
        train_characters(POEMS, 5000)
    with pytest.raises(Refused, match="no tokenizer is there"):
        Tokenizer.load(tmp_path / "none.json")
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(Refused, match=r"it is no tokenizer\.json"):
        Tokenizer.load(tmp_path / "other.json")
    tokenizer.Library(tokenizer.models.BPE()).save(str(tmp_path / "foreign.json"))
    with pytest.raises(Refused, match=r"it has no \[MASK\]"):
        Tokenizer.load(tmp_path / "foreign.json")
