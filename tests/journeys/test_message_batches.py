"""Anthropic's message batches, as Anthropic's own SDK sees them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from installation import Installation


@pytest.fixture
def client(echo: Installation) -> Iterator[anthropic.Anthropic]:
    url = f"http://127.0.0.1:{echo.port}/api/anthropic"
    with anthropic.Anthropic(base_url=url, api_key=echo.key, max_retries=0) as made:
        yield made


def asked(name: str, **params: Any) -> Any:
    said = {"model": "echo", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}], **params}
    return {"custom_id": name, "params": said}


def ended(client: anthropic.Anthropic, batch_id: str) -> Any:
    deadline = time.monotonic() + 20
    while (found := client.messages.batches.retrieve(batch_id)).processing_status != "ended":
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


def test_message_batches_are_at_the_root_as_messages_are(echo: Installation) -> None:
    with anthropic.Anthropic(base_url=f"http://127.0.0.1:{echo.port}", api_key=echo.key, max_retries=0) as client:
        made = client.messages.batches.create(requests=[asked("a")])
        ended(client, made.id)
        assert [row.result.type for row in client.messages.batches.results(made.id)] == ["succeeded"]


def test_a_message_batch_gives_every_request_its_result(client: anthropic.Anthropic) -> None:
    names = [f"r{number}" for number in range(2)]
    made = client.messages.batches.create(requests=[asked(name) for name in names])
    assert made.id.startswith("msgbatch_")
    assert made.type == "message_batch"
    assert made.request_counts.processing == 2
    assert made.results_url is None
    found = ended(client, made.id)
    assert found.ended_at is not None
    counts = found.request_counts
    assert (counts.processing, counts.succeeded + counts.errored) == (0, 2)
    results = list(client.messages.batches.results(made.id))
    assert Counter(row.custom_id for row in results) == Counter(names)
    assert {row.result.type for row in results} == {"succeeded"}
    assert made.id in [row.id for row in client.messages.batches.list(limit=1)]
    assert client.messages.batches.delete(made.id).type == "message_batch_deleted"
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.retrieve(made.id)


def test_a_message_batch_is_cancelled(client: anthropic.Anthropic) -> None:
    made = client.messages.batches.create(requests=[asked(f"r{number}") for number in range(300)])
    with pytest.raises(anthropic.ConflictError):
        client.messages.batches.delete(made.id)
    found = client.messages.batches.cancel(made.id)
    assert found.cancel_initiated_at is not None
    found = ended(client, made.id)
    counts = found.request_counts
    assert counts.canceled > 0
    assert counts.succeeded + counts.errored + counts.canceled == 300
    rows = Counter(row.result.type for row in client.messages.batches.results(made.id))
    assert rows["canceled"] == counts.canceled


@pytest.mark.parametrize(
    "requests", [[], [asked("a"), asked("a")], [asked("with space")], [{"custom_id": "a"}], "none"]
)
def test_what_is_no_message_batch_is_refused_at_once(client: anthropic.Anthropic, requests: Any) -> None:
    with pytest.raises(anthropic.BadRequestError):
        client.messages.batches.create(requests=requests)


def test_the_files_of_a_message_batch_are_its_own(echo: Installation, client: anthropic.Anthropic) -> None:
    client.messages.batches.create(requests=[asked("a")])
    assert b"msgbatch" not in echo.ask("GET", "/v1/files")[2]
