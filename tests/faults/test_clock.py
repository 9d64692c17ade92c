"""The wall clock jumps under a house that is running: by minutes, by days, forward and back, in mid-stream.

No tool that shifts the clock of other people's processes is at hand, and the machine's own must not be touched. So
every program of the house is started with ``clock/sitecustomize.py``, which puts a settable offset under Python's
``time.time``; our code is the code that ships.
"""

from __future__ import annotations

import json
import os
import random
import struct
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from installation import Installation
from raw import Raw

pytestmark = pytest.mark.alone

SEEDS = 1_000 if os.environ.get("OPENMAAS_TEST_LONG") else 30
DAY_MS = 24 * 3600 * 1000
HELLO = [{"role": "user", "content": "hi"}]


class Skewed(Installation):
    """A house whose wall clock a test sets."""

    def __init__(self, folder: Path) -> None:
        self.offset = folder.parent / "clock"
        self.offset.write_bytes(bytes(8))
        super().__init__(folder, starting_credit="1000")

    def jump(self, ms: int) -> None:
        """From now on the wall clock is ``ms`` ahead of the machine's."""
        with self.offset.open("r+b") as file:
            file.write(struct.pack("<q", ms))

    def now(self) -> datetime:
        """What the house takes the time to be."""
        return datetime.now(UTC) + timedelta(milliseconds=struct.unpack("<q", self.offset.read_bytes())[0])


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Skewed]:
    """A house on a clock of its own; its books must agree at the end."""
    folder = tmp_path_factory.mktemp("clock")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent / "clock"))
        patch.setenv("OPENMAAS_TEST_CLOCK", str(folder / "clock"))
        made = Skewed(folder / "data")
        made.start()
        made.ready()
        yield made
        made.end()


@pytest.fixture
def house(started: Skewed) -> Iterator[Skewed]:
    """The same with the clock set right, before and after."""
    started.jump(0)
    yield started
    started.jump(0)


def ask(house: Installation, tokens: int, pace_ms: int, found: list[tuple[str, bytes]]) -> None:
    """One stream to its end."""
    with Raw(house) as client:
        body = {"model": "echo", "stream": True, "user": f"echo:tokens={tokens},pace_ms={pace_ms}", "messages": HELLO}
        client.ask("POST", "/v1/chat/completions", body)
        status, headers, answer = client.answer()
        assert status == 200, answer
        found.append((headers["x-request-id"], answer))


def test_the_clock_of_the_test_reaches_the_house(house: Skewed) -> None:
    for days in (3, -3):
        house.jump(days * DAY_MS)
        _, headers, _ = house.chat("tokens=1")
        receipt = house.receipt(headers["x-request-id"], "posted")
        said = datetime.fromisoformat(receipt["opened_at"].replace("Z", "+00:00"))
        assert abs(said - house.now()) < timedelta(minutes=1)


def test_jumps_in_mid_stream_lose_double_and_cut_nothing(house: Skewed) -> None:
    found: list[tuple[str, bytes]] = []
    for seed in range(SEEDS):
        chance = random.Random(seed)
        tokens = chance.randint(5, 40)
        work = [threading.Thread(target=ask, args=(house, tokens, chance.choice((1, 3)), found)) for _ in range(4)]
        for thread in work:
            thread.start()
        for _ in range(3):
            time.sleep(chance.random() * 0.02)
            house.jump(chance.choice((-400, -8, -1, 1, 8, 400)) * DAY_MS + chance.randint(-DAY_MS, DAY_MS))
        for thread in work:
            thread.join()
        if seed % 10 == 9:
            house.kill(chance.choice(("openmaas.house.poster", "openmaas.house.relay")))
            house.ready()
    assert len(found) == 4 * SEEDS  # every stream came to its end, whatever the clock said meanwhile
    house.jump(0)
    for request_id, answer in found:
        receipt = house.receipt(request_id, "posted")
        assert answer.endswith(b"data: [DONE]\n\n")
        assert (receipt["outcome"], receipt["completion_tokens"]) == ("done", answer.count(b'"content":"tok'))


def test_time_outs_and_freshness_go_by_the_clock_that_never_jumps(house: Skewed) -> None:
    with Raw(house) as client:
        body: dict[str, Any] = {
            "model": "echo",
            "stream": True,
            "user": "echo:tokens=150,pace_ms=10",
            "messages": HELLO,
        }
        client.ask("POST", "/v1/chat/completions", body)
        client.until(b"tok5 ")
        for days in (400, -400, 8):  # past every time-out there is, and past the life of a kept journal
            house.jump(days * DAY_MS)
            assert house.chat("tokens=1")[0] == 200  # a view that is fresh is not stale a year later
            time.sleep(0.3)
        client.until(b"data: [DONE]")
        assert client.seen.count(b'"content":"tok') == 150


def test_a_key_expires_when_the_clock_reaches_its_time_and_lives_again_when_it_is_set_back(house: Skewed) -> None:
    tomorrow = (house.now() + timedelta(days=1)).isoformat()
    _, key = house.organisation("1", expires_at=tomorrow)
    body = {"model": "echo", "messages": HELLO}

    def code() -> str:
        status, _, answer = house.ask("POST", "/v1/chat/completions", body, key=key)
        return "" if status == 200 else str(json.loads(answer)["error"]["code"])

    assert code() == ""
    house.jump(2 * DAY_MS)
    assert code() == "expired_api_key"
    house.jump(0)
    assert code() == ""


def test_holds_and_leases_come_back_though_the_clock_was_set_back(house: Skewed) -> None:
    customer, key = house.organisation("1")
    house.jump(-30 * DAY_MS)
    paid = Decimal(0)
    for _ in range(3):
        status, headers, _ = house.ask("POST", "/v1/chat/completions", {"model": "echo", "messages": HELLO}, key=key)
        assert status == 200
        paid += Decimal(house.receipt(headers["x-request-id"], "posted", key=key)["amount"])
    assert house.settled(customer) == 1 - paid
    assert paid > 0


def test_a_revoked_key_stays_revoked_whatever_the_clock_says(house: Skewed) -> None:
    made = json.loads(house.command("keys", "create", "--json").stdout)
    assert house.ask("GET", "/v1/models", key=made["key"])[0] == 200
    house.jump(30 * DAY_MS)
    assert house.command("keys", "revoke", made["id"]).returncode == 0
    house.jump(-30 * DAY_MS)
    time.sleep(1)
    status, _, body = house.ask("GET", "/v1/models", key=made["key"])
    assert (status, json.loads(body)["error"]["code"]) == (401, "revoked_api_key")
