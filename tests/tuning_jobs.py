"""Fine-tuning jobs as a test begins and watches them, on a real house with a model of a few thousand parameters."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai

from batches import upload
from installation import Installation

PRICE = {"input": "1", "output": "2", "units": {"training": "1000"}}  # a thousandth for each token


def offer(house: Installation, base: Path) -> None:
    model = {"name": "tiny", "context_tokens": 256, "output_tokens_default": 32, "checkpoint": str(base)}
    assert house.admin("POST", "/models", model)[0] == 201
    assert house.admin("POST", "/prices", {"model": "tiny", **PRICE})[0] == 201


def begin(client: openai.OpenAI, lines: list[Any], numbers: dict[str, Any], **fields: Any) -> str:
    file_id = upload(client, lines, "fine-tune")
    method: Any = {"type": "supervised", "supervised": {"hyperparameters": numbers}}
    return client.fine_tuning.jobs.create(
        training_file=file_id, **{"model": "tiny", "method": method, "seed": 3, **fields}
    ).id


def until(client: openai.OpenAI, job_id: str, *states: str, step: int = 0) -> Any:
    """The job, once it has one of these states, and a step that is told of."""
    deadline = time.monotonic() + 150
    while True:
        job = client.fine_tuning.jobs.retrieve(job_id)
        if job.status in states and (not step or reached(client, job_id) >= step):
            return job
        assert time.monotonic() < deadline, job
        assert job.status not in ("failed", "succeeded", "cancelled"), job
        time.sleep(0.1)


def until_known(client: openai.OpenAI, name: str) -> None:
    """Wait until the relay offers it."""
    deadline = time.monotonic() + 30
    while name not in [model.id for model in client.models.list()]:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def reached(client: openai.OpenAI, job_id: str) -> int:
    """The last step that is told of; the newest events come first, and reading them all slows what trains."""
    newest = client.fine_tuning.jobs.list_events(job_id, limit=20).data
    return max((event.data["step"] for event in newest if event.type == "metrics"), default=0)


def events(client: openai.OpenAI, job_id: str) -> list[Any]:
    return list(client.fine_tuning.jobs.list_events(job_id, limit=100))


def trainers(house: Installation) -> list[int]:
    """The trainers of a house that run."""
    workers = house.children("openmaas.house.jobs")
    return [
        int(pid) for worker in workers for pid in Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
    ]


def worth(tokens: int) -> Decimal:
    return Decimal(tokens) / 1000


def plain(told: tuple[int, dict[str, str], bytes]) -> Any:
    status, _, body = told
    assert status == 200, body
    return json.loads(body)
