"""A training run, and the walk of a step through it; read this first.

    1 rate       the schedule's factor of this step            schedules
    2 batches    this rank's micro-batches                     data
    3 loss       forward and backward, one batch at a time     loss
    4 clip       the gradient's norm over all ranks
    5 move       AdamW and Muon                                optimisers
    6 balance    the routers' biases, against the loads        balance
    7 tell       the log; now and then held-out data           log
    8 keep       a checkpoint, when one is due                 state

A run is its plan, its model, its source and its folder. Batches are pure functions of their number and checkpoints hold
all that moves, so a run that was cut off goes on, when it is called again, as if it had not been.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from openglm.data.batches import Batch
from openglm.errors import Refused
from openglm.train import state
from openglm.train.balance import forget, rebalance
from openglm.train.log import Log
from openglm.train.loss import Loss, loss_of
from openglm.train.optimisers import optimisers
from openglm.train.plan import Plan
from openglm.train.ranks import shard, summed, whole
from openglm.train.schedules import SCHEDULES, Schedule
from openglm.train.speed import fastest, flops, gemm_peak
from openglm.train.trainable import Source


class Diverged(RuntimeError):  # noqa: N818 - named for what happened, as all errors here are
    """The loss is no longer a number; says at which step, and where to go on from."""


@dataclass
class Run:
    """Everything a step needs, put together once."""

    model: Any
    source: Source
    plan: Plan
    folder: Path
    held_out: Sequence[Batch] = ()
    loss: Callable[..., Loss] = loss_of
    told: Callable[[int], dict[str, float]] = lambda _step: {}  # what the log also says after so many steps
    rank: int = 0
    size: int = 1

    def __post_init__(self) -> None:
        """Shard, if there is somebody to share with; make the optimisers; stand where the last checkpoint stands."""
        if self.plan.mtp_weight and not getattr(self.model.config, "num_nextn_predict_layers", 0):
            raise Refused(
                f"mtp_weight is {self.plan.mtp_weight}",
                hint="The model has no layer that predicts further; set it to 0.",
            )
        self.plan = replace(self.plan, dtype=self._precision_of_products())
        self.dtype = torch.bfloat16 if self.plan.dtype == "bfloat16" else torch.float32
        _shrink_embedding(self.model, self.plan.embedding_shrink)
        if self.size > 1:
            shard(self.model, self.dtype)
        self.device = next(self.model.parameters()).device
        self.optimisers = optimisers(
            self.model,
            lr=self.plan.lr,
            matrix_lr=self.plan.matrix_lr,
            weight_decay=self.plan.weight_decay,
            betas=self.plan.betas,
            dtype=self.dtype,
        )
        self.schedule = _schedule(self.plan)
        self.step = self._resume()

    def walk(self) -> None:
        """Take the steps that are left."""
        work, peak = self._speed()
        self.model.train()
        with Log(self.folder, self.plan.steps, self.step, writes=self.rank == 0) as log:
            while self.step < self.plan.steps:
                began = time.perf_counter()
                figures = self.one()
                took_s = time.perf_counter() - began
                self.step += 1
                rate, mfu = figures.pop("positions") / took_s, work * self.plan.micro_batches / took_s / peak
                log.step(self.step, **figures, **self.told(self.step), tokens_per_s=rate, mfu=mfu)
                if self._due(self.plan.evaluate_every) and self.held_out:
                    log.event(self.step, "held_out", **self.evaluate())
                if self._due(self.plan.save_every) or self.step == self.plan.steps:
                    self._save()

    def one(self) -> dict[str, float]:
        """One step, from its rate to its balance; returns what the log is told. The count of steps is the caller's."""
        factor = self.schedule(self.step)
        for group in (group for optimiser in self.optimisers for group in optimiser.param_groups):
            group["lr"] = group["peak_lr"] * factor
        batches = list(self._batches())
        (count,) = summed(torch.stack([batch.count() for batch in batches]).sum())
        losses = [self.backward(batch, count) for batch in batches]
        norm = whole(torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.clip))
        nats, right = summed(*(torch.stack(part).sum() for part in zip(*losses, strict=True)))
        loss = float(nats / count)
        if not math.isfinite(loss) or not torch.isfinite(norm):
            raise Diverged(
                f"Step {self.step + 1} has a loss of {loss} and a gradient of norm {float(norm)}. The last checkpoint "
                f"is whole: lower lr ({self.plan.lr}) or clip ({self.plan.clip}) and call the run again."
            )
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        figures = {"loss": loss, "accuracy": float(right / count), "lr": self.plan.lr * factor, "norm": float(norm)}
        if (worst := rebalance(self.model, self.plan.router_bias_rate)) is not None:
            figures["worst_load"] = worst
        return {**figures, "positions": sum(batch.tokens.numel() for batch in batches) * self.size}

    def _batches(self) -> Iterator[Batch]:
        first = self.step * self.plan.micro_batches
        for number in range(first, first + self.plan.micro_batches):
            yield self.source[number].to(self.device)

    def backward(self, batch: Batch, count: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of one micro-batch of a step that counts ``count`` positions; its nats and right guesses."""
        with self._precision():
            loss = self.loss(self.model, batch, self.plan.mtp_weight)
        (loss.total * (self.size / count.to(loss.total.dtype))).backward()  # FSDP2 takes the mean over ranks
        return loss.nats, loss.right

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Nats and accuracy at the positions of the held-out batches."""
        self.model.eval()
        found = []
        for batch in self.held_out:
            with self._precision():
                loss = self.loss(self.model, batch.to(self.device))
            found.append(torch.stack([loss.nats, loss.right, batch.count().to(loss.nats)]))
        forget(self.model)
        self.model.train()
        nats, right, count = torch.stack(found).sum(0).tolist()
        return {"loss": nats / count, "accuracy": right / count}

    def _precision(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16 and self.size == 1)

    def _precision_of_products(self) -> Literal["bfloat16", "float32"]:
        """What the plan says; "fastest" is what the run was begun with, or what rank 0 finds to be."""
        if self.plan.dtype != "fastest":
            return self.plan.dtype
        begun = self.folder / "plan.json"
        if begun.exists() and (was := Plan.read(begun).dtype) != "fastest":
            return was
        found = fastest(next(self.model.parameters()).device) if self.rank == 0 else "float32"
        (votes,) = summed(torch.tensor(float(found == "bfloat16")))
        return "bfloat16" if votes else "float32"

    def _speed(self) -> tuple[float, float]:
        """(operations of a micro-batch, operations a second of this machine's fastest product)."""
        batch = self.source[self.step * self.plan.micro_batches].to(self.device)
        work = flops(lambda: self.backward(batch, batch.count()))
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        forget(self.model)
        return work, gemm_peak(self.dtype, self.device) * self.size

    def _due(self, every: int) -> bool:
        return bool(every) and self.step % every == 0

    def _resume(self) -> int:
        plan, kept = self.folder / "plan.json", state.checkpoints(self.folder / "checkpoints")
        if kept and (other := self.plan.same_walk(Plan.read(plan))):
            raise Refused(
                f"{', '.join(other)} differ from the plan that {self.folder.name} was begun with",
                hint="Take the old values, or another folder.",
            )
        if self.rank == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.plan.write(plan)
        if not kept:
            return 0
        step, path = kept[-1]
        state.load(path, self.model, self.optimisers)
        return step

    def _save(self) -> None:
        folder = self.folder / "checkpoints"
        state.save(folder, self.step, self.model, self.optimisers, rank=self.rank, keep=self.plan.keep)


def _schedule(plan: Plan) -> Schedule:
    more = {"decay": plan.decay} if plan.schedule == "stable" else {}
    return SCHEDULES[plan.schedule](plan.steps, plan.warmup, end=plan.end, **more)


def _shrink_embedding(model: nn.Module, share: float) -> None:
    """Let only a share of the gradient reach the embedding (GLM-130B, arXiv 2210.02414 §3.3)."""
    if share == 1.0:
        return

    def shrunk(part: nn.Module, arguments: object, found: Tensor) -> Tensor:
        return found * share + found.detach() * (1 - share)

    for part in model.modules():
        if isinstance(part, nn.Embedding):
            part.register_forward_hook(shrunk)
