"""A full disk: it refuses, says why, forgets nothing, and all is well again when there is room."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from installation import Installation
from raw import Raw

pytestmark = pytest.mark.alone

SIZE = "24m"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, of ``SIZE``."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk to fill")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"this machine lets nobody mount: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Take all the room there is."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            while True:
                try:
                    if not file.write(b"x" * size):
                        break
                except OSError:
                    break
    return ballast


def test_a_full_disk_refuses_and_forgets_nothing(small_disk: Path) -> None:
    house = Installation(small_disk / "data")
    house.log = small_disk.parent / "log"  # not on the disk that will be full
    house.start()
    house.ready()
    answered = [house.chat("tokens=5")[1]["x-request-id"] for _ in range(5)]
    ballast, refusals, deadline = fill(small_disk), [], time.monotonic() + 60
    asked = {"model": "echo", "messages": [{"role": "user", "content": "one two three"}], "user": "echo:tokens=5"}
    client = Raw(house)
    while len(refusals) < 20:
        client.ask("POST", "/v1/chat/completions", asked)
        status, headers, body = client.answer()
        if status == 200:  # the journal had claimed room for this one beforehand
            assert json.loads(body)["usage"]["completion_tokens"] == 5
            answered.append(headers["x-request-id"])
        else:
            refusals.append((status, json.loads(body)["error"]))
        assert time.monotonic() < deadline, f"{len(answered)} were answered on a full disk"
    client.close()
    codes = sorted({error["code"] for _, error in refusals})
    print(f"\nfull disk: {len(answered) - 5} requests had their room claimed before; then {codes}")
    assert {(status, error["code"]) for status, error in refusals} <= {(503, "journal_full"), (503, "store_failed")}
    assert all("disk" in error["message"] for _, error in refusals), refusals[0]
    assert house.ask("GET", "/healthz")[0] == 200
    assert house.ask("GET", "/v1/models")[0] == 200  # what writes nothing goes on
    ballast.unlink()
    deadline = time.monotonic() + 20
    while (found := house.chat("tokens=5"))[0] != 200:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    answered.append(found[1]["x-request-id"])
    # The last one is posted after all others; some are looked at, and then the sum of all.
    receipts = [house.receipt(request_id, "posted") for request_id in (answered[-1], *answered[:: len(answered) // 20])]
    assert {receipt["completion_tokens"] for receipt in receipts} == {5}
    assert {Decimal(receipt["amount"]) * 10**6 for receipt in receipts} == {Decimal(3 + 10)}
    (total,) = house.admin("GET", "/usage?by=model")[1]["data"]
    assert total["requests"] == len(answered)  # nothing is lost, and nothing was billed that was refused
    assert total["completion_tokens"] == 5 * len(answered)
    assert Decimal(total["amount"]) * 10**6 == 13 * len(answered)
    house.end()


def test_a_relay_that_dies_on_a_full_disk_comes_back_when_there_is_room(small_disk: Path) -> None:
    house = Installation(small_disk / "data")
    house.log = small_disk.parent / "log"
    house.start()
    house.ready()
    answered = [house.chat("tokens=5")[1]["x-request-id"] for _ in range(5)]
    ballast = fill(small_disk)
    (relay,) = house.children("openmaas.house.relay")
    house.kill("openmaas.house.relay")
    deadline = time.monotonic() + 30
    while house.log.read_text().count("relay 0 ended with") < 3:  # it was killed, and then could not begin
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert relay not in house.children("openmaas.house.relay")
    ballast.unlink()
    began_s = time.monotonic()
    house.ready()
    print(f"\nfull disk: a relay that had died served again {time.monotonic() - began_s:.1f} s after there was room")
    answered.append(house.chat("tokens=5")[1]["x-request-id"])
    assert {house.receipt(request_id, "posted")["completion_tokens"] for request_id in answered} == {5}
    house.end()
