"""Fine-tuning jobs on a real house that has no trainer: checked, queued, told of, and never said to have run."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from batches import client_of, upload
from installation import Installation
from official import faults
from tunable import offer

EXAMPLE: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]}
BETTER = {
    "input": {"messages": EXAMPLE["messages"][:1]},
    "preferred_output": EXAMPLE["messages"][1:],
    "non_preferred_output": EXAMPLE["messages"][1:],
}


def ask(house: Installation, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, Any]:
    status, _, answer = house.ask(method, path, body, **more)
    return status, json.loads(answer)


def begin(house: Installation, base: str = "/v1", **fields: Any) -> dict[str, Any]:
    file_id = upload(client_of(house), [EXAMPLE] * 12, "fine-tune")
    status, job = ask(
        house, "POST", f"{base}/fine_tuning/jobs", {"model": offer(house), "training_file": file_id, **fields}
    )
    assert status == 200, job
    return dict(job)


def test_a_job_is_queued_and_says_what_it_waits_for_in_openai_s_own_shapes(echo: Installation) -> None:
    method = {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2, "n_epochs": 3, "batch_size": "auto"}}}
    file_id = upload(client_of(echo), [BETTER], "fine-tune")
    fields = {"method": method, "seed": 7, "suffix": "mine", "metadata": {"a": "b"}, "validation_file": file_id}
    job = begin(echo, training_file=file_id, **fields)
    assert faults("openai", "FineTuningJob", job) == []
    assert (job["status"], job["seed"], job["user_provided_suffix"], job["metadata"]) == (
        "queued",
        7,
        "mine",
        {"a": "b"},
    )
    told = {"n_epochs": 3, "batch_size": "auto", "learning_rate_multiplier": "auto", "beta": 0.2}
    assert job["method"] == {"type": "dpo", "dpo": {"hyperparameters": told}}
    assert (job["fine_tuned_model"], job["trained_tokens"], job["finished_at"], job["result_files"]) == (
        None,
        None,
        None,
        [],
    )
    place = f"/v1/fine_tuning/jobs/{job['id']}"
    assert ask(echo, "GET", place) == (200, job)
    events = ask(echo, "GET", f"{place}/events")[1]
    assert faults("openai", "ListFineTuningJobEventsResponse", events) == []
    assert "waits for a trainer" in events["data"][0]["message"]
    assert "1 examples" in events["data"][1]["message"]
    checkpoints = ask(echo, "GET", f"{place}/checkpoints")[1]
    assert faults("openai", "ListFineTuningJobCheckpointsResponse", checkpoints) == []
    assert checkpoints["data"] == []


def test_jobs_and_events_are_paged_newest_first(echo: Installation) -> None:
    client = client_of(echo, echo.organisation("1")[1])
    file_id = upload(client, [EXAMPLE], "fine-tune")
    made = [client.fine_tuning.jobs.create(model=offer(echo), training_file=file_id).id for _ in range(5)]
    assert [job.id for job in client.fine_tuning.jobs.list(limit=2)] == made[::-1]
    page = client.fine_tuning.jobs.list(limit=2)
    assert ([job.id for job in page.data], page.has_more) == (made[:2:-1], True)
    said = [event.message for event in client.fine_tuning.jobs.list_events(made[0], limit=1)]
    assert len(said) == 3
    assert said[-1].startswith("Created")
    with pytest.raises(openai.BadRequestError):
        client.fine_tuning.jobs.list_events(made[0], after="ftevent_nosuch")
    with pytest.raises(openai.BadRequestError):
        client.fine_tuning.jobs.list(metadata={"a": "b"})


def test_a_cancelled_job_has_ended_at_once_and_no_worker_ever_had_it(echo: Installation) -> None:
    job = begin(echo)
    cancelled = ask(echo, "POST", f"/v1/fine_tuning/jobs/{job['id']}/cancel")[1]
    assert cancelled["status"] == "cancelled"
    assert cancelled["finished_at"] >= job["created_at"]
    assert ask(echo, "POST", f"/v1/fine_tuning/jobs/{job['id']}/cancel") == (200, cancelled)
    events = ask(echo, "GET", f"/v1/fine_tuning/jobs/{job['id']}/events")[1]["data"]
    assert "has not run" in events[0]["message"]
    rows = {row["id"]: row for row in json.loads(echo.command("jobs", "list", "--json").stdout)}
    assert (rows[job["id"]]["state"], rows[job["id"]]["turn"]) == ("cancelled", 0)
    other = begin(echo)
    assert echo.command("jobs", "cancel", other["id"]).stdout.strip() == f"{other['id']} has ended: cancelled"
    assert ask(echo, "GET", f"/v1/fine_tuning/jobs/{other['id']}")[1]["status"] == "cancelled"


def test_on_zhipu_s_wire_a_job_has_its_shape_and_is_deleted_once_it_has_ended(echo: Installation) -> None:
    base = "/api/paas/v4"
    told = {"n_epochs": 2, "batch_size": "auto", "learning_rate_multiplier": 0.5}
    job = begin(echo, base, hyperparameters=told, suffix="x", validation_file=None, request_id=1795.5)
    assert (job["request_id"], job["status"], job["hyperparameters"]) == ("1795.5", "queued", told)
    place = f"{base}/fine_tuning/jobs/{job['id']}"
    assert ask(echo, "GET", f"{base}/fine_tuning/jobs?limit=1")[1]["data"] == [job]
    assert ask(echo, "DELETE", place)[1]["error"]["code"] == "1231"
    assert ask(echo, "POST", f"{place}/cancel")[1]["status"] == "cancelled"
    assert ask(echo, "DELETE", place)[1]["id"] == job["id"]
    assert ask(echo, "GET", place)[0] == 404
    status, refused = ask(echo, "DELETE", f"{base}/fine_tuning/fine_tuned_models/ft-nosuch")
    assert (status, refused["error"]["code"]) == (400, "1211")


def test_wrong_lines_are_named_by_number_and_nothing_is_queued(echo: Installation) -> None:
    client = client_of(echo, echo.organisation("1")[1])
    lines = [EXAMPLE, {"messages": []}, EXAMPLE, "no json"]
    for name in ("training_file", "validation_file"):
        files = {"training_file": upload(client, [EXAMPLE], "fine-tune"), name: upload(client, lines, "fine-tune")}
        with pytest.raises(openai.BadRequestError) as refused:
            client.fine_tuning.jobs.create(model=offer(echo), **files)
        assert refused.value.param == name
        assert "line 2: messages has no answer" in refused.value.message
        assert "line 4: " in refused.value.message
        assert "line 3" not in refused.value.message
    assert client.fine_tuning.jobs.list().data == []


@pytest.mark.parametrize(
    ("wrong", "status", "field"),
    [
        ({"model": "nosuch"}, 404, "model"),
        ({"model": "echo"}, 400, "model"),
        ({"training_file": "file_nosuch"}, 404, "training_file"),
        ({"validation_file": "file_nosuch"}, 404, "validation_file"),
        ({"training_file": None}, 400, "training_file"),
        ({"method": {"type": "reinforcement"}}, 400, "method.type"),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}, 400, "integrations"),
        ({"hyperparameters": {"n_epochs": 0}}, 400, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"n_epochs": 1.5}}, 400, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"batch_size": "large"}}, 400, "hyperparameters.batch_size"),
        ({"hyperparameters": {"batch_size": True}}, 400, "hyperparameters.batch_size"),
        ({"hyperparameters": {"learning_rate_multiplier": 10**400}}, 400, "hyperparameters.learning_rate_multiplier"),
        ({"hyperparameters": {"beta": 0.1}}, 400, "hyperparameters.beta"),
        ({"hyperparameters": {"n_epochs": 1}, "method": {"type": "supervised"}}, 400, "hyperparameters"),
        (
            {"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": 9}}}},
            400,
            "method.dpo.hyperparameters.beta",
        ),
        ({"suffix": "x" * 65}, 400, "suffix"),
        ({"suffix": "\ud800"}, 400, "suffix"),
        ({"training_file": "\ud800"}, 400, "training_file"),
        ({"metadata": {"a": "\ud800"}}, 400, "metadata.a"),
        ({"seed": -1}, 400, "seed"),
        ({"metadata": {str(number): "x" for number in range(17)}}, 400, "metadata"),
        ({"request_id": "x" * 201}, 400, "request_id"),
    ],
)
def test_a_mistake_is_named(echo: Installation, wrong: dict[str, Any], status: int, field: str) -> None:
    file_id = upload(client_of(echo), [EXAMPLE], "fine-tune")
    body = {"model": offer(echo), "training_file": file_id, **wrong}
    found, told = ask(echo, "POST", "/v1/fine_tuning/jobs", body)
    assert (found, told["error"]["param"]) == (status, field), told


def test_another_purpose_project_or_model_is_refused(echo: Installation) -> None:
    client = client_of(echo)
    body = {"model": offer(echo), "training_file": upload(client, [EXAMPLE], "batch")}
    status, told = ask(echo, "POST", "/v1/fine_tuning/jobs", body)
    assert (status, told["error"]["param"]) == (400, "training_file")
    job = begin(echo)
    _, key = echo.organisation("1")
    for method, end in (("GET", ""), ("GET", "/events"), ("GET", "/checkpoints"), ("POST", "/cancel")):
        assert ask(echo, method, f"/v1/fine_tuning/jobs/{job['id']}{end}", key=key)[0] == 404
    _, narrow = echo.organisation("1", models=["another"])
    body = {"model": offer(echo), "training_file": upload(client_of(echo, narrow), [EXAMPLE], "fine-tune")}
    assert ask(echo, "POST", "/v1/fine_tuning/jobs", body, key=narrow)[0] == 403


def test_only_a_model_with_a_checkpoint_and_a_price_for_training_is_tuned(echo: Installation) -> None:
    file_id = upload(client_of(echo), [EXAMPLE], "fine-tune")
    status, told = ask(echo, "POST", "/v1/fine_tuning/jobs", {"model": "echo", "training_file": file_id})
    assert (status, told["error"]["param"]) == (400, "model")
    assert "there is no checkpoint of it here" in told["error"]["message"]
    folder = echo.data.parent / "no-checkpoint"
    folder.mkdir(exist_ok=True)
    body = {"name": "unpriced", "context_tokens": 8, "checkpoint": str(folder)}
    status, told = echo.admin("POST", "/models", body)
    assert (status, told["error"]["param"]) == (400, "checkpoint")
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    assert echo.admin("POST", "/models", body)[0] == 201
    assert echo.admin("POST", "/prices", {"model": "unpriced", "input": "1", "output": "1"})[0] == 201
    status, told = ask(echo, "POST", "/v1/fine_tuning/jobs", {"model": "unpriced", "training_file": file_id})
    assert (status, told["error"]["param"]) == (400, "model")
    assert "no price for training" in told["error"]["message"]
