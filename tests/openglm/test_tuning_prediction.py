"""The layer that predicts a token further learns with the model that it drafts for, or stands still."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import tiny_tuning as tiny
from openglm.checkpoint import folder
from openglm.errors import Refused
from openglm.train.loss import loss_of
from openglm.tune import lora
from openglm.tune.order import MTP_WEIGHT, Order
from openglm.tune.tuning import Tuning

AHEAD = "model.layers.2."


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.base(tmp_path_factory.mktemp("base") / "tiny", **tiny.PREDICTING)


@pytest.fixture
def order(tmp_path: Path, base: Path) -> Order:
    training = tiny.lines(tmp_path / "chats.jsonl", tiny.chats())
    told = {"learning_rate_multiplier": 20, "n_epochs": 20, "batch_size": 3, "gguf": False, "threads": 1}
    return Order(base=base, training=training, into=tmp_path / "out", **told)


def tuned(order: Order, name: str, **changed: Any) -> Path:
    order = replace(order, into=order.into / name, **changed)
    Tuning(order).walk()
    return order.into


def further(order: Order, where: Path) -> float:
    """Nats of the further tokens of all examples together."""
    model = folder.load(where).float()
    with torch.no_grad():
        losses = [loss_of(model, batch, 1.0) for batch in Tuning(order).lessons.all_of()]
    return sum(float(loss.total - loss.nats) for loss in losses)


def moved(before: Path, after: Path) -> set[str]:
    old, new = (load_file(where / "model.safetensors") for where in (before, after))
    assert old.keys() == new.keys()
    return {name for name in old if not torch.equal(old[name], new[name])}


@pytest.mark.parametrize("rank", [0, 8])
def test_the_loss_of_the_further_token_falls_below_that_of_a_layer_that_stood_still(order: Order, rank: int) -> None:
    """With adapters: of a model that had learned other answers; one that knows nothing has nothing to adapt."""
    if rank:
        wrong = tiny.lines(order.training.with_name("wrong.jsonl"), tiny.chats(1))
        first = tuned(order, "first", training=wrong, learning_rate_multiplier=60)
        order = replace(order, base=first / "model", learning_rate_multiplier=8, n_epochs=40)
    learning = tuned(order, "learning", rank=rank)
    still = tuned(order, "still", rank=rank, mtp=False)
    before, stale, after = (further(order, where) for where in (order.base, still / "model", learning / "model"))
    assert after < 0.8 * min(before, stale)
    assert not any(name.startswith(AHEAD) for name in moved(order.base, still / "model"))
    assert any(name.startswith(AHEAD) for name in moved(order.base, learning / "model"))


def test_adapters_of_the_layer_lie_with_the_others_and_are_merged(order: Order) -> None:
    into = tuned(order, "learning", rank=4)
    model = folder.load(order.base).float()
    lora.load(model, into / "adapter")
    ahead = {name for name, _ in lora.adapters(model) if name.startswith(AHEAD)}
    assert {name.rpartition(".")[2] for name in ahead} >= {"q_proj", "o_proj", "down_proj"}
    merged = folder.load(into / "model").float()
    tokens = torch.tensor([[5, 9, 2, 30]])
    with torch.no_grad():
        said = [one.mtp_logits(one.mtp_hidden(one.hidden(tokens), tokens.roll(-1, 1))) for one in (model, merged)]
    torch.testing.assert_close(*said, atol=1e-4, rtol=0)


def test_an_adapter_without_the_layer_is_read_and_one_without_another_is_not(order: Order) -> None:
    into = tuned(order, "still", rank=2, mtp=False, n_epochs=1)
    kept = load_file(into / "adapter" / "adapter_model.safetensors")
    assert not any(AHEAD in name for name in kept)
    model = folder.load(order.base).float()
    lora.load(model, into / "adapter")
    assert not any(name.startswith(AHEAD) for name, _ in lora.adapters(model))
    deeper = tiny.base(order.into / "deeper", **tiny.PREDICTING | {"num_hidden_layers": 3})
    with pytest.raises(Refused, match=r"nothing for model\.layers\.2\."):
        lora.load(folder.load(deeper).float(), into / "adapter")


@pytest.mark.parametrize("rank", [0, 4])
@pytest.mark.parametrize("changed", [{}, {"mtp": False}, {"method": "dpo"}], ids=["learning", "still", "dpo"])
def test_a_tuning_that_was_cut_off_ends_as_if_it_had_not_been(order: Order, rank: int, changed: dict[str, Any]) -> None:
    if changed.get("method") == "dpo":
        changed["training"] = tiny.lines(order.training.with_name("pairs.jsonl"), tiny.pairs())
    order = replace(order, rank=rank, n_epochs=2, **changed)
    straight = tuned(order, "straight")
    shutil.copytree(straight / "run", order.into / "cut" / "run")
    steps = sorted((order.into / "cut" / "run" / "checkpoints").iterdir())
    assert len(steps) > 1
    shutil.rmtree(steps[-1])
    assert not moved(straight / "model", tuned(order, "cut") / "model")
    if changed:
        assert not any(name.startswith(AHEAD) for name in moved(order.base, straight / "model"))


def test_a_model_without_the_layer_learns_the_same_whatever_the_order_says(order: Order, tmp_path: Path) -> None:
    order = replace(order, base=tiny.base(tmp_path / "plain"), n_epochs=2)
    files = [tuned(order, str(said), mtp=said) / "model" / "model.safetensors" for said in (True, False)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_only_examples_teach_further_tokens(order: Order) -> None:
    assert order.mtp_weight(1) == MTP_WEIGHT
    assert order.mtp_weight(0) == 0.0
    assert replace(order, mtp=False).mtp_weight(1) == 0.0
    assert replace(order, method="dpo").mtp_weight(1) == 0.0
