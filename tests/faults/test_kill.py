"""``kill -9`` of each program in mid-stream: nothing lost, nothing doubled, nothing overdrawn."""

from __future__ import annotations

import http.client
import json
import os
import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from installation import Installation

pytestmark = pytest.mark.alone

SEEDS = 1_000 if os.environ.get("OPENMAAS_TEST_LONG") else 50
STREAMS = 6
VICTIMS = ("openmaas.house.relay", "openmaas.engines.program", "openmaas.house.control", "openmaas.house.poster")


def one(house: Installation, cue: str, found: list[tuple[str, bool, int]]) -> None:
    """One stream; notes its request id, whether it ended, and how many tokens came."""
    connection = http.client.HTTPConnection("127.0.0.1", house.port, timeout=30)
    body: dict[str, Any] = {
        "model": "echo",
        "stream": True,
        "user": cue,
        "messages": [{"role": "user", "content": "x"}],
    }
    request_id, seen = "", b""
    try:
        connection.request(
            "POST",
            "/v1/chat/completions",
            json.dumps(body),
            {"authorization": f"Bearer {house.key}", "content-type": "application/json"},
        )
        answer = connection.getresponse()
        if answer.status != 200:
            return
        request_id = answer.getheader("x-request-id") or ""
        while piece := answer.read1(65536):
            seen += piece
    except (OSError, http.client.HTTPException):
        pass
    finally:
        connection.close()
    if request_id:
        found.append((request_id, b"[DONE]" in seen, seen.count(b'"content":"tok')))


@pytest.mark.timeout(7_200 if SEEDS > 50 else 400)
def test_nothing_is_lost_doubled_or_overdrawn(tmp_path: Path) -> None:
    house = Installation(tmp_path / "data", starting_credit="1000")
    house.start()
    house.ready()
    found: list[tuple[str, bool, int]] = []
    for seed in range(SEEDS):
        chance = random.Random(seed)
        cue = f"echo:tokens={chance.randint(5, 60)},pace_ms={chance.choice((1, 3, 5))}"
        threads = [threading.Thread(target=one, args=(house, cue, found)) for _ in range(STREAMS)]
        for thread in threads:
            thread.start()
        time.sleep(chance.random() * 0.15)
        house.kill(chance.choice(VICTIMS))
        for thread in threads:
            thread.join()
        house.ready()
    done = sum(ended for _, ended, _ in found)
    assert done > SEEDS  # most streams survive a death that is not theirs
    receipts = {request_id: house.receipt(request_id, "posted") for request_id, _, _ in found}
    assert house.stop() == 0
    audit = house.command("ledger", "audit", "--json")
    report = json.loads(audit.stdout)
    assert report["disagreements"] == []
    for request_id, ended, tokens in found:
        billed = receipts[request_id]["completion_tokens"]
        if ended:
            assert billed == tokens, (request_id, billed, tokens)
        else:
            assert receipts[request_id]["outcome"] in ("orphaned", "engine_failed")
