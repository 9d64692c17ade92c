"""SIGTERM: what runs comes to its end, what is new is told to come back, and the books are in order."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from installation import Installation
from raw import Raw

pytestmark = pytest.mark.alone

CHAT = "/v1/chat/completions"
DRAIN_S = 4


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Installation]:
    """A house of its own, to be told to leave by the test."""
    made = Installation(tmp_path / "data", drain_s=str(DRAIN_S))
    made.start()
    made.ready()
    yield made
    made.slay()


def stream(tokens: int, pace_ms: int) -> dict[str, Any]:
    """A stream of the echo engine."""
    asked = [{"role": "user", "content": "one two three"}]
    return {"model": "echo", "messages": asked, "stream": True, "user": f"echo:tokens={tokens},pace_ms={pace_ms}"}


def draining(house: Installation) -> None:
    """Tell it to leave, and wait until the relay has heard."""
    house.leave()
    deadline = time.monotonic() + 10
    while "draining" not in house.log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def audited(house: Installation) -> dict[str, Any]:
    """What the audit of a house that has left says, when all agrees."""
    audit = house.command("ledger", "audit", "--json")
    assert audit.returncode == 0, audit.stdout
    return dict(json.loads(audit.stdout))


def test_running_answers_end_and_are_paid_and_idle_connections_are_closed(house: Installation) -> None:
    with Raw(house) as streaming, Raw(house) as waiting, Raw(house) as idle:
        idle.ask("GET", "/healthz")
        assert idle.answer()[0] == 200
        streaming.ask("POST", CHAT, stream(100, 10))
        waiting.ask("POST", CHAT, {**stream(80, 10), "stream": False})
        streaming.until(b"tok5 ")
        draining(house)
        assert idle.rest() == b""
        _, headers, body = streaming.answer()
        assert body.count(b'"content":"tok') == 100
        assert body.endswith(b"data: [DONE]\n\n")
        assert "transfer-encoding" in headers
        status, headers, body = waiting.answer()
        assert status == 200
        assert json.loads(body)["usage"]["completion_tokens"] == 80
        assert headers["connection"] == "close"
    assert house.left() == 0
    assert audited(house)["receipts"] == 2


def test_a_request_that_waits_behind_a_running_one_is_told_to_come_back(house: Installation) -> None:
    data = json.dumps(stream(5, 0)).encode()
    with Raw(house) as running, Raw(house) as late:
        running.ask("POST", CHAT, stream(80, 10))
        running.until(b"tok5 ")
        late.ask("POST", CHAT, data, held=True)  # it had begun to ask, and has not said what
        late.send(data[:10])
        time.sleep(0.1)
        draining(house)
        late.send(data[10:])
        status, headers, body = late.answer()
        assert (status, json.loads(body)["error"]["code"]) == (503, "draining")
        assert int(headers["retry-after"]) >= 1
        assert headers["connection"] == "close"
        running.until(b"data: [DONE]")
    assert house.left() == 0
    assert audited(house)["receipts"] == 1


def test_a_new_connection_is_refused_with_a_hint_when_to_come_back(house: Installation) -> None:
    with Raw(house) as running:
        running.ask("POST", CHAT, stream(200, 10))
        running.until(b"tok5 ")
        draining(house)
        with Raw(house) as late:
            late.ask("POST", CHAT, stream(5, 0))
            assert late.waiting(2.0)
            status, headers, body = late.answer()
            assert (status, json.loads(body)["error"]["code"]) == (503, "draining")
            assert int(headers["retry-after"]) >= 1
        running.until(b"data: [DONE]")
    assert house.left() == 0


def test_what_does_not_end_in_time_is_cut_and_billed_for_what_came(house: Installation) -> None:
    with Raw(house) as client:
        client.ask("POST", CHAT, stream(100_000, 20))
        _, _ = client.head()
        client.until(b"tok5 ")
        began_s = time.monotonic()
        reading = threading.Thread(target=client.rest)
        reading.start()
        draining(house)
        assert house.left() == 0
        took_s = time.monotonic() - began_s
        reading.join()
    print(f"\ndrain: a stream without end was cut and the house had left after {took_s:.1f} s; drain_s is {DRAIN_S}")
    assert took_s > DRAIN_S - 1  # it was given its time
    report = audited(house)
    assert report["receipts"] == 1
    statement = json.loads(house.command("ledger", "statement", "--json").stdout)
    assert "charge" in json.dumps(statement)
