"""Training: it learns, it goes on as if never cut off, and several ranks take the steps of one."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny_glm as tiny
from openglm.errors import Refused
from openglm.parts.experts import SigmoidRouter
from openglm.train.log import Log, read
from openglm.train.loop import Diverged, Run
from openglm.train.loss import loss_of
from openglm.train.plan import Plan

PLAN = Plan(steps=8, warmup=2, lr=1e-2, matrix_lr=1e-2, dtype="float32", save_every=4)
ADAM = replace(PLAN, matrix_lr=None)
FURTHER = replace(PLAN, mtp_weight=0.3)
MUON_ATOL = 1e-2  # it iterates in bf16, where the last digit of a sum turns a bit
TIMES = ("tokens_per_s", "mfu")


def told(name: str) -> Callable[[str], str]:
    return lambda difference: f"{name}: {difference}"


def trained(folder: Path, plan: Plan, model: Any, source: Any) -> Run:
    run = Run(model, source, plan, folder)
    run.walk()
    return run


def weights(run: Run) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in run.model.state_dict().items()}


@pytest.mark.parametrize(
    ("make", "dtype"), [(tiny.dense, "float32"), (tiny.dense, "bfloat16"), (tiny.sparse, "float32")]
)
def test_one_batch_is_learned_by_heart(tmp_path: Path, make: Any, dtype: Any) -> None:
    plan = Plan(steps=80, warmup=5, lr=2e-2, matrix_lr=2e-2, weight_decay=0.0, dtype=dtype)
    run = trained(tmp_path, plan, make(), tiny.Same(tiny.Counting()))
    last = read(tmp_path / "log.jsonl")[-1]
    assert last["step"] == 80
    assert last["loss"] < 0.1
    assert last["accuracy"] > 0.97
    assert run.step == 80


def test_a_run_that_was_cut_off_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    plan = replace(FURTHER, micro_batches=2)
    straight = trained(tmp_path / "straight", plan, tiny.sparse(), tiny.Counting())

    cut = tmp_path / "cut"
    shutil.copytree(tmp_path / "straight", cut)
    shutil.rmtree(cut / "checkpoints" / "step-00000008")
    (cut / "checkpoints" / "step-00000006.partial").mkdir()  # what a kill in the middle of saving leaves
    resumed = Run(tiny.sparse(seed=2), tiny.Counting(), plan, cut)
    assert resumed.step == 4
    resumed.walk()

    ours, theirs = weights(resumed), weights(straight)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    told = [
        [{key: value for key, value in line.items() if key not in TIMES} for line in read(folder / "log.jsonl")]
        for folder in (tmp_path / "straight", cut)
    ]
    assert told[0] == told[1]


def test_many_small_batches_are_one_large_one(tmp_path: Path) -> None:
    large = trained(tmp_path / "a", ADAM, tiny.dense(), tiny.Counting(rows=6))
    small = trained(tmp_path / "b", replace(ADAM, micro_batches=3), tiny.dense(), tiny.Counting(rows=2))
    for name, weight in weights(large).items():
        torch.testing.assert_close(
            weights(small)[name], weight, atol=5e-4, rtol=0, msg=lambda told, name=name: f"{name}: {told}"
        )


RANKS = """
import sys, torch, tiny_glm as tiny
from pathlib import Path
from dataclasses import replace
from openglm.train.loop import Run
from openglm.train.plan import Plan
from openglm.train.ranks import ranks
torch.set_num_threads(1)
folder, make, steps = Path(sys.argv[1]), getattr(tiny, sys.argv[2]), int(sys.argv[3])
with ranks() as (rank, size):
    source = tiny.Counting(rows=2, rank=rank, world=size, ragged=1)
    run = Run(make(), source, Plan.read(folder / "asked.json"), folder, rank=rank, size=size)
    run.walk()
"""


@pytest.mark.alone
@pytest.mark.parametrize("make", ["dense", "sparse"])
def test_two_ranks_take_the_steps_of_one_and_their_checkpoint_is_read_by_one(tmp_path: Path, make: str) -> None:
    plan, atol = (ADAM, 5e-4) if make == "dense" else (FURTHER, MUON_ATOL)
    alone = trained(tmp_path / "alone", plan, getattr(tiny, make)(), tiny.Counting(rows=4, ragged=1))
    shared = tmp_path / "shared"
    shared.mkdir()
    plan.write(shared / "asked.json")
    script = tmp_path / "ranks.py"
    script.write_text(RANKS)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    # One rank in ten aborts while its interpreter ends (gloo); a run goes on, so one starts it again.
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=2"]
    command = [*torchrun, script, shared, make, "8"]
    found = subprocess.run(command, env=environment, capture_output=True, timeout=100, check=False)
    assert found.returncode == 0, found.stderr.decode()[-3000:]
    both = Run(getattr(tiny, make)(seed=2), tiny.Counting(rows=4), plan, shared)
    assert both.step == 8
    for name, weight in weights(alone).items():
        torch.testing.assert_close(
            weights(both)[name], weight, atol=atol, rtol=0, msg=lambda told, name=name: f"{name}: {told}"
        )
    losses = [[line["loss"] for line in read(folder / "log.jsonl")] for folder in (tmp_path / "alone", shared)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_another_plan_does_not_go_on_from_this_ones_checkpoints(tmp_path: Path) -> None:
    trained(tmp_path, PLAN, tiny.dense(), tiny.Counting())
    with pytest.raises(Refused, match=r"lr, steps differ"):
        Run(tiny.dense(), tiny.Counting(), replace(PLAN, lr=0.1, steps=9), tmp_path)
    assert Run(tiny.dense(), tiny.Counting(), replace(PLAN, save_every=1), tmp_path).step == 8


def test_a_model_without_layers_that_predict_further_cannot_be_trained_to(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"mtp_weight is 0\.3"):
        Run(tiny.dense(), tiny.Counting(), FURTHER, tmp_path)


def test_only_the_last_checkpoints_stay(tmp_path: Path) -> None:
    trained(tmp_path, replace(PLAN, save_every=2, keep=2), tiny.dense(), tiny.Counting())
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-00000006", "step-00000008"]


def test_a_loss_that_is_no_number_stops_the_run_and_says_where(tmp_path: Path) -> None:
    model = tiny.dense()
    with torch.no_grad():
        model.embedding.weight[3] = float("nan")
    with pytest.raises(Diverged, match=r"has a loss of nan"):
        trained(tmp_path, PLAN, model, tiny.Counting())


def test_held_out_batches_are_judged_without_moving_anything(tmp_path: Path) -> None:
    run = Run(tiny.sparse(), tiny.Counting(), PLAN, tmp_path, held_out=[tiny.Counting()[100], tiny.Counting()[101]])
    before = weights(run)
    found = run.evaluate()
    assert 3 < found["loss"] < 6
    assert all(torch.equal(weight, before[name]) for name, weight in weights(run).items())
    routers = [part for part in run.model.modules() if isinstance(part, SigmoidRouter)]
    assert [float(router.load.sum()) for router in routers] == [0.0, 0.0]


def test_a_share_of_the_gradient_reaches_the_embedding(tmp_path: Path) -> None:
    norms = {}
    for share in (1.0, 0.1):
        run = Run(tiny.dense(), tiny.Counting(), replace(PLAN, embedding_shrink=share), tmp_path / str(share))
        loss_of(run.model, tiny.Counting()[0]).total.backward()
        norms[share] = float(run.model.embedding.weight.grad.norm())
    assert norms[0.1] == pytest.approx(0.1 * norms[1.0], rel=1e-3)


def test_what_predicts_further_learns_the_token_after_next() -> None:
    batch, model = tiny.Counting()[0], tiny.sparse()
    plain, further = loss_of(model, batch), loss_of(model, batch, 0.5)
    assert further.nats == plain.nats
    hidden = model.hidden(batch.tokens, batch.positions, batch.mask())
    logits = model.mtp_logits(model.mtp_hidden(hidden, batch.targets))
    logp = logits.detach().log_softmax(-1)
    expected = 0.0
    for row in range(len(batch.tokens)):
        length = int(batch.weights[row].sum())
        for at in range(length - 1):
            expected -= float(logp[row, at, batch.targets[row, at + 1]])
    assert float((further.total - plain.total).detach()) == pytest.approx(0.5 * expected, rel=1e-4)


def test_a_spike_is_told_and_what_comes_after_it_is_not(tmp_path: Path) -> None:
    screen = io.StringIO()
    with Log(tmp_path, 200, 0, screen) as log:
        for step in range(1, 121):
            log.step(step, loss=9.0 if step == 100 else 2.0 + 0.01 * (step % 5))
    assert [line["step"] for line in read(tmp_path / "log.jsonl") if "spike" in line] == [100]
    assert "a spike" in screen.getvalue()


def test_a_log_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps({"step": 1, "loss": 2.0}) + '\n{"step": 2, "lo')
    assert [line["step"] for line in read(path)] == [1]
    with Log(tmp_path, 5, 1, io.StringIO()):
        pass
    assert path.read_text() == '{"step": 1, "loss": 2.0}\n'


@pytest.mark.parametrize(
    ("wrong", "field"),
    [({"steps": 0}, "steps"), ({"warmup": 8}, "warmup"), ({"schedule": "stable"}, "decay"), ({"lr": 0.0}, "lr")],
)
def test_a_plan_that_cannot_be_meant_is_refused_by_its_field(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(Refused, match=rf"^{field} is"):
        replace(PLAN, **wrong)
