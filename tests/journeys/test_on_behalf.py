"""Requests that a job sends for its customer: half the price, under the job's name, once, whoever leaves meanwhile."""

from __future__ import annotations

import json
import socket
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

from installation import Installation
from openmaas.identity.behalf import OnBehalf, mint
from openmaas.identity.seal import MasterKeys


def token(house: Installation, key: str | None = None, *, ends_s: float = 60, **changes: Any) -> str:
    """What a worker would send."""
    key_id = (key or house.key).partition(".")[0]
    rows = house.admin("GET", "/keys?limit=100")[1]["data"]
    (row,) = [row for row in rows if row["id"] == key_id]
    fields = {"price_class": "batch", "job_id": "batch_1", **changes}
    until_ms = round((time.time() + ends_s) * 1000)
    who = OnBehalf(row["organisation_id"], row["project_id"], key_id, until_ms=until_ms, **fields)
    return mint(MasterKeys(house.data / "master.keys"), who)


def ask(house: Installation, key: str, once: str = "", cue: str = "") -> tuple[int, dict[str, str], Any]:
    body = {"model": "echo", "messages": [{"role": "user", "content": "one two three"}]}
    if cue:
        body["user"] = f"echo:{cue}"
    headers = {"idempotency-key": once} if once else {}
    status, told, answer = house.ask("POST", "/v1/chat/completions", body, key=key, headers=headers)
    return status, told, json.loads(answer)


def test_a_job_pays_half_and_its_receipt_names_it(echo: Installation) -> None:
    status, headers, _ = ask(echo, token(echo))
    assert status == 200
    found = echo.receipt(headers["x-request-id"], "posted")
    _, ordinary, _ = ask(echo, echo.key)
    whole = echo.receipt(ordinary["x-request-id"], "posted")
    assert found["job_id"] == "batch_1"
    assert found["batch"] is True
    assert Decimal(found["amount"]) * 2 == Decimal(whole["amount"]) > 0
    assert whole["job_id"] is None
    status, headers, _ = ask(echo, token(echo, price_class="", job_id="task_1"))
    assert echo.receipt(headers["x-request-id"], "posted")["amount"] == whole["amount"]


def test_a_token_that_ended_or_was_altered_is_refused_and_none_is_good_for_anything_else(echo: Installation) -> None:
    good = token(echo)
    assert ask(echo, token(echo, ends_s=-1))[2]["error"]["code"] == "expired_token"
    for bad in (good[:-6] + "AAAAA=", "job.1.AAAA", "job.9." + good[6:], "job.x.y", "job.1.%%"):
        status, _, answer = ask(echo, bad)
        assert status == 401, bad
        assert answer["error"]["code"] in ("expired_token", "invalid_api_key")
    assert echo.ask("GET", "/v1/receipts", key=good)[0] == 401
    assert echo.ask("GET", "/metrics", key=good)[0] == 403


def test_the_key_behind_a_token_may_be_revoked(echo: Installation) -> None:
    _, key = echo.organisation("1")
    carried = token(echo, key)
    assert ask(echo, carried)[0] == 200
    assert echo.admin("DELETE", f"/keys/{key.partition('.')[0]}")[0] in (200, 204)
    deadline = time.monotonic() + 5
    while (found := ask(echo, carried))[0] == 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert found[2]["error"]["code"] == "revoked_api_key"


def test_a_job_that_is_cut_off_comes_back_for_the_first_answer_and_pays_once(echo: Installation) -> None:
    """A customer who leaves stops the engine; a job that leaves has died, and will ask again."""
    organisation, key = echo.organisation("1")
    carried = token(echo, key)
    leaving = threading.Thread(target=_leave, args=(echo, carried))
    leaving.start()
    leaving.join()
    status, headers, answer = ask(echo, carried, "batch_1:0", "tokens=40,pace_ms=10")
    assert status == 200
    assert headers["idempotent-replayed"] == "true"
    assert answer["usage"]["completion_tokens"] == 40
    found = echo.receipt(headers["x-request-id"], "posted", key=key)
    assert found["outcome"] == "done"
    assert echo.settled(organisation) == Decimal(1) - Decimal(found["amount"])


def test_behind_another_request_somebody_waits_and_who_leaves_stops_the_engine(echo: Installation) -> None:
    _, key = echo.organisation("1")
    _leave(echo, token(echo, key, price_class="", job_id="req_1"))
    deadline = time.monotonic() + 20
    while not (rows := json.loads(echo.ask("GET", "/v1/receipts", key=key)[2])["data"]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (rows[0]["job_id"], rows[0]["outcome"]) == ("req_1", "client_closed")
    assert 0 < rows[0]["completion_tokens"] < 40


def _leave(house: Installation, carried: str) -> None:
    """Send what ``ask`` would, and hang up."""

    body = {"model": "echo", "messages": [{"role": "user", "content": "one two three"}]}
    body["user"] = "echo:tokens=40,pace_ms=10"
    text = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {carried}\r\n"
        f"content-type: application/json\r\nidempotency-key: batch_1:0\r\ncontent-length: {len(text)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", house.port)) as client:
        client.sendall(head.encode() + text)
        time.sleep(0.15)


def test_a_relay_that_dies_under_a_job_leaves_no_debt(tmp_path: Path) -> None:
    house = Installation(tmp_path / "data")
    house.start()
    house.ready()
    try:
        carried = token(house)
        asking = threading.Thread(target=_leave, args=(house, carried))
        asking.start()
        asking.join()
        house.kill("openmaas.house.relay")
        house.ready()
        status, headers, _ = ask(house, token(house), "batch_1:0", "tokens=40,pace_ms=10")
        assert status == 200
        house.receipt(headers["x-request-id"], "posted")
        rows = json.loads(house.ask("GET", "/v1/receipts")[2])["data"]
        assert [row["request_id"] for row in rows if Decimal(row["amount"])] == [headers["x-request-id"]]
    finally:
        house.end()
