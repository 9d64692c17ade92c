"""Fine-tuning from the examples to the receipt, on a real house with a real trainer and a model of a few thousand
parameters."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

import tuning_jobs as jobs
from batches import client_of, receipts_of, upload
from installation import Installation
from official import faults

tiny = pytest.importorskip("tiny_tuning", reason="tuning needs torch: make setup-glm")
begin, until, reached, events = jobs.begin, jobs.until, jobs.reached, jobs.events
from openglm.tune.order import Order  # noqa: E402 - needs torch too
from openglm.tune.tuning import Tuning  # noqa: E402

pytestmark = pytest.mark.alone  # a trainer takes every core, and servers are killed

NUMBERS = {"n_epochs": 40, "batch_size": 3, "learning_rate_multiplier": 60}
LONG = {"n_epochs": 50, "batch_size": 1, "learning_rate_multiplier": 1}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A house with a model that can be tuned; all its weights move, for adapters need a base that knows something."""
    folder = tmp_path_factory.mktemp("tuning")
    found = Installation(folder / "data", tuning_rank="0", starting_credit="1000")
    found.start()
    found.ready()
    try:
        jobs.offer(found, tiny.base(folder / "tiny"))
        yield found
    finally:
        found.end()


@pytest.mark.timeout(240)
def test_a_tuned_model_is_its_owner_s_alone_answers_as_it_learned_and_is_paid_by_the_token(house: Installation) -> None:
    owner, key = house.organisation("100")
    client = client_of(house, key)
    held_out = upload(client, tiny.chats()[:2], "fine-tune")
    job_id = begin(client, tiny.chats(), NUMBERS, suffix="My colours!", validation_file=held_out)
    job = until(client, job_id, "succeeded")
    name = job.fine_tuned_model
    assert name == f"ft:tiny:{owner}:My-colours-:{job_id[-8:].lower()}"
    assert faults("openai", "FineTuningJob", job.to_dict()) == []
    told = jobs.plain(house.ask("GET", f"/v1/fine_tuning/jobs/{job_id}/events?limit=100", key=key))
    assert faults("openai", "ListFineTuningJobEventsResponse", told) == []
    assert told["data"][0]["message"] == f"New fine-tuned model created: {name}"
    metrics = [event.data for event in events(client, job_id) if event.type == "metrics"][::-1]
    assert [data["step"] for data in metrics] == list(range(1, 81))
    assert metrics[-1]["train_loss"] < 0.1 < 3 < metrics[0]["train_loss"]
    assert metrics[-1]["valid_loss"] < 0.1
    assert metrics[-1]["trained_tokens"] == job.trained_tokens
    told = jobs.plain(house.ask("GET", f"/v1/fine_tuning/jobs/{job_id}/checkpoints", key=key))
    assert faults("openai", "ListFineTuningJobCheckpointsResponse", told) == []
    checkpoints = client.fine_tuning.jobs.checkpoints.list(job_id)
    assert [each.step_number for each in checkpoints.data] == [80, 72]

    house.ready()
    jobs.until_known(client, name)
    for colour, thing in tiny.QUESTIONS.items():
        said = client.chat.completions.create(
            model=name, messages=[{"role": "user", "content": f"What is {colour}?"}], temperature=0
        )
        assert said.choices[0].message.content == thing
    assert house.receipt(said._request_id, "posted", key=key)["model"] == name

    (receipt,) = receipts_of(house, job_id, key)
    assert receipt["units"] == {"training": job.trained_tokens}
    assert Decimal(receipt["amount"]) == jobs.worth(job.trained_tokens)
    chats = sum(Decimal(row["amount"]) for row in receipts_of(house, None, key))
    assert house.settled(owner) == 100 - jobs.worth(job.trained_tokens) - chats

    _, other = house.organisation("1")
    assert name not in [model.id for model in client_of(house, other).models.list()]
    assert house.ask("GET", f"/v1/models/{name}", key=other)[0] == 404
    assert house.ask("DELETE", f"/v1/models/{name}", key=other)[0] == 404
    body = {"model": name, "messages": [{"role": "user", "content": "?"}]}
    assert house.ask("POST", "/v1/chat/completions", body, key=other)[0] == 404
    assert name.encode() not in house.ask("GET", "/readyz")[2]

    folder = house.data / "tuned" / job_id
    assert (folder / "model" / "config.json").exists()
    assert client.models.delete(name).deleted
    assert not folder.exists()
    gone(house, name, key)
    assert name not in json.dumps(house.admin("GET", "/deployments?limit=100"))


@pytest.mark.timeout(240)
def test_a_cancelled_job_stops_at_once_keeps_its_checkpoints_and_pays_for_what_it_trained(house: Installation) -> None:
    owner, key = house.organisation("100")
    client = client_of(house, key)
    job_id = begin(client, tiny.chats() * 20, LONG)
    until(client, job_id, "running", step=35)
    assert Decimal(house.wallet(owner)["leased"]) > 0
    began = time.monotonic()
    client.fine_tuning.jobs.cancel(job_id)
    while jobs.trainers(house):
        assert time.monotonic() - began < 10
        time.sleep(0.02)
    job = until(client, job_id, "cancelled")
    assert 0 < job.trained_tokens < 60_000
    assert client.fine_tuning.jobs.checkpoints.list(job_id).data
    assert house.settled(owner) == 100 - jobs.worth(job.trained_tokens)
    (receipt,) = receipts_of(house, job_id, key)
    assert receipt["outcome"] == "client_closed"


@pytest.mark.timeout(240)
def test_killed_trainers_and_workers_are_gone_on_from_and_nothing_is_paid_twice(house: Installation) -> None:
    owner, key = house.organisation("100")
    client = client_of(house, key)
    job_id = begin(client, tiny.chats() * 5, LONG)  # 1,500 steps, a checkpoint every 50
    until(client, job_id, "running", step=35)
    (trainer,) = jobs.trainers(house)
    os.kill(trainer, signal.SIGKILL)
    until(client, job_id, "running", step=reached(client, job_id) + 60)
    house.kill("openmaas.house.jobs")
    job = until(client, job_id, "succeeded")
    steps = [event.data["step"] for event in events(client, job_id) if event.type == "metrics"]
    assert len(steps) == len(set(steps))
    assert len(receipts_of(house, job_id, key)) == 1
    assert house.settled(owner) == 100 - jobs.worth(job.trained_tokens)
    assert b"the trainer ended with status -9" in house.log.read_bytes()


@pytest.mark.timeout(240)
def test_adapters_are_served_by_the_engine_of_their_base(tmp_path: Path) -> None:
    """A base that knows the right things, taught the next ones: it goes on knowing, in the same process."""
    numbers = {"learning_rate_multiplier": 60, "n_epochs": 40, "batch_size": 3}
    training = tiny.lines(tmp_path / "chats.jsonl", tiny.chats())
    Tuning(Order(base=tiny.base(tmp_path / "tiny"), training=training, into=tmp_path / "taught", **numbers)).walk()
    house = Installation(tmp_path / "data", tuning_rank="8", starting_credit="1000")
    house.start()
    try:
        jobs.offer(house, tmp_path / "taught" / "model")
        weights = str(tmp_path / "taught" / "model.gguf")
        assert house.admin("POST", "/deployments", {"model": "tiny", "kind": "llama", "weights": weights})[0] == 201
        house.ready("tiny")
        client, engines = client_of(house), len(house.children("openmaas.engines.program"))
        job_id = begin(client, tiny.chats(1), {**NUMBERS, "learning_rate_multiplier": 8})
        name = until(client, job_id, "succeeded").fine_tuned_model
        (deployment,) = [row for row in house.admin("GET", "/deployments")[1]["data"] if row["model"] == name]
        assert deployment["options"] == {"over": "tiny"}
        house.ready()
        jobs.until_known(client, name)
        for model, shift in (("tiny", 0), (name, 1)):
            for chat in tiny.chats(shift):
                asked, right = chat["messages"]
                said = client.chat.completions.create(model=model, messages=[asked], temperature=0)
                assert said.choices[0].message.content == right["content"]
        assert len(house.children("openmaas.engines.program")) == engines
        assert client.models.delete(name).deleted
        gone(house, name, house.key)
    finally:
        house.end()


def test_who_has_not_the_money_is_told_what_is_missing_and_nothing_is_held(house: Installation) -> None:
    owner, key = house.organisation("0.5")
    client = client_of(house, key)
    job = until(client, begin(client, tiny.chats(), NUMBERS), "failed")
    assert job.error.code == "insufficient_quota"
    assert "0.50 CNY is free" in job.error.message
    assert house.settled(owner) == Decimal("0.5")
    assert receipts_of(house, job.id, key) == []


def test_what_only_the_trainer_can_find_wrong_fails_the_job_with_its_field(house: Installation) -> None:
    client = client_of(house)
    long = tiny.chat("x" * 2000, "y")
    job = until(client, begin(client, [*tiny.chats(), long], NUMBERS), "failed")
    assert job.error.param == "training_file"
    assert "line 7: it has" in job.error.message


def test_on_zhipu_s_wire_the_same_job_runs_and_its_model_is_deleted(house: Installation) -> None:
    client = client_of(house)
    base = "/api/paas/v4"
    file_id = upload(client, tiny.chats(), "fine-tune")
    body = {"model": "tiny", "training_file": file_id, "hyperparameters": {"n_epochs": 2}}
    job = jobs.plain(house.ask("POST", f"{base}/fine_tuning/jobs", body))
    name = until(client, job["id"], "succeeded").fine_tuned_model
    found = jobs.plain(house.ask("GET", f"{base}/fine_tuning/jobs/{job['id']}/events"))["data"]
    measured = next(event["data"] for event in found if event["type"] == "metrics")
    assert {"epoch", "current_steps", "total_steps", "loss", "acc", "eval_loss", "learning_rate"} <= measured.keys()
    body = {"model": name, "training_file": file_id, "hyperparameters": {"n_epochs": 1}, "suffix": "2"}
    further = jobs.plain(house.ask("POST", f"{base}/fine_tuning/jobs", body))["id"]
    second = until(client, further, "succeeded").fine_tuned_model
    assert second.rpartition(":")[0] == name.rpartition(":")[0] + "2"
    assert jobs.plain(house.ask("DELETE", f"{base}/fine_tuning/fine_tuned_models/{name}"))["model_name"] == name
    gone(house, name, house.key)


def gone(house: Installation, name: str, key: str) -> None:
    """Wait until the relay has heard that there is no such model."""
    deadline = time.monotonic() + 20
    while house.ask("GET", f"/v1/models/{name}", key=key)[0] != 404:
        assert time.monotonic() < deadline
        time.sleep(0.1)
