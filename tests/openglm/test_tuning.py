"""Tuning: a model learns what it is shown and nothing else, goes on where it was cut off, prefers what it should."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import tiny_tuning as tiny
from openglm.chat.render import template
from openglm.checkpoint import folder
from openglm.data.tokenizer import Tokenizer
from openglm.errors import Refused
from openglm.train.log import read
from openglm.train.loss import loss_of
from openglm.tune import lora
from openglm.tune.examples import Reader
from openglm.tune.lessons import Lessons, units_of
from openglm.tune.order import Order
from openglm.tune.preference import Pairs, Preference, log_probabilities, reference_of
from openglm.tune.tuning import Failed, Tuning


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def reader(base: Path) -> Reader:
    return Reader(Tokenizer.load(base / "tokenizer.json"), "glm-4.7", 1024)


@pytest.fixture
def order(tmp_path: Path, base: Path) -> Order:
    training = tiny.lines(tmp_path / "chats.jsonl", tiny.chats())
    told = {"learning_rate_multiplier": 20, "n_epochs": 20, "batch_size": 3, "gguf": False, "threads": 1}
    return Order(base=base, training=training, into=tmp_path / "out", **told)


def learned(reader: Reader, row: Any) -> str:
    return reader.tokenizer.decode(row.targets[row.weights > 0].tolist())


def answered(where: Path, question: str) -> str:
    """What the model in a folder says, always the likeliest."""
    model, words = folder.load(where), Tokenizer.load(where / "tokenizer.json")
    tokens = words.encode(f"[gMASK]<sop><|user|>{question}<|assistant|></think>", marks=True)
    begun = len(tokens)
    with torch.no_grad():
        while len(tokens) < begun + 12:
            tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
            if words.decode(tokens[-1:]) == "<|user|>":
                break
    return words.decode(tokens[begun:])


# ── examples ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_loss_stands_at_the_answers_alone(reader: Reader, tmp_path: Path) -> None:
    (row,) = reader.rows(tiny.lines(tmp_path / "a.jsonl", [tiny.chat("What is red?", "apple")]), "supervised")
    assert learned(reader, row) == "apple<|user|>"
    assert reader.tokenizer.decode(row.tokens.tolist()) == "[gMASK]<sop><|user|>What is red?<|assistant|></think>apple"
    assert np.array_equal(row.tokens[1:], row.targets[:-1])


def test_every_answer_is_a_lesson_and_one_of_weight_0_is_none(reader: Reader, tmp_path: Path) -> None:
    first, second = tiny.chat("a?", "one", weight=0)["messages"], tiny.chat("b?", "two")["messages"]
    told = [{"messages": first + second}, {"messages": [*second, *second]}]
    rows = reader.rows(tiny.lines(tmp_path / "a.jsonl", told), "supervised")
    assert [learned(reader, row) for row in rows] == ["two<|user|>"] * 3
    assert "one" in reader.tokenizer.decode(rows[0].tokens.tolist())


def test_calls_come_with_arguments_as_json_in_a_string(reader: Reader, tmp_path: Path) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "now", "arguments": '{"zone": "UTC", "n": 2}'}}
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "12:00"},
        {"role": "assistant", "content": "noon"},
    ]
    tools = [{"type": "function", "function": {"name": "now", "parameters": {}}}]
    path = tiny.lines(tmp_path / "a.jsonl", [{"messages": messages, "tools": tools}])
    called, said = reader.rows(path, "supervised")
    expected = "<tool_call>now<arg_key>zone</arg_key><arg_value>UTC</arg_value><arg_key>n</arg_key><arg_value>2"
    assert learned(reader, called) == expected + "</arg_value></tool_call><|observation|>"
    assert learned(reader, said) == "noon<|user|>"
    assert "<|system|>Be brief." in reader.tokenizer.decode(said.tokens.tolist())


def test_both_answers_of_a_pair_follow_the_same_prompt(reader: Reader, tmp_path: Path) -> None:
    better, worse = reader.rows(tiny.lines(tmp_path / "a.jsonl", [tiny.pair("What is red?", "apple", "sky")]), "dpo")
    assert (learned(reader, better), learned(reader, worse)) == ("apple<|user|>", "sky<|user|>")
    prompts = [row.tokens[: int(row.weights.argmax()) + 1].tolist() for row in (better, worse)]
    assert prompts[0] == prompts[1]


def test_wrong_and_too_long_lines_are_named(reader: Reader, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        "\n".join(
            [
                json.dumps(tiny.chat("What is red?", "apple")),
                json.dumps(tiny.chat("x" * 1200, "apple")),
                "{",
                json.dumps({"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": "[]"}}]}]}),
            ]
        )
    )
    named = r"line 2: it has \d+ tokens, and the model reads 1024; line 3: .*; line 4: "
    with pytest.raises(Refused, match=named) as told:
        reader.rows(path, "supervised")
    assert "line 1" not in str(told.value)


def test_a_checkpoint_of_glm_4_0414_is_tuned_as_it_speaks(order: Order, tmp_path: Path) -> None:
    """Its template stands in tokenizer_config.json, as in the published one, and is another text than ours."""
    spoken = tmp_path / "spoken"
    shutil.copytree(order.base, spoken)
    told = {"chat_template": "{#- another text -#}" + template("glm-4-0414")}
    (spoken / "tokenizer_config.json").write_text(json.dumps(told))
    call = {"type": "function", "function": {"name": "now", "arguments": '{"zone": "UTC"}'}}
    tools = [{"type": "function", "function": {"name": "now", "parameters": {}}}]
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    training = tiny.lines(tmp_path / "calls.jsonl", [{"messages": messages, "tools": tools}])
    order = replace(order, base=spoken, training=training, n_epochs=1)
    tuning = Tuning(order)
    ((row,),) = tuning.lessons.units
    assert learned(tuning.reader, row) == 'now\n{"zone": "UTC"}<|observation|>'
    assert "## now" in tuning.reader.tokenizer.decode(row.tokens.tolist())
    tuning.walk()
    assert (order.into / "model" / "chat_template.jinja").read_text().endswith(template("glm-4-0414"))
    (spoken / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages[0].content }}"}))
    with pytest.raises(Failed, match="the chat template of spoken writes as none of glm-4, ") as failed:
        Tuning(order)
    assert failed.value.field == "model"


# ── the order of lessons ──────────────────────────────────────────────────────────────────────────────────────────
def lessons_of(reader: Reader, tmp_path: Path, **told: Any) -> Lessons:
    rows = reader.rows(tiny.lines(tmp_path / "a.jsonl", tiny.chats()), "supervised")
    return Lessons(units_of(rows, 1), **{"epochs": 3, "batch": 4, "seed": 5, "pad": 0, **told})


def test_a_batch_is_a_function_of_its_number_and_each_epoch_has_every_row_once(reader: Reader, tmp_path: Path) -> None:
    one, other = lessons_of(reader, tmp_path), lessons_of(reader, tmp_path)
    assert one.steps == 5  # 18 rows, 4 at a time
    straight = [one[number] for number in range(one.steps * one.micro_batches)]
    assert torch.equal(other[4].tokens, straight[4].tokens)  # nothing before it was asked for
    seen = [tuple(row.tolist()) for batch in straight for row in batch.targets * (batch.weights > 0)]
    assert [len({seen[at] for at in range(epoch, epoch + 6)}) for epoch in (0, 6, 12)] == [6, 6, 6]
    assert seen[:6] != seen[6:12]


def test_tokens_are_counted_through_the_steps_and_end_at_what_was_told(reader: Reader, tmp_path: Path) -> None:
    lessons = lessons_of(reader, tmp_path)
    counted = [lessons.tokens_after(step) for step in range(lessons.steps + 1)]
    assert counted == sorted(set(counted))
    assert (counted[0], counted[-1]) == (0, lessons.tokens)
    assert lessons.tokens == 3 * sum(len(row.tokens) + 1 for (row,) in lessons.units)
    units = [int(unit) for unit in np.random.default_rng([5, 0]).permutation(6)[:4]]
    assert counted[1] == sum(len(lessons.units[unit][0].tokens) + 1 for unit in units)


# ── what is learned ───────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("rank", [0, 8])
def test_a_few_examples_are_learned_by_heart_and_the_folder_says_them(order: Order, rank: int) -> None:
    """With adapters: by a model that had learned other answers; one that knows nothing has nothing to adapt."""
    order = replace(order, learning_rate_multiplier=60, n_epochs=40)
    if rank:
        wrong = tiny.lines(order.training.with_name("wrong.jsonl"), tiny.chats(1))
        first = replace(order, into=order.into.with_name("first"), training=wrong)
        Tuning(first).walk()
        order = replace(order, base=first.into / "model", rank=rank, learning_rate_multiplier=8)
    Tuning(order).walk()
    assert read(order.into / "run" / "log.jsonl")[-1]["loss"] < 0.1
    for colour, thing in tiny.QUESTIONS.items():
        assert answered(order.into / "model", f"What is {colour}?") == f"{thing}<|user|>"
    assert (order.into / "adapter").exists() == bool(rank)


def test_only_adapters_move_and_they_are_what_is_saved(order: Order) -> None:
    order = replace(order, rank=4, n_epochs=1)
    Tuning(order).walk()
    before, after = folder.load(order.base), folder.load(order.into / "model")
    moved = {
        name.removesuffix(".weight").rpartition(".")[2]
        for name, weight in before.state_dict().items()
        if not torch.equal(weight, after.state_dict()[name])
    }
    assert moved
    assert moved <= set(lora.TARGETS)
    adapted = folder.load(order.base).float()
    lora.load(adapted, order.into / "adapter")
    tokens = torch.tensor([[5, 9, 2, 30]])
    torch.testing.assert_close(adapted(tokens), after.float()(tokens), atol=1e-4, rtol=0)
    kept = load_file(order.into / "adapter" / "adapter_model.safetensors")
    assert all(".lora_" in name for name in kept)


def test_checkpoints_of_adapters_leave_out_what_stands_still(order: Order) -> None:
    Tuning(replace(order, rank=1, n_epochs=1)).walk()
    (last, *_) = sorted((order.into / "run" / "checkpoints").iterdir(), reverse=True)
    size = sum(path.stat().st_size for path in last.rglob("*") if path.is_file())
    assert size < (order.base / "model.safetensors").stat().st_size


@pytest.mark.parametrize("rank", [0, 4])
@pytest.mark.parametrize("method", ["supervised", "dpo"])
def test_a_tuning_that_was_cut_off_ends_as_if_it_had_not_been(order: Order, rank: int, method: Any) -> None:
    told = tiny.chats() if method == "supervised" else tiny.pairs()
    training = tiny.lines(order.training.with_name("told.jsonl"), told)
    order = replace(order, rank=rank, method=method, n_epochs=4, training=training, validation=training)
    Tuning(order).walk()
    cut = order.into.with_name("cut")
    shutil.copytree(order.into / "run", cut / "run")
    steps = sorted((cut / "run" / "checkpoints").iterdir())
    assert len(steps) > 1
    shutil.rmtree(steps[-1])
    Tuning(replace(order, into=cut)).walk()
    straight, resumed = folder.load(order.into / "model"), folder.load(cut / "model")
    for name, weight in straight.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name
    lines = [
        [{k: v for k, v in line.items() if k not in ("tokens_per_s", "mfu")} for line in read(where / "run/log.jsonl")]
        for where in (order.into, cut)
    ]
    assert lines[0] == lines[1]


def test_what_is_done_is_not_done_again(order: Order) -> None:
    Tuning(replace(order, n_epochs=1)).walk()
    before = (order.into / "done.json").stat().st_mtime_ns
    Tuning(replace(order, n_epochs=1)).walk()
    assert (order.into / "done.json").stat().st_mtime_ns == before


# ── preferences ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_preferred_answer_gains_on_the_other(order: Order) -> None:
    training = tiny.lines(order.training.with_name("pairs.jsonl"), tiny.pairs())
    order = replace(order, method="dpo", training=training, n_epochs=15)
    tuning = Tuning(order)
    tuning.walk()
    batches = tuning.lessons.all_of()
    assert not isinstance(Lessons(tuning.lessons.units, 1, 2, 0, 0)[0], Pairs)

    def gap(where: Path) -> torch.Tensor:
        found = reference_of(folder.load(where).float(), batches)
        return found[:, 0] - found[:, 1]

    assert (gap(order.into / "model") > gap(order.base) + 1).all()
    assert read(order.into / "run" / "log.jsonl")[-1]["accuracy"] == 1.0


def test_the_loss_of_pairs_is_the_definition_and_begins_at_log_2(base: Path, reader: Reader, tmp_path: Path) -> None:
    rows = reader.rows(tiny.lines(tmp_path / "a.jsonl", tiny.pairs()), "dpo")
    lessons, model = Lessons(units_of(rows, 2), 1, 3, 0, 0), folder.load(base).float()
    lessons.reference = reference_of(model, lessons.all_of())
    batch = lessons[0]
    assert isinstance(batch, Pairs)
    assert float(batch.count()) == 3
    with torch.no_grad():
        assert float(Preference(0.3)(model, batch).total) / 3 == pytest.approx(np.log(2), rel=1e-5)
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(3)))
        logp = log_probabilities(model, batch)
        expected = 0.0
        for number in range(3):
            gained = [float(logp[number + 3 * worse] - batch.reference[number, worse]) for worse in (0, 1)]
            expected += float(np.log1p(np.exp(-0.3 * (gained[0] - gained[1]))))
        assert float(Preference(0.3)(model, batch).total) == pytest.approx(expected, rel=1e-4)
        row = batch.tokens[:1], batch.targets[0], batch.weights[0] > 0
        alone = model(row[0])[0].log_softmax(-1).gather(1, row[1][:, None])[:, 0][row[2]].sum()
        assert float(logp[0]) == pytest.approx(float(alone), rel=1e-4)


def test_padding_and_prompts_teach_nothing(base: Path, reader: Reader, tmp_path: Path) -> None:
    told = [tiny.chat("What is red?", "apple"), tiny.chat("What is yellow? And why is it so?", "sun")]
    rows = reader.rows(tiny.lines(tmp_path / "a.jsonl", told), "supervised")
    model = folder.load(base).float()
    together = Lessons(units_of(rows, 1), 1, 2, 0, 0)[0]
    loss_of(model, together).total.backward()
    gradient = model.head.weight.grad.clone()
    model.zero_grad()
    for (row,) in units_of(rows, 1):
        loss_of(model, Lessons([(row,)], 1, 1, 0, 0)[0]).total.backward()
    torch.testing.assert_close(model.head.weight.grad, gradient, atol=1e-5, rtol=1e-4)


# ── the process ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_orders_are_read_strictly(base: Path) -> None:
    with pytest.raises(Refused, match="learning_rate"):
        Order.read(json.dumps({"base": str(base), "training": "a", "into": "b", "learning_rate": 1}))
    with pytest.raises(Refused, match="batch_size is 0"):
        Order.read(json.dumps({"base": str(base), "training": "a", "into": "b", "batch_size": 0}))


def test_what_cannot_be_done_names_the_member(order: Order, tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    for changed, field in (
        ({"training": empty}, "training_file"),
        ({"validation": empty}, "validation_file"),
        ({"base": tmp_path}, "model"),
    ):
        with pytest.raises(Failed) as told:
            Tuning(replace(order, **changed))
        assert told.value.field == field


def test_the_process_leaves_with_its_parent_and_goes_on_when_it_is_asked_again(order: Order) -> None:
    order = replace(order, n_epochs=2000, batch_size=1)
    told = {name: getattr(order, name) for name in ("base", "training", "into", "n_epochs", "batch_size", "gguf")}
    line = json.dumps({**told, "threads": 1}, default=str)
    log = order.into / "run" / "log.jsonl"

    def begun(steps: int) -> None:
        process = subprocess.Popen([sys.executable, "-m", "openglm.tune", "run", "-"], stdin=subprocess.PIPE, text=True)
        assert process.stdin is not None
        process.stdin.write(line + "\ngo\n")
        process.stdin.flush()
        while not (found := read(log)) or found[-1]["step"] < steps:
            assert process.poll() is None
            time.sleep(0.05)
        process.stdin.close()
        assert process.wait(30) == -signal.SIGTERM

    begun(60)
    reached = read(log)[-1]["step"]
    begun(reached + 60)
    assert not (order.into / "done.json").exists()


def test_a_model_that_learned_from_no_thought_is_asked_for_none_and_one_that_thinks_goes_on_thinking(
    order: Order, tmp_path: Path
) -> None:
    def template(name: str, told: list[Any], **changed: Any) -> tuple[Path, bool]:
        into = tmp_path / name
        training = tiny.lines(tmp_path / f"{name}.jsonl", told)
        Tuning(replace(order, into=into, training=training, n_epochs=1, **changed)).walk()
        text = (into / "model" / "chat_template.jinja").read_text()
        return into / "model", "enable_thinking = false" in text.partition("\n")[0]

    quiet, silent = template("quiet", tiny.chats())
    assert silent
    thinks, silent = template("thinks", [tiny.chat("What is red?", "apple", reasoning_content="a fruit")])
    assert not silent
    assert template("a", tiny.pairs(), method="dpo", base=quiet)[1]
    assert not template("b", tiny.pairs(), method="dpo", base=thinks)[1]
    assert template("c", tiny.chats(), base=thinks)[1]
    assert template("d", tiny.pairs(), method="dpo")[1]  # a base model has no template of its own
