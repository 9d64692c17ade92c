"""How a fine-tuning job, its events and its checkpoints look: in the shapes of OpenAI, and of Zhipu where they differ.

Nothing is remembered for them: all is told from what was wanted and from how far the job is.

https://platform.openai.com/docs/api-reference/fine-tuning/object · https://docs.bigmodel.cn/api-reference
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from openmaas.control.shapes_tuning import NUMBERS, OF_METHOD
from openmaas.core.money import show_amount
from openmaas.work.book import Job
from openmaas.work.tuned import Point, TuningProgress
from openmaas.work.wanted import Form, TuningWanted

_ENDED = {"done": "succeeded", "failed": "failed", "expired": "failed", "cancelled": "cancelled"}


def show_job(job: Job, form: Form) -> dict[str, Any]:
    """A job as its wire shows it; times are seconds."""
    wanted, progress = _read(job)
    numbers: dict[str, Any] = dict.fromkeys(OF_METHOD[wanted.method], "auto") | wanted.hyperparameters
    if progress.tokens:
        numbers |= {"n_epochs": progress.n_epochs, "batch_size": progress.batch_size}
    mistake = progress.mistake
    shown = {
        "id": job.id,
        "object": "fine_tuning.job",
        "model": wanted.model,
        "status": _status(job, progress),
        "created_at": job.created_ms // 1000,
        "finished_at": None if job.ended_ms is None else job.ended_ms // 1000,
        "training_file": wanted.training_file,
        "validation_file": wanted.validation_file,
        "hyperparameters": {name: numbers[name] for name in NUMBERS},
        "fine_tuned_model": progress.model,
        "result_files": [],
        "trained_tokens": progress.trained_tokens if job.state in ("done", "cancelled") else None,
        "error": mistake and {"code": mistake.code, "message": mistake.message, "param": mistake.param},
    }
    if form == "zhipu":
        return {**shown, "request_id": wanted.request_id or job.id}
    return {
        **shown,
        "organization_id": job.organisation_id,
        "seed": wanted.seed,
        "user_provided_suffix": wanted.suffix,
        "estimated_finish": _finish_s(job, progress),
        "integrations": [],
        "metadata": wanted.metadata,
        "method": {"type": wanted.method, wanted.method: {"hyperparameters": numbers}},
    }


def show_events(job: Job, form: Form, *, trains: bool) -> list[dict[str, Any]]:
    """What happened to a job, newest first. ``trains``: whether a worker of this house could have it."""
    _, progress = _read(job)
    found = [_event(job, *said) for said in _said(job, trains=trains)]
    found += [
        {**_event(job, f"step-{p.step}", p.at_ms, _line(p, progress)), **_metrics(p, form, job)}
        for p in progress.points
    ]
    found.sort(key=lambda event: event["created_at"])
    if job.ended_ms is not None:
        found.append(_event(job, "ended", job.ended_ms, *_end(job, progress)))
    return found[::-1]


def show_checkpoints(job: Job) -> list[dict[str, Any]]:
    """The last ones, which a job goes on from; newest first. Nobody can ask one for an answer."""
    _, progress = _read(job)
    rows = []
    for step in reversed(progress.checkpoints):
        point = next((point for point in reversed(progress.points) if point.step <= step), None)
        rows.append(
            {
                "object": "fine_tuning.job.checkpoint",
                "id": f"ftckpt_{job.id.partition('_')[2]}_{step}",
                "created_at": (job.created_ms if point is None else point.at_ms) // 1000,
                "fine_tuning_job_id": job.id,
                "fine_tuned_model_checkpoint": f"{progress.model or job.id}:ckpt-step-{step}",
                "step_number": step,
                "metrics": {"step": step, **({} if point is None else _measured(point))},
            }
        )
    return rows


def _said(job: Job, *, trains: bool) -> Iterator[tuple[str, int, str]]:
    """The name, time and words of each message before the end, oldest first."""
    wanted, progress = _read(job)
    yield "created", job.created_ms, f"Created fine-tuning job: {job.id}"
    yield "valid", job.created_ms, f"The files are valid: {wanted.examples} examples to train with."
    if job.state == "open" and job.turn == 0:
        waits = "The job waits for its turn."
        if not trains:
            waits = (
                "The job is queued and waits for a trainer, which this installation has not got yet: its operator runs "
                "`make setup-glm`, and has tuning_concurrency above 0. Nothing runs."
            )
        yield "waits", job.created_ms, waits
    if progress.held is not None:
        held = show_amount(progress.held.nanos, progress.held.currency)
        told = f"{progress.tokens} tokens are to be trained in {progress.steps} steps; {held} is set aside for them."
        yield "held", progress.held.at_ms, told


def _end(job: Job, progress: TuningProgress) -> tuple[str, str]:
    """The last message, and its level."""
    if job.state == "done":
        return f"New fine-tuned model created: {progress.model}", "info"
    if job.state == "cancelled":
        ran = f"It was charged for the {progress.trained_tokens} tokens that it had trained."
        return f"The job was cancelled. {ran if progress.trained_tokens else 'It has not run.'}", "info"
    said = progress.mistake.message if progress.mistake else "it could not be done"
    return f"The job failed, and costs nothing: {said}", "error"


def _event(job: Job, name: str, at_ms: int, message: str, level: str = "info") -> dict[str, Any]:
    return {
        "object": "fine_tuning.job.event",
        "id": f"ftevent_{job.id.partition('_')[2]}_{name}",
        "created_at": at_ms // 1000,
        "level": level,
        "message": message,
        "type": "message",
    }


def _line(point: Point, progress: TuningProgress) -> str:
    valid = "" if point.valid_loss is None else f", validation loss={point.valid_loss:.4f}"
    return f"Step {point.step}/{progress.steps}: training loss={point.loss:.4f}{valid}"


def _measured(point: Point) -> dict[str, float]:
    told = {
        "train_loss": point.loss,
        "train_mean_token_accuracy": point.accuracy,
        "valid_loss": point.valid_loss,
        "valid_mean_token_accuracy": point.valid_accuracy,
    }
    return {name: value for name, value in told.items() if value is not None}


def _metrics(point: Point, form: Form, job: Job) -> dict[str, Any]:
    _, progress = _read(job)
    data: dict[str, Any]
    if form != "zhipu":
        data = {"step": point.step, "total_steps": progress.steps, **_measured(point), "trained_tokens": point.tokens}
        return {"type": "metrics", "data": data}
    elapsed_s = (point.at_ms - (progress.held.at_ms if progress.held else job.created_ms)) / 1000
    data = {
        "epoch": round(point.step * progress.n_epochs / max(1, progress.steps), 2),
        "current_steps": point.step,
        "total_steps": progress.steps,
        "elapsed_time": f"{elapsed_s:.0f}s",
        "remaining_time": f"{elapsed_s / point.step * (progress.steps - point.step):.0f}s",
        "trained_tokens": point.tokens,
        "loss": point.loss,
        "eval_loss": point.valid_loss,
        "acc": point.accuracy,
        "eval_acc": point.valid_accuracy,
        "learning_rate": point.rate,
    }
    return {"type": "metrics", "data": data}


def _status(job: Job, progress: TuningProgress) -> str:
    if job.state != "open":
        return _ENDED[job.state]
    if job.turn == 0:
        return "queued"
    return "validating_files" if progress.held is None else "running"


def _finish_s(job: Job, progress: TuningProgress) -> int | None:
    """When it will be done, if it goes on as it went."""
    if job.state != "open" or len(progress.points) < 2:
        return None
    first, last = progress.points[0], progress.points[-1]
    step_ms = (last.at_ms - first.at_ms) / (last.step - first.step)
    return int(last.at_ms + step_ms * (progress.steps - last.step)) // 1000


def _read(job: Job) -> tuple[TuningWanted, TuningProgress]:
    wanted = msgspec.json.decode(job.wanted, type=TuningWanted)
    return wanted, msgspec.json.decode(job.progress, type=TuningProgress)
