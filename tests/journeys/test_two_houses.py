"""Two houses on one PostgreSQL: each has its own folder and engines, and all share customers, prices and money."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from batches import begin, client_of, ended, line, lines_of, receipts_of
from installation import Installation
from servers import postgres


@pytest.fixture
def houses(tmp_path: Path) -> Iterator[tuple[Installation, Installation]]:
    """The second one has the keys of the first, as docs/operating.md says."""
    url = postgres().database()
    first, second = (Installation(tmp_path / name, database_url=url, relays="2") for name in ("first", "second"))
    first.start()
    second.data.mkdir(mode=0o700)
    for name in ("master.keys", "admin.key"):
        shutil.copy(first.data / name, second.data / name)
    second.start()
    second.key = first.key
    first.ready()
    second.ready()
    yield first, second
    for house in (first, second):
        house.slay()


def spend(house: Installation, key: str, answers: list[int]) -> None:
    """Ask until the money is gone."""
    refused = 0
    body = {"model": "echo", "max_tokens": 5, "messages": [{"role": "user", "content": "one two three"}]}
    while refused < 3:
        status, _, _ = house.ask("POST", "/v1/chat/completions", body, key=key)
        answers.append(status)
        refused += status != 200


def test_two_houses_spend_one_wallet_to_its_last_request_and_never_below(
    houses: tuple[Installation, Installation],
) -> None:
    first, second = houses
    customer, key = first.organisation("0.01")
    answers: list[int] = []
    threads = [threading.Thread(target=spend, args=(house, key, answers)) for house in houses for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    left = second.settled(customer)
    cost = Decimal("0.000013")  # 3 tokens in, 5 out
    assert 0 <= left < Decimal("0.002")
    assert answers.count(200) * cost == Decimal("0.01") - left


def test_the_master_key_is_rotated_step_by_step_while_both_houses_serve(
    houses: tuple[Installation, Installation],
) -> None:
    """An endpoint whose credential is sealed is asked all the time, and each house makes keys between two steps."""
    first, second = houses
    endpoint = {"model": "far", "kind": "openai_http", "url": f"http://127.0.0.1:{first.port}/v1"}
    for path, body in (
        ("/models", {"name": "far", "context_tokens": 1_000}),
        ("/prices", {"model": "far", "input": "1", "output": "1"}),
        ("/deployments", {**endpoint, "api_key": first.key, "served_name": "echo"}),
    ):
        assert first.admin("POST", path, body)[0] == 201
    for house in houses:
        house.ready("far")
    project = first.admin("GET", "/projects")[1]["data"][0]["id"]
    broken: list[object] = []
    over = threading.Event()

    def keep_asking(house: Installation) -> None:
        body = {"model": "far", "max_tokens": 2, "messages": [{"role": "user", "content": "hello"}]}
        while not over.is_set():
            status, _, answer = house.ask("POST", "/v1/chat/completions", body)
            broken.extend([answer] if status != 200 else [])

    asking = [threading.Thread(target=keep_asking, args=(house,)) for house in houses]
    for thread in asking:
        thread.start()
    for step in ("prepare", "seal", "drop"):
        told = first.command("keys", "rotate-master", "--step", step, "--json")
        assert json.loads(told.stdout)["version"] == 2, told.stderr
        made = [house.admin("POST", "/keys", {"project_id": project})[1]["key"] for house in houses]
        shutil.copy(first.data / "master.keys", second.data / "new")
        (second.data / "new").replace(second.data / "master.keys")
        for house in houses:
            assert {house.ask("GET", "/v1/models", key=key)[0] for key in made} == {200}
    over.set()
    for thread in asking:
        thread.join()
    assert not broken
    second.kill("house.relay")  # those that start now have the new file alone
    time.sleep(1)
    second.ready("far")
    body = {"model": "far", "max_tokens": 2, "messages": [{"role": "user", "content": "hello"}]}
    assert {second.ask("POST", "/v1/chat/completions", body)[0] for _ in range(8)} == {200}
    assert list(json.loads((second.data / "master.keys").read_text())["keys"]) == ["2"]
    opened = second.command("keys", "rotate-master", "--step", "drop")  # seals all of it once more
    assert opened.returncode == 0, opened.stderr


def test_a_receipt_is_found_in_the_house_that_did_not_write_it(houses: tuple[Installation, Installation]) -> None:
    first, second = houses
    for _ in range(5):
        status, headers, _ = first.chat()
        assert status == 200
        status, _, body = second.ask("GET", f"/v1/receipts/{headers['x-request-id']}")
        assert status == 200, body
        assert json.loads(body)["status"] == "posted"


def test_what_a_house_leaves_behind_is_its_own_to_post_and_the_other_goes_on(
    houses: tuple[Installation, Installation],
) -> None:
    first, second = houses
    customer, key = first.organisation("1")
    for house in houses:
        assert house.ask("POST", "/v1/chat/completions", _hello(), key=key)[0] == 200
    second.settled(customer)
    first.ask("POST", "/v1/chat/completions", _hello(), key=key)
    first.slay()  # the whole machine, with leases and perhaps an unposted charge
    for _ in range(5):
        assert second.ask("POST", "/v1/chat/completions", _hello(), key=key)[0] == 200
    first.start()
    first.ready()
    assert second.settled(customer) == 1 - 8 * Decimal("0.000013")
    for house in houses:
        assert house.stop() == 0
        assert house.command("ledger", "audit").returncode == 0


def _hello() -> dict[str, object]:
    return {"model": "echo", "max_tokens": 5, "messages": [{"role": "user", "content": "one two three"}]}


def test_a_batch_begun_on_one_house_is_ended_by_the_other_when_they_share_their_files(tmp_path: Path) -> None:
    url, shared = postgres().database(), str(tmp_path / "shared")
    first, second = (
        Installation(tmp_path / name, database_url=url, files_folder=shared) for name in ("first", "second")
    )
    first.start()
    second.data.mkdir(mode=0o700)
    for name in ("master.keys", "admin.key"):
        shutil.copy(first.data / name, second.data / name)
    second.start()
    second.key = first.key
    try:
        first.ready()
        second.ready()
        lines = [line(str(number), cue="tokens=5,pace_ms=40") for number in range(60)]
        with client_of(first) as client:
            batch_ids = [begin(client, lines) for _ in range(2)]  # each house takes one, or one takes both
            while any(client.batches.retrieve(batch_id).status == "validating" for batch_id in batch_ids):
                time.sleep(0.05)
        time.sleep(0.5)
        assert first.stop() == 0
        with client_of(second) as client:
            for batch_id in batch_ids:
                batch = ended(client, batch_id)
                assert batch.status == "completed"
                names = [row["custom_id"] for row in lines_of(client, batch.output_file_id)]
                assert Counter(names) == Counter(map(str, range(60)))
        for batch_id in batch_ids:
            deadline = time.monotonic() + 20
            while len(paid := [row for row in receipts_of(second, batch_id) if Decimal(row["amount"])]) < 60:
                assert time.monotonic() < deadline, len(paid)  # the last ones are posted a moment later
                time.sleep(0.1)
            assert len(paid) == 60
    finally:
        first.slay()
        second.end()
