"""Evaluation: what is printed is what a model says, and rounding costs what it costs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny_glm as tiny
from openglm.checkpoint.folder import save
from openglm.data import shards
from openglm.data.batches import Batches, Causal
from openglm.data.prepare import opened
from openglm.data.tokenizer import train_bpe
from openglm.errors import Refused
from openglm.evaluate.__main__ import ask_likelihood
from openglm.evaluate.likelihood import likelihood
from openglm.evaluate.results import kept
from openglm.evaluate.rounding import lost, rounded
from openglm.train.loop import Run
from openglm.train.plan import Plan

TEXTS = ["def f(x):\n    return x + 1\n", "床前明月光,疑是地上霜。", "The quick brown fox. "] * 30


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tiny.Glm4:
    """A model that has learned one batch, so that it has something to lose."""
    model = tiny.dense(hidden_size=64, intermediate_size=96, head_dim=16)
    plan = Plan(steps=60, warmup=5, lr=1e-2, matrix_lr=1e-2, dtype="float32")
    Run(model, tiny.Same(tiny.Counting()), plan, tmp_path_factory.mktemp("run")).walk()
    return model


def test_fewer_bits_lose_more_and_all_bits_lose_nothing(learned: tiny.Glm4) -> None:
    batches = [tiny.Counting()[0]]
    whole, half, eight, four = (lost(learned, precision, batches) for precision in ("F32", "F16", "Q8_0", "Q4_0"))
    assert (whole.nats, whole.agreement, whole.difference) == (0.0, 1.0, 0.0)
    assert 0 < half.difference < eight.difference < four.difference
    assert eight.agreement > 0.95


def test_vectors_are_never_rounded(learned: tiny.Glm4) -> None:
    small = rounded(learned, "Q4_0")
    for (name, weight), other in zip(learned.named_parameters(), small.parameters(), strict=True):
        assert torch.equal(weight, other) == (weight.ndim < 2), name


def test_likelihood_is_the_mean_over_targets_and_bits_are_of_their_text(tmp_path: Path) -> None:
    tokenizer = train_bpe(TEXTS, 330)
    model = tiny.dense(vocab_size=330)
    data = tmp_path / "data"
    tokenizer.save(data / "tokenizer.json")
    for part in ("train", "held-out"):
        shards.write(
            data / part,
            TEXTS,
            tokenizer.encode_batch,
            vocabulary=len(tokenizer),
            eos=tokenizer.specials.eos,
            source="test",
        )
    save(model, tmp_path / "model")
    found = ask_likelihood(tmp_path / "model", data, batches=2, rows=2, length=16)
    assert kept(tmp_path / "model") == [found]
    told = found.figures
    assert told["tokens"] == 64
    assert [row["precision"] for row in told["lost"]] == ["F32", "F16", "BF16", "Q8_0", "Q4_0"]

    source = Batches(opened(data).held_out, Causal(), length=16, rows=2, seed=0, pad=0)
    nats, text = [], ""
    with torch.no_grad():
        for batch in (source[0], source[1]):
            logp = model(batch.tokens).log_softmax(-1).numpy()
            nats += [-logp[r, c, batch.targets[r, c]] for r, c in np.ndindex(batch.targets.shape)]
            text += tokenizer.decode(batch.targets.flatten().tolist(), marks=False)
    assert told["nats"] == pytest.approx(np.mean(nats), rel=1e-5)
    found = likelihood(model, [source[0], source[1]], tokenizer)
    assert found.bits_per_byte == pytest.approx(np.sum(nats) / math.log(2) / len(text.encode()), rel=0.05)


def test_data_of_another_vocabulary_is_refused(tmp_path: Path) -> None:
    tokenizer = train_bpe(TEXTS, 330)
    data = tmp_path / "data"
    tokenizer.save(data / "tokenizer.json")
    for part in ("train", "held-out"):
        shards.write(
            data / part, TEXTS, tokenizer.encode_batch, vocabulary=330, eos=tokenizer.specials.eos, source="test"
        )
    save(tiny.dense(), tmp_path / "model")
    with pytest.raises(Refused, match="330 tokens, the model 61"):
        ask_likelihood(tmp_path / "model", data, batches=1, rows=2, length=16)
