"""Webhooks through a real house: a customer listens with their own key and hears what an operator does."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import deque
from collections.abc import Iterator

import pytest

from installation import Installation
from listener import Listener
from openmaas.core.bounds import WEBHOOK_CLAIM_S


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A house whose customers are in its own network."""
    made = Installation(tmp_path_factory.mktemp("hooks") / "data", webhooks_private="true")
    made.start()
    made.ready()
    yield made
    made.end()


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.stop()


def customer(house: Installation) -> tuple[str, str]:
    """An organisation, and a key of the scope ``webhooks``."""
    owner, _ = house.organisation("1")
    project = house.admin("POST", "/projects", {"organisation_id": owner, "name": "hooks"})[1]["id"]
    made = house.admin("POST", "/keys", {"project_id": project, "scopes": ["webhooks"]})[1]
    return owner, made["key"]


def test_a_customer_hears_of_money_and_sees_what_they_were_told(house: Installation, listener: Listener) -> None:
    owner, key = customer(house)
    wanted = {"url": listener.url, "types": ["wallet.topped_up", "wallet.low", "webhook.test"]}
    status, _, told = house.ask("POST", "/v1/webhooks", json.dumps(wanted).encode(), key=key)
    assert status == 201, told
    made = json.loads(told)
    listener.secrets = [made["secret"]]
    assert house.ask("POST", f"/v1/webhooks/{made['id']}/test", b"{}", key=key)[0] == 200
    house.admin("POST", f"/organisations/{owner}/topups", {"amount": "3", "request_key": "hook"})
    types = {heard["type"] for heard in listener.wait(2)}
    assert types == {"webhook.test", "wallet.topped_up"}
    done = f"/v1/webhooks/{made['id']}/deliveries?state=done"
    deadline = time.monotonic() + 10
    while len(json.loads(house.ask("GET", done, key=key)[2])["data"]) < 2:  # written once the answer was read
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "secret" not in json.loads(house.ask("GET", "/v1/webhooks", key=key)[2])["data"][0]
    assert house.ask("GET", "/v1/webhooks", key=house.key)[0] == 403  # the ordinary key lacks the scope


def test_a_wallet_that_falls_below_the_threshold_is_told_of(house: Installation, listener: Listener) -> None:
    owner, key = house.organisation("1")
    house.admin("PUT", f"/organisations/{owner}/payer", {"currency": "CNY", "alert": "1"})
    made = house.admin("POST", f"/organisations/{owner}/webhooks", {"url": listener.url, "types": ["wallet.low"]})[1]
    listener.secrets = [made["secret"]]
    body = {"model": "echo", "messages": [{"role": "user", "content": "one two three"}], "user": "echo:tokens=5"}
    for _ in range(2):
        assert house.ask("POST", "/v1/chat/completions", body, key=key)[0] == 200
    (heard,) = listener.wait(1)
    assert heard["data"]["alert"] == "1.00"
    assert float(heard["data"]["balance"]) < 1


def test_a_poster_that_is_killed_loses_no_event(house: Installation, listener: Listener) -> None:
    owner, _ = house.organisation("1")
    made = house.admin(
        "POST", f"/organisations/{owner}/webhooks", {"url": listener.url, "types": ["wallet.topped_up"]}
    )[1]
    listener.secrets = [made["secret"]]
    for number in range(12):
        house.admin("POST", f"/organisations/{owner}/topups", {"amount": "1", "request_key": f"kill{number}"})
        if number % 4 == 0:
            for pid in house.children("openmaas.house.poster"):
                os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + WEBHOOK_CLAIM_S + 30  # some may wait for their claims to end
    while len({each["id"] for each in listener.heard}) < 12:  # one may come twice; none is lost
        assert time.monotonic() < deadline, listener.heard
        time.sleep(0.05)
    assert listener.refused == 0


def test_what_is_on_its_way_when_the_house_stops_is_written_down(house: Installation, listener: Listener) -> None:
    owner, key = customer(house)
    wanted = {"url": listener.url, "types": ["wallet.topped_up"]}
    made = json.loads(house.ask("POST", "/v1/webhooks", json.dumps(wanted).encode(), key=key)[2])
    listener.secrets, listener.answers = [made["secret"]], deque([-3])
    house.admin("POST", f"/organisations/{owner}/topups", {"amount": "3", "request_key": "last"})
    listener.wait(1)
    assert house.stop() == 0
    house.start()
    house.ready()
    told = json.loads(house.ask("GET", f"/v1/webhooks/{made['id']}/deliveries", key=key)[2])["data"]
    assert [each["state"] for each in told] == ["done"]
    assert len(listener.heard) == 1
