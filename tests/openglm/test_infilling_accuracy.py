"""Gaps in a text: the same questions for every model, and the figures say what was filled in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import tiny_glm as tiny
from learned_glm import learned
from learned_texts import GAPS, GAPS_FILLED
from openglm.checkpoint.folder import load, save
from openglm.data import shards
from openglm.data.batches import stacked
from openglm.data.causal import shifted
from openglm.data.fim import ordered
from openglm.data.tokenizer import Tokenizer, train_bpe, train_characters
from openglm.errors import Refused
from openglm.evaluate import infilling
from openglm.evaluate.__main__ import ask_infilling
from openglm.evaluate.infilling import Question, cut, distance, fill_blanks, fill_middles, questions, score
from openglm.evaluate.results import kept
from openglm.train.loss import loss_of

POEMS = ["床前明月光，疑是地上霜。举头望明月，低头思故乡。", "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。"] * 4


def test_edits_are_counted() -> None:
    assert [distance(*pair) for pair in (("", "ab"), ("kitten", "sitting"), ("ab", "ba"), ("同", "同"))] == [2, 3, 2, 0]


def test_the_score_is_of_blanks_and_of_characters() -> None:
    asked = [Question(("a", "b", "c"), ("明月", "光"))]
    found = score(asked, [["明日", "光"]])
    assert (found.blanks, found.characters, found.exact) == (2, 3, 0.5)
    assert found.characters_right == pytest.approx(2 / 3)
    assert score(asked, [["", "光光光光"]]).characters_right == pytest.approx(1 - 5 / 6)


@pytest.mark.parametrize("ratio", [0.0, 0.15])
def test_questions_are_the_documents_with_gaps_and_the_same_every_time(tmp_path: Path, ratio: float) -> None:
    tokenizer = train_characters(POEMS, 256 + 38 + 30)
    held_out = shards.write(
        tmp_path, POEMS, tokenizer.encode_batch, vocabulary=len(tokenizer), eos=tokenizer.specials.eos, source="test"
    )
    asked = questions(held_out, tokenizer, count=6, tokens_max=64, ratio=ratio)
    assert asked == questions(held_out, tokenizer, count=6, tokens_max=64, ratio=ratio)
    assert len(asked) == 6
    for question in asked:
        tokens, spans = question.laid(tokenizer.encode)
        assert tokenizer.decode(tokens.tolist()) in POEMS
        assert [tokenizer.decode(tokens[start:end].tolist()) for start, end in spans] == list(question.hidden)
        assert all(question.hidden)
        assert sum(map(len, question.hidden)) >= int(ratio * 24)
        assert ratio or len(question.hidden) == 1
    pieces = questions(held_out, tokenizer, count=6, tokens_max=12, ratio=ratio)
    assert max(len(question.laid(tokenizer.encode)[0]) for question in pieces) == 12
    with pytest.raises(Refused, match="nothing can be hidden"):
        questions(held_out, tokenizer, count=6, tokens_max=1)


def test_a_model_that_knows_a_poem_by_heart_fills_its_gaps_exactly_and_no_others(tmp_path: Path) -> None:
    learned(tmp_path / "model")
    model, tokenizer = load(tmp_path / "model"), Tokenizer.load(tmp_path / "model" / "tokenizer.json")
    shown = tuple(GAPS.split("[MASK]"))
    asked = [Question(shown, tuple(GAPS_FILLED)), Question(shown, ("不觉", "啼啼"))]
    for lengths_told in (False, True):
        filled = fill_blanks(model, tokenizer, asked, lengths_told=lengths_told)  # type: ignore[arg-type]
        assert filled == [GAPS_FILLED, GAPS_FILLED]
        assert score(asked, filled).exact == 0.75


def test_a_causal_model_writes_the_middle_between_its_marks(tmp_path: Path) -> None:
    tokenizer = train_bpe(POEMS, 256 + 38)
    question = cut("abcdefgh", [(3, 5)])
    assert question == Question(("abc", "fgh"), ("de",))
    parts = (tokenizer.encode(text) for text in ("abc", "de", "fgh"))
    taught = [*ordered(*parts, tokenizer.specials), tokenizer.specials.eos]
    batch = stacked([shifted(np.array(taught))], pad=0)
    model = tiny.dense(vocab_size=len(tokenizer))
    optimiser = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(60):
        loss_of(model, batch).total.backward()
        optimiser.step()
        optimiser.zero_grad()
    assert fill_middles(model, tokenizer, [question]) == [["de"]]
    with pytest.raises(Refused, match="one gap"):
        fill_middles(model, tokenizer, [cut("abcdefgh", [(1, 2), (4, 5)])])


def test_what_was_asked_and_found_lies_beside_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = train_bpe(POEMS, 256 + 38)
    tokenizer.save(tmp_path / "data" / "tokenizer.json")
    for part in ("train", "held-out"):
        shards.write(
            tmp_path / "data" / part,
            POEMS,
            tokenizer.encode_batch,
            vocabulary=len(tokenizer),
            eos=tokenizer.specials.eos,
            source="test",
        )
    save(tiny.dense(vocab_size=len(tokenizer)), tmp_path / "model")
    monkeypatch.setattr(infilling, "MIDDLE_TOKENS_MAX", 8)
    found = ask_infilling(tmp_path / "model", tmp_path / "data", texts=3, ratio=0.0, span_mean=2.0, length=90)
    assert kept(tmp_path / "model") == [found]
    assert found.asked == {"text": "test", "texts": 3, "ratio": 0.0, "span_mean": 2.0, "tokens_max": 90}
    assert found.figures["blanks"] == 3
    assert found.figures["exact"] == 0.0  # it has learned nothing
    assert "3 of 3 texts" in capsys.readouterr().err
