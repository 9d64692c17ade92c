"""Something that the relay leans on is gone for a while: database, engine, control plane."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from installation import Installation
from openmaas.house.layout import Layout
from openmaas.house.orders import Orders
from openmaas.house.settings import Settings
from raw import Raw

pytestmark = pytest.mark.alone

#: Takes every lock that SQLite's readers and writers of a WAL take (its bytes 120 to 127), until it is told to end.
#: https://www.sqlite.org/walformat.html §2.3
_LOCKER = """
import fcntl, sys
with open(sys.argv[1], "r+b") as index:
    fcntl.lockf(index, fcntl.LOCK_EX, 8, 120)
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Installation]:
    """A house of its own, whose books must agree at the end."""
    made = Installation(tmp_path / "data")
    made.start()
    made.ready()
    yield made
    made.end()


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another process holds the database against readers and writers."""
    command = [sys.executable, "-c", _LOCKER, f"{database}-shm"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as locker:
        assert locker.stdout is not None
        assert locker.stdin is not None
        assert locker.stdout.readline() == "locked\n"
        yield
        locker.stdin.close()


def stream(tokens: int, pace_ms: int) -> dict[str, Any]:
    """A stream of the echo engine."""
    asked = [{"role": "user", "content": "one two three"}]
    return {"model": "echo", "messages": asked, "stream": True, "user": f"echo:tokens={tokens},pace_ms={pace_ms}"}


def until(house: Installation, wanted: int, timeout_s: float = 30) -> float:
    """Ask until the status is ``wanted``; returns the seconds that took."""
    began_s = time.monotonic()
    while (found := house.chat("tokens=1"))[0] != wanted:
        assert time.monotonic() < began_s + timeout_s, found
        time.sleep(0.02)
    return time.monotonic() - began_s


def test_a_database_that_is_locked_refuses_new_requests_and_lets_streams_finish(house: Installation) -> None:
    with Raw(house) as client:
        client.ask("POST", "/v1/chat/completions", stream(400, 10))
        _, headers = client.head()
        client.until(b"tok5 ")
        with locked(house.data / "openmaas.db"):
            refused_s = until(house, 503)
            status, _, body = house.chat("tokens=1")
            error = json.loads(body)["error"]
            assert (status, error["code"]) == (503, "stale_view")
            assert "database" in error["message"]
            assert house.ask("GET", "/healthz")[0] == 200
            client.until(b"data: [DONE]")
            assert house.chat("tokens=1")[0] == 503  # it was locked all the while
        assert client.seen.count(b'"content":"tok') == 400
    back_s = until(house, 200)
    print(f"\nlocked database: refused {refused_s:.1f} s after the lock, served {back_s:.1f} s after its end")
    receipt = house.receipt(headers["x-request-id"], "posted")
    assert (receipt["outcome"], receipt["completion_tokens"]) == ("done", 400)


def test_an_answer_that_the_database_could_not_take_is_repeated_once_it_is_back(house: Installation) -> None:
    asked = stream(200, 5)
    with Raw(house) as client:
        client.ask("POST", "/v1/chat/completions", asked, headers="idempotency-key: once\r\n")
        _, headers = client.head()
        client.until(b"tok5 ")
        with locked(house.data / "openmaas.db"):
            client.until(b"data: [DONE]")  # it leaves, though nobody could write it down
    until(house, 200)
    status, again, body = house.ask("POST", "/v1/chat/completions", asked, headers={"idempotency-key": "once"})
    assert (status, again["idempotent-replayed"], again["x-request-id"]) == (200, "true", headers["x-request-id"])
    assert body.count(b'"content":"tok') == 200
    assert "is written later" in house.log.read_text()


def test_an_engine_that_stands_still_is_killed_and_started_again(house: Installation) -> None:
    (engine,) = house.children("openmaas.engines.program")
    with Raw(house) as client, Raw(house) as late:
        client.ask("POST", "/v1/chat/completions", stream(10_000, 5))
        _, headers = client.head()
        client.until(b"tok5 ")
        os.kill(engine, signal.SIGSTOP)
        began_s = time.monotonic()
        late.ask("POST", "/v1/chat/completions", stream(3, 0))
        while house.ask("GET", "/readyz")[0] == 200:
            assert time.monotonic() < began_s + 20
            time.sleep(0.1)
        unready_s = time.monotonic() - began_s
        broken = client.until(b"\r\n0\r\n\r\n")  # the stream says what happened, and ends as it should
        killed_s = time.monotonic() - began_s
        assert b'"code":"engine_failed"' in broken
        assert b"[DONE]" not in broken
        status, _, answer = late.answer()
    house.ready()
    (again,) = house.children("openmaas.engines.program")
    assert again != engine
    print(
        f"\nstalled engine: not ready after {unready_s:.1f} s, killed after {killed_s:.1f} s, "
        f"ready again after {time.monotonic() - began_s:.1f} s; the request that met it got {status}"
    )
    if status != 200:
        assert json.loads(answer)["error"]["code"] in ("engine_failed", "engine_timeout")
    assert house.chat("tokens=2")[0] == 200
    assert "is stalled and is killed" in house.log.read_text()
    receipt = house.receipt(headers["x-request-id"], "posted")
    assert receipt["outcome"] == "engine_failed"
    assert receipt["estimated"] is True
    assert 0 < receipt["completion_tokens"] <= broken.count(b'"content":"tok')


def test_an_engine_that_dies_again_and_again_is_started_with_growing_pauses(house: Installation) -> None:
    for _ in range(3):
        (engine,) = house.children("openmaas.engines.program")
        os.kill(engine, signal.SIGKILL)
        status, headers, body = house.chat("tokens=1")  # meets the death, or waits for the next life
        if status != 200:
            error = json.loads(body)["error"]
            assert (status, error["code"]) in ((502, "engine_failed"), (503, "model_not_ready"))
            # Nothing was sent by whom no new connection was made for; one on a kept connection may have been.
            sent = status == 502 and "cannot be reached" not in error["message"]
            if sent or house.ask("GET", f"/v1/receipts/{headers['x-request-id']}")[0] == 200:
                assert Decimal(house.receipt(headers["x-request-id"], "posted")["amount"]) == 0
        deadline = time.monotonic() + 30
        while house.children("openmaas.engines.program") in ([], [engine]):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        until(house, 200)
    pauses = re.findall(r"engine dep_\w+ ended with -9; starting it again in ([\d.]+) s", house.log.read_text())
    assert pauses == ["0.2", "0.4", "0.8"]


def test_a_control_plane_that_is_killed_comes_back_and_inference_never_stops(house: Installation) -> None:
    (control,) = house.children("openmaas.house.control")
    assert house.ask("GET", "/openapi.json")[0] == 200
    with Raw(house) as client:
        client.ask("POST", "/v1/chat/completions", stream(200, 5))
        client.until(b"tok5 ")
        os.kill(control, signal.SIGKILL)
        while Path(f"/proc/{control}").exists():
            time.sleep(0.005)  # its sockets close with its last thread; its command line is empty a moment earlier
        status, headers, body = house.ask("GET", "/openapi.json")
        assert (status, json.loads(body)["error"]["code"]) == (503, "overloaded")
        assert int(headers["retry-after"]) >= 1
        assert house.chat("tokens=2")[0] == 200
        deadline = time.monotonic() + 30
        while house.ask("GET", "/openapi.json")[0] != 200:
            assert time.monotonic() < deadline
            assert house.chat("tokens=1")[0] == 200
        client.until(b"data: [DONE]")
    assert house.children("openmaas.house.control") not in ([], [control])
    assert house.admin("GET", "/keys")[0] == 200


def test_a_house_that_is_told_to_leave_while_a_program_waits_to_be_started_again_leaves(tmp_path: Path) -> None:
    house = Installation(tmp_path / "data")
    house.start()
    house.ready()
    for pause in ("0.2", "0.4", "0.8", "1.6"):
        deadline = time.monotonic() + 20
        while not (found := house.children("openmaas.engines.program")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(found[0], signal.SIGKILL)
        while f"starting it again in {pause} s" not in house.log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)
    house.leave()
    try:
        assert house.left(15) == 0
    finally:
        house.slay()


@pytest.mark.parametrize("program", ["control", "poster", "relay"])
def test_a_program_that_finds_no_database_says_so_in_one_line_and_leaves(tmp_path: Path, program: str) -> None:
    Layout(str(tmp_path)).prepare()
    settings = Settings(data=str(tmp_path), database_url="postgresql://postgres@127.0.0.1:1/none")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        orders = msgspec.json.encode(Orders(settings, listener.fileno())) + b"\n"
        command = [sys.executable, "-m", f"openmaas.house.{program}"]
        ended = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=[listener.fileno()])
        assert ended.stdin is not None
        ended.stdin.write(orders)
        ended.stdin.flush()
        if program == "poster":  # keeps trying while it runs: its journals wait
            time.sleep(1)
            assert ended.poll() is None
        told = ended.communicate(timeout=20)[1].decode()
    assert "Traceback" not in told
    assert f"{program} ERROR cannot go on: The database did not answer" in told
    assert ended.returncode == 1
