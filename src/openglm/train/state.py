"""Checkpoints of a run: what it takes to go on as if it had never stopped, bit for bit.

Written by ``torch.distributed.checkpoint``, so one written by four ranks is read by one, and the other way round. A
checkpoint is a folder ``step-00001000`` that gets its name when it is whole: what has that name can be read.
"""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.optim import Optimizer

from openglm.train.ranks import wait

NAME = re.compile(r"step-(\d{8})")
#: What stands still (all but the adapters, when they are what learns) is where the model came from.
MOVING = StateDictOptions(ignore_frozen_params=True, strict=False)


def checkpoints(folder: Path) -> list[tuple[int, Path]]:
    """(step, folder) of every whole checkpoint, oldest first."""
    found = ((NAME.fullmatch(path.name), path) for path in folder.glob("step-*"))
    return sorted((int(match[1]), path) for match, path in found if match)


def save(folder: Path, step: int, model: nn.Module, optimisers: list[Optimizer], *, rank: int, keep: int) -> Path:
    """Write the state after ``step`` steps; every rank calls this. Older ones than the last ``keep`` go."""
    path = folder / f"step-{step:08d}"
    partial = path.with_suffix(".partial")
    if rank == 0:
        shutil.rmtree(partial, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
    wait()
    with _quietly():
        dcp.save(_state(model, optimisers), checkpoint_id=partial)
    wait()
    if rank == 0:
        shutil.rmtree(path, ignore_errors=True)
        partial.rename(path)
        for _, old in checkpoints(folder)[:-keep]:
            shutil.rmtree(old)
    wait()
    return path


def load(path: Path, model: nn.Module, optimisers: list[Optimizer]) -> None:
    """Read into a model and optimisers that were made as they were for ``save``; every rank calls this."""
    state = _state(model, optimisers)
    with _quietly():
        dcp.load(state, checkpoint_id=path)
    told = {"model_state_dict": state["model"], "optim_state_dict": state["optimisers"]}
    set_state_dict(model, optimisers, **told, options=MOVING)


@contextmanager
def _quietly() -> Iterator[None]:
    """One process by itself is meant, so torch need not wonder."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled, unavailable or uninitialized")
        yield


def _state(model: nn.Module, optimisers: list[Optimizer]) -> dict[str, Any]:
    weights, moments = get_state_dict(model, optimisers, options=MOVING)
    return {"model": weights, "optimisers": moments}
