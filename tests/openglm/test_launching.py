"""Trainers of somebody else's: told what the job says, heard as our own is, stopped with all that they started.

The logs in ``trainer_logs`` were written by ms-swift 4.6.0 and LLaMA-Factory 0.9.5 (transformers 4.57.6) on a model of
this size and the examples of ``tiny_tuning``, five steps each; of the paths in them the job's own folder was cut off.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast

import tiny_tuning as tiny
from openglm.checkpoint import folder
from openglm.data.tokenizer import Tokenizer
from openglm.train.log import read
from openglm.tune.examples import Method, Reader
from openglm.tune.launch.run import CutOff
from openglm.tune.launch.trainers import TRAINERS
from openglm.tune.order import Order
from openglm.tune.tuning import Failed, Tuning

LOGS = Path(__file__).with_name("trainer_logs")
REPLAY = Path(__file__).parents[1] / "trainer_replay.py"
METHODS: tuple[Method, ...] = ("supervised", "dpo")
EACH = [(trainer, method) for trainer in TRAINERS for method in METHODS]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tiny.base(tmp_path_factory.mktemp("base") / "tiny")
    marks = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    (where / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **marks}))
    config = json.loads((where / "config.json").read_text())
    (where / "config.json").write_text(json.dumps(config | {"pad_token_id": 292, "eos_token_id": 292}))
    return where


def order(base: Path, into: Path, trainer: str, method: Method, **more: Any) -> Order:
    told = tiny.chats() if method == "supervised" else tiny.pairs()
    training = tiny.lines(into.with_suffix(".jsonl"), told)
    numbers: dict[str, Any] = {"rank": 4, "n_epochs": 5, "batch_size": 6, "gguf": False, "threads": 1}
    command = (sys.executable, str(REPLAY), str(LOGS / f"{trainer}-{method}.jsonl"))
    files = {"base": base, "training": training, "validation": training, "into": into}
    return Order(**files, method=method, trainer=trainer, command=command, **(numbers | more))


@pytest.mark.parametrize(("trainer", "method"), EACH)
def test_a_launched_training_is_told_of_as_our_own(base: Path, tmp_path: Path, trainer: str, method: Method) -> None:
    told = order(base, tmp_path / "out", trainer, method)
    Tuning(told).walk()
    lines = read(told.into / "run" / "log.jsonl")
    steps = [line for line in lines if "event" not in line]
    held_out = [line for line in lines if line.get("event") == "held_out"]
    assert [line["step"] for line in steps] == [1, 2, 3, 4, 5]
    assert {line["step"] for line in held_out} == {1, 2, 3, 4, 5}
    assert steps[-1]["loss"] < steps[0]["loss"]
    assert all(line["lr"] >= 0 for line in steps)
    tokens = json.loads((told.into / "counted.json").read_text())["tokens"]
    assert [line["trained_tokens"] for line in steps] == [tokens * step // 5 for step in (1, 2, 3, 4, 5)]
    knows = (trainer, method) != ("llama-factory", "supervised")
    assert all(("accuracy" in line) == knows for line in steps)
    assert sorted(path.name for path in (told.into / "run" / "checkpoints").iterdir())[-1] == "step-00000005"
    assert json.loads((told.into / "done.json").read_text())["adapter"] == "adapter"
    assert (told.into / "adapter" / "adapter_model.safetensors").exists()
    assert "gMASK" in (told.into / "adapter" / "chat_template.jinja").read_text()


@pytest.mark.parametrize("trainer", TRAINERS)
def test_an_adapter_of_the_last_step_becomes_part_of_a_model_that_llama_cpp_reads(
    base: Path, tmp_path: Path, trainer: str
) -> None:
    told = order(base, tmp_path / "out", trainer, "supervised", gguf=True)
    Tuning(told).walk()
    before, after = (load_file(where / "model.safetensors") for where in (base, told.into / "model"))
    moved = {name for name in before if not before[name].equal(after[name])}
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in moved} == {"q_proj", "v_proj"}
    name = min(moved)
    grown = after[name] - before[name]  # alpha / rank * rank * 0.01 * 0.05, as the stand-in wrote it at step 5
    assert grown.mean().item() == pytest.approx(2 * 4 * 0.01 * 0.05, rel=1e-3)
    assert (told.into / "model.gguf").exists()


def test_a_whole_model_is_taken_as_it_is(base: Path, tmp_path: Path) -> None:
    told = order(base, tmp_path / "out", "ms-swift", "supervised", rank=0)
    Tuning(told).walk()
    folder.load(told.into / "model")
    assert Tokenizer.load(told.into / "model" / "tokenizer.json").encode("red")


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_trainer_that_left_too_soon_goes_on_from_its_last_checkpoint(
    base: Path, tmp_path: Path, trainer: str
) -> None:
    told = order(base, tmp_path / "out", trainer, "supervised", arguments={"breaks_at": 3})
    with pytest.raises(CutOff, match="status 1 after step 3 of 5"):
        Tuning(told).walk()
    Tuning(told).walk()
    config = json.loads((told.into / "run" / "trainer.yaml").read_text())
    assert config.get("resume_from_checkpoint", "checkpoint-3").endswith("checkpoint-3")
    steps = [line["step"] for line in read(told.into / "run" / "log.jsonl") if "event" not in line]
    assert steps == [1, 2, 3, 4, 5]


def test_who_is_told_to_end_ends_all_that_the_trainer_started(base: Path, tmp_path: Path) -> None:
    told = order(base, tmp_path / "out", "ms-swift", "supervised", arguments={"pace_s": 60})
    fields = {"base": str(told.base), "training": str(told.training), "into": str(told.into)}
    sent = {
        **fields,
        "rank": 4,
        "gguf": False,
        "trainer": "ms-swift",
        "command": told.command,
        "arguments": {"pace_s": 60},
    }
    process = subprocess.Popen([sys.executable, "-m", "openglm.tune", "run", "-"], stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(json.dumps(sent).encode() + b"\ngo\n")
    process.stdin.flush()
    deadline = time.monotonic() + 120
    while not read(told.into / "run" / "log.jsonl"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    child = int((told.into / "run" / "trainer" / "pids").read_text())
    assert alive(child)
    process.stdin.close()  # who gave the order is gone
    assert process.wait(60) == 128 + signal.SIGTERM
    while alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("trainer", TRAINERS)
def test_what_the_job_says_is_no_option_and_a_command_that_is_not_there_is_named(
    base: Path, tmp_path: Path, trainer: str
) -> None:
    told = order(base, tmp_path / "out", trainer, "supervised")
    with pytest.raises(Failed, match="arguments has num_train_epochs, output_dir") as failed:
        Tuning(replace(told, arguments={"output_dir": "/", "num_train_epochs": 1})).walk()
    assert failed.value.field == "model"
    with pytest.raises(Failed, match="no-such-trainer cannot be started"):
        Tuning(replace(told, command=("no-such-trainer",))).walk()


def test_processes_share_a_batch(base: Path, tmp_path: Path) -> None:
    told = order(base, tmp_path / "out", "llama-factory", "supervised", processes=4, batch_size=3)
    work = Tuning(told).work
    assert work is not None
    counted = json.loads((told.into / "counted.json").read_text())
    assert (work.accumulated, counted["batch_size"], counted["steps"]) == (1, 4, 10)  # 6 rows, 4 at a time, 5 times


@pytest.mark.parametrize("method", METHODS)
def test_a_trainer_s_own_tokenizer_reads_rendered_examples_as_they_were_counted(
    base: Path, tmp_path: Path, method: Method
) -> None:
    path = order(base, tmp_path / "out", "ms-swift", method).training
    reader = Reader(Tokenizer.load(base / "tokenizer.json"), "glm-4.7", 1024)
    theirs = PreTrainedTokenizerFast.from_pretrained(base)
    read = []
    for prompt, *answers in reader.texts(path, method):
        read += [[*theirs.encode(prompt), *theirs.encode(answer)] for answer in answers]
    assert read == [[*row.tokens.tolist(), int(row.targets[-1])] for row in reader.rows(path, method)]


def test_a_pair_of_which_one_answer_thinks_parts_before_the_thought(base: Path, tmp_path: Path) -> None:
    pair = tiny.pair("What is red?", "apple", "sky")
    pair["preferred_output"][0]["reasoning_content"] = "Fruit."
    reader = Reader(Tokenizer.load(base / "tokenizer.json"), "glm-4.7", 1024)
    ((prompt, better, worse),) = reader.texts(tiny.lines(tmp_path / "a.jsonl", [pair]), "dpo")
    assert prompt == "[gMASK]<sop><|user|>What is red?<|assistant|>"
    assert better.startswith("<think>Fruit.</think>")
    assert worse == "</think>sky<|user|>"
    reader = Reader(reader.tokenizer, "glm-z1", 1024)  # where one prompt begins as the other ends
    ((prompt, better, worse),) = reader.texts(tiny.lines(tmp_path / "b.jsonl", [pair]), "dpo")
    assert prompt == "[gMASK]<sop><|user|>\nWhat is red?<|assistant|>\n<think>"
    assert better == "Fruit.</think>\napple<|user|>"
    assert worse == "</think>\nsky<|user|>"


@pytest.mark.parametrize(("trainer", "method"), EACH)
def test_the_real_one_trains_where_it_is_installed(base: Path, tmp_path: Path, trainer: str, method: Method) -> None:
    command = TRAINERS[trainer].COMMAND
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    told = replace(order(base, tmp_path / "out", trainer, method, gguf=True), command=command)
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    Tuning(told).walk()
    steps = [line for line in read(told.into / "run" / "log.jsonl") if "event" not in line]
    assert [line["step"] for line in steps] == [1, 2, 3, 4, 5]
    assert steps[-1]["loss"] < steps[0]["loss"]
    assert (told.into / "model.gguf").exists()
