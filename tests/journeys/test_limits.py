"""What a caller sees of limits, on a real house: refusals that say when to come back, and seats that come back."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from installation import Installation
from openmaas.core.bounds import SEATS_TERM_MS
from servers import Valkey


@pytest.fixture(params=["one relay", "two relays", "two relays and valkey"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Installation]:
    """A house with the echo engine, whose relays share limits in each way."""
    server = Valkey() if "valkey" in request.param else None
    settings = {"relays": "1" if request.param == "one relay" else "2"}
    made = Installation(tmp_path / "data", **settings, **({"valkey_url": server.url} if server else {}))
    made.start()
    made.ready()
    yield made
    made.end()
    if server is not None:
        server.stop()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "rps", "amount": 1}, "kind"),
        ({"kind": "rpm", "amount": 0}, "amount"),
        ({"kind": "rpm", "amount": 10**30}, "amount"),
        ({"kind": "rpm", "amount": 1, "model": "* "}, "model"),
        ({"kind": "rpm", "amount": 1, "model": "nosuch", "scope": "default"}, "model"),
        ({"kind": "rpm", "amount": 1}, "subject_id"),
        ({"kind": "rpm", "amount": 1, "scope": "default", "subject_id": "x"}, "subject_id"),
        ({"kind": "rpm", "amount": 1, "scope": "key", "subject_id": "nobody"}, "subject_id"),
    ],
)
def test_a_limit_that_cannot_be_right_is_refused_by_field(echo: Installation, body: dict[str, Any], field: str) -> None:
    before = echo.admin("GET", "/limits")[1]["data"]
    status, answer = echo.admin("PUT", "/limits", body)
    assert 400 <= status < 500
    assert answer["error"]["param"] == field
    assert echo.admin("GET", "/limits")[1]["data"] == before


def test_the_command_line_sets_lists_and_removes_limits(echo: Installation) -> None:
    _, key = echo.organisation("1")
    made = json.loads(echo.command("limits", "set", "tpm", "7000", "--key", key, "--model", "echo", "--json").stdout)
    assert (made["scope"], made["subject_id"], made["amount"]) == ("key", key.partition(".")[0], 7000)
    again = json.loads(echo.command("limits", "set", "tpm", "8000", "--key", key, "--model", "echo", "--json").stdout)
    assert again["id"] == made["id"]
    listed = json.loads(echo.command("limits", "list", "--json").stdout)
    assert [row["amount"] for row in listed if row["id"] == made["id"]] == [8000]
    assert "8000" in echo.command("limits", "list", "--subject", made["subject_id"]).stdout
    assert echo.command("limits", "remove", made["id"]).returncode == 0
    assert echo.command("limits", "remove", made["id"]).returncode == 2
    wrong = echo.command("limits", "set", "rpm", "0")
    assert wrong.returncode == 2
    assert "amount must be between 1" in wrong.stderr


def limit(house: Installation, kind: str, amount: int, **fields: Any) -> str:
    """Set a limit for everybody; relays know it when this returns."""
    status, made = house.admin("PUT", "/limits", {"scope": "default", "kind": kind, "amount": amount, **fields})
    assert status == 200, made
    time.sleep(1.0)
    return str(made["id"])


def test_the_third_request_of_two_a_minute_is_told_when_to_come_back(house: Installation) -> None:
    made = limit(house, "rpm", 2, model="echo")
    for left in (1, 0):
        status, headers, _ = house.chat("tokens=1")
        assert status == 200
        assert headers["x-ratelimit-limit-requests"] == "2"
        assert headers["x-ratelimit-remaining-requests"] == str(left)
    status, headers, body = house.chat("tokens=1")
    error = json.loads(body)["error"]
    assert status == 429
    assert error["code"] == "rate_limit_exceeded"
    assert "2 requests a minute for organisation" in error["message"]
    assert error["message"].count("on echo") == 1
    assert 50 < int(headers["retry-after"]) <= 61
    assert abs(int(headers["retry-after-ms"]) / 1000 - int(headers["retry-after"])) <= 1
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert house.admin("DELETE", f"/limits/{made}")[0] == 200
    time.sleep(1.0)
    assert house.chat("tokens=1")[0] == 200


def test_tokens_are_taken_at_their_most_and_what_was_not_used_comes_back(house: Installation) -> None:
    limit(house, "tpm", 1_000)
    for _ in range(5):
        status, headers, _ = house.chat("tokens=3", max_tokens=800)
        assert status == 200
        time.sleep(1.2)  # to the other relay, too
    assert int(headers["x-ratelimit-remaining-tokens"]) < 1_000
    status, headers, body = house.chat("tokens=3", max_tokens=2_000)
    assert status == 429
    assert json.loads(body)["error"]["code"] == "request_over_limit"
    assert headers["x-should-retry"] == "false"
    assert "retry-after" not in headers


def begun(house: Installation, count: int) -> list[socket.socket]:
    """Clients whose answers run and take long."""
    body = {"model": "echo", "messages": [{"role": "user", "content": "x"}], "stream": True, "max_tokens": 100_000}
    data = json.dumps({**body, "user": "echo:tokens=100000,pace_ms=20"}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {house.key}\r\n"
    sent = head.encode() + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(data) + data
    clients = []
    try:
        for _ in range(count):
            clients.append(socket.create_connection(("127.0.0.1", house.port)))
            clients[-1].sendall(sent)
            assert b"200 OK" in clients[-1].recv(1_000)
    except (OSError, AssertionError):
        end(clients)
        raise
    return clients


def end(clients: list[socket.socket]) -> None:
    """They leave."""
    for client in clients:
        client.close()


def test_a_seat_comes_back_when_its_client_leaves(house: Installation) -> None:
    limit(house, "concurrency", 2)
    for _ in range(3):
        running = begun(house, 2)
        status, headers, answer = house.chat("tokens=1")
        assert status == 429
        assert headers["retry-after"] == "1"
        assert "2 requests in flight" in json.loads(answer)["error"]["message"]
        end(running)
        time.sleep(1.5)  # the seats come back to all relays


def test_the_seats_of_relays_that_were_killed_come_back(house: Installation) -> None:
    limit(house, "concurrency", 2)
    running = begun(house, 2)
    house.kill("openmaas.house.relay")
    end(running)
    until_s = time.monotonic() + SEATS_TERM_MS / 1000 + 10  # new relays must start, too
    while True:
        try:
            again = begun(house, 2)
            break
        except (OSError, AssertionError):
            assert time.monotonic() < until_s
            time.sleep(0.5)
    end(again)


def test_many_clients_at_once_get_the_limit_and_not_one_more(house: Installation) -> None:
    limit(house, "rpm", 40)
    statuses = []
    for _ in range(3):
        with ThreadPoolExecutor(8) as pool:
            statuses += pool.map(lambda _: house.chat("tokens=1")[0], range(40))
        time.sleep(1.5)  # what one relay borrowed and did not use comes back
    assert set(statuses) == {200, 429}
    assert 39 <= statuses.count(200) <= 40
