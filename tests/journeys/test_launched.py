"""Fine-tuning by a trainer of somebody else's, from the operator's word to the receipt, on a real house; the trainer is
a stand-in that plays what the real one wrote (``tests/trainer_replay.py``)."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import tuning_jobs as jobs
from batches import client_of, receipts_of, upload
from installation import Installation

tiny = pytest.importorskip("tiny_tuning", reason="tuning needs torch: make setup-glm")
pytestmark = pytest.mark.alone  # whoever reads the examples takes every core for a moment

TESTS = Path(__file__).parents[1]
NUMBERS = {"n_epochs": 5, "batch_size": 6}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("launched")
    logs = TESTS / "openglm" / "trainer_logs"
    swift, factory = (
        f"{sys.executable} {TESTS / 'trainer_replay.py'} {logs / name}-supervised.jsonl"
        for name in ("ms-swift", "llama-factory")
    )
    commands = {"tuning_ms_swift": swift, "tuning_llama_factory": factory}
    found = Installation(folder / "data", tuning_rank="4", starting_credit="1000", **commands)
    found.start()
    found.ready()
    try:
        jobs.offer(found, tiny.base(folder / "tiny"))
        yield found
    finally:
        found.end()


def say(house: Installation, *told: str) -> None:
    answer = house.command("models", "trainer", "tiny", *told)
    assert answer.returncode == 0, answer.stderr


@pytest.mark.timeout(240)
@pytest.mark.parametrize("trainer", ["ms-swift", "llama-factory"])
def test_what_another_trainer_made_is_told_of_offered_and_paid_as_our_own(house: Installation, trainer: str) -> None:
    say(house, "--trainer", trainer, "--processes", "2", "--arguments", "warmup_steps=1")
    row = next(row for row in house.admin("GET", "/models")[1]["data"] if row["name"] == "tiny")
    assert (row["trainer"], row["trainer_processes"], row["trainer_arguments"]) == (trainer, 2, {"warmup_steps": 1})
    owner, key = house.organisation("100")
    client = client_of(house, key)
    held_out = upload(client, tiny.chats()[:2], "fine-tune")
    job_id = jobs.begin(client, tiny.chats(), NUMBERS, validation_file=held_out)
    job = jobs.until(client, job_id, "succeeded")
    metrics = [event.data for event in jobs.events(client, job_id) if event.type == "metrics"][::-1]
    assert [(data["step"], data["total_steps"]) for data in metrics] == [(step, 5) for step in range(1, 6)]
    assert metrics[-1]["train_loss"] < metrics[0]["train_loss"]
    assert metrics[-1]["valid_loss"] < metrics[0]["valid_loss"]
    assert ("train_mean_token_accuracy" in metrics[0]) == (trainer == "ms-swift")
    assert metrics[-1]["trained_tokens"] == job.trained_tokens
    assert client.fine_tuning.jobs.checkpoints.list(job_id).data[0].step_number == 5

    folder = house.data / "tuned" / job_id
    assert json.loads((folder / "run" / "trainer.yaml").read_text())["warmup_steps"] == 1
    assert (folder / "adapter" / "adapter_model.safetensors").exists()
    assert not (folder / "model.gguf").exists()
    made = house.command("models", "list", "--json").stdout
    row = next(row for row in json.loads(made) if row["name"] == job.fine_tuned_model)
    assert (row["checkpoint"], row["deployments"]) == (str(folder.resolve() / "adapter"), 0)
    (receipt,) = receipts_of(house, job_id, key)
    assert receipt["units"] == {"training": job.trained_tokens}
    assert house.settled(owner) == 100 - jobs.worth(job.trained_tokens)
    refused = jobs.begin(client, tiny.chats(), NUMBERS, model=job.fine_tuned_model)
    assert "is an adapter alone" in jobs.until(client, refused, "failed").error.message


@pytest.mark.timeout(240)
def test_a_cancelled_job_ends_the_trainer_and_pays_for_its_steps(house: Installation) -> None:
    say(house, "--trainer", "ms-swift", "--arguments", "pace_s=60")
    owner, key = house.organisation("100")
    client = client_of(house, key)
    job_id = jobs.begin(client, tiny.chats(), NUMBERS)
    jobs.until(client, job_id, "running", step=1)
    child = Path("/proc") / (house.data / "tuned" / job_id / "run" / "trainer" / "pids").read_text()
    assert child.exists()
    client.fine_tuning.jobs.cancel(job_id)
    job = jobs.until(client, job_id, "cancelled")
    deadline = time.monotonic() + 60
    while child.exists() and " Z " not in (child / "stat").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert job.trained_tokens > 0
    assert house.settled(owner) == 100 - jobs.worth(job.trained_tokens)


@pytest.mark.timeout(240)
def test_an_option_that_the_job_says_fails_it_in_words(house: Installation) -> None:
    say(house, "--trainer", "llama-factory", "--arguments", "output_dir=/")
    client = client_of(house)
    job = jobs.until(client, jobs.begin(client, tiny.chats(), NUMBERS), "failed")
    assert "arguments has output_dir" in job.error.message
    assert receipts_of(house, job.id, house.key) == []


def test_who_cannot_be_tuned_has_no_trainer_and_our_own_takes_no_options(house: Installation) -> None:
    for name, body, field in (
        ("echo", {"trainer": "ms-swift"}, "model"),
        ("tiny", {"trainer": "openglm", "processes": 2}, "arguments"),
        ("tiny", {"trainer": "axolotl"}, "trainer"),
    ):
        status, answer = house.admin("PUT", f"/models/{name}/trainer", body)
        assert (status, answer["error"]["param"]) == (400, field), answer
