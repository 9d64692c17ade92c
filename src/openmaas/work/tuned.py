"""How far a fine-tuning job is, as it stands in the book: written by whoever trains, shown by the control plane."""

from __future__ import annotations

import msgspec

from openmaas.work.wanted import Mistake


class Point(msgspec.Struct, frozen=True):
    """What a step was like. ``tokens`` are those trained until then; what was measured on held-out examples stands only
    where it was."""

    step: int
    at_ms: int
    loss: float
    accuracy: float | None  # not every trainer tells it
    rate: float
    tokens: int
    valid_loss: float | None = None
    valid_accuracy: float | None = None


class Trainer(msgspec.Struct, frozen=True):
    """What trains, as its model said when the job began. ``gguf``: whether the embedded engine is to run the result;
    otherwise an adapter or a model is all that comes of it."""

    name: str
    arguments: dict[str, str | int | float | bool]
    processes: int
    gguf: bool


class Held(msgspec.Struct, frozen=True):
    """The most that the job can cost, set aside since ``at_ms`` on ``accounts``, which all pay the same."""

    accounts: tuple[str, ...]
    currency: str
    price_version: int
    nanos: int
    at_ms: int


class TuningProgress(msgspec.Struct):
    """``tokens`` and ``steps`` are of the whole job, 0 before its files were read. ``model`` is what it became,
    ``mistake`` why it failed: its ``param`` names a member of the job."""

    rank: int | None = None  # of its adapters, as the setting was when it began
    trainer: Trainer | None = None
    tokens: int = 0
    steps: int = 0
    n_epochs: int = 0
    batch_size: int = 0
    held: Held | None = None
    step: int = 0
    trained_tokens: int = 0
    points: list[Point] = []
    checkpoints: list[int] = []  # steps
    model: str | None = None
    mistake: Mistake | None = None
