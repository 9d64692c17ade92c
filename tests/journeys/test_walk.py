"""What a caller sees, and what the ledger says after."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import pytest

from installation import Installation

HELLO = [{"role": "user", "content": "hi"}]


def events(body: bytes) -> list[dict[str, object]]:
    return [json.loads(line[6:]) for line in body.split(b"\n\n") if line.startswith(b"data: {")]


def test_an_answer_is_counted_priced_and_paid(echo: Installation) -> None:
    status, headers, body = echo.chat("tokens=5")
    answer = json.loads(body)
    assert status == 200
    assert answer["usage"]["prompt_tokens"] == 3
    assert answer["usage"]["completion_tokens"] == 5
    receipt = echo.receipt(headers["x-request-id"], "posted")
    assert receipt["outcome"] == "done"
    assert Decimal(receipt["amount"]) == (3 * 1 + 5 * 2) / Decimal(10**6)


def test_a_receipt_is_there_as_soon_as_the_last_byte_has_left(echo: Installation) -> None:
    for _ in range(20):
        _, headers, _ = echo.chat("tokens=1")
        status, _, body = echo.ask("GET", f"/v1/receipts/{headers['x-request-id']}")
        assert status == 200
        assert json.loads(body)["status"] in ("journaled", "posted")


def test_usage_is_hidden_from_who_did_not_ask_for_it(echo: Installation) -> None:
    _, headers, body = echo.chat("tokens=4", stream=True)
    assert b'"usage"' not in body
    assert body.endswith(b"data: [DONE]\n\n")
    assert echo.receipt(headers["x-request-id"])["completion_tokens"] == 4
    _, _, body = echo.chat("tokens=4", stream=True, stream_options={"include_usage": True})
    assert events(body)[-1]["usage"]["completion_tokens"] == 4  # type: ignore[index]


def test_the_worst_case_must_be_covered_before_anything_runs(echo: Installation) -> None:
    status, made = echo.admin("POST", "/organisations", {"name": "poor"})
    assert status == 201
    _, project = echo.admin("POST", "/projects", {"organisation_id": made["id"], "name": "p"})
    _, key = echo.admin("POST", "/keys", {"project_id": project["id"]})
    body = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}
    status, headers, answer = echo.ask("POST", "/v1/chat/completions", body, key=key["key"])
    error = json.loads(answer)["error"]
    assert status == 429
    assert error["code"] == "insufficient_quota"
    assert "is missing" in error["message"]
    assert headers["x-should-retry"] == "false"
    topup = {"amount": "1", "request_key": "p1"}
    for _ in range(2):  # the same payment told twice is one
        assert echo.admin("POST", f"/organisations/{made['id']}/topups", topup)[0] == 201
    assert echo.ask("POST", "/v1/chat/completions", body, key=key["key"])[0] == 200
    accounts = echo.admin("GET", f"/accounts?owner={made['id']}")[1]["data"]
    assert Decimal("0.99") < Decimal(accounts[0]["posted"]) <= 1


def test_a_revoked_key_is_refused_within_a_second(echo: Installation) -> None:
    made = json.loads(echo.command("keys", "create", "--json").stdout)
    assert echo.ask("GET", "/v1/models", key=made["key"])[0] == 200
    assert echo.command("keys", "revoke", made["id"]).returncode == 0
    time.sleep(1)
    status, _, body = echo.ask("GET", "/v1/models", key=made["key"])
    assert (status, json.loads(body)["error"]["code"]) == (401, "revoked_api_key")


def test_a_repeated_request_gets_the_first_answer_and_is_billed_once(echo: Installation) -> None:
    body = {"model": "echo", "messages": [{"role": "user", "content": "again"}], "stream": True}
    first = echo.ask("POST", "/v1/chat/completions", body, headers={"idempotency-key": "a1"})
    second = echo.ask("POST", "/v1/chat/completions", body, headers={"idempotency-key": "a1"})
    assert first[2] == second[2]
    assert first[1]["x-request-id"] == second[1]["x-request-id"]
    assert second[1]["idempotent-replayed"] == "true"
    body["messages"] = [{"role": "user", "content": "other"}]
    status, _, told = echo.ask("POST", "/v1/chat/completions", body, headers={"idempotency-key": "a1"})
    assert (status, json.loads(told)["error"]["code"]) == (409, "idempotency_key_reused")


def test_an_answer_too_long_to_keep_leaves_its_outcome_to_a_repetition(echo: Installation) -> None:
    body = {"model": "echo", "messages": HELLO, "stream": True, "user": "echo:tokens=100,big=20000"}
    status, headers, told = echo.ask("POST", "/v1/chat/completions", body, headers={"idempotency-key": "long"})
    assert (status, len(told) > 2_000_000) == (200, True)
    status, _, told = echo.ask("POST", "/v1/chat/completions", body, headers={"idempotency-key": "long"})
    assert (status, json.loads(told)["error"]["code"]) == (409, "idempotency_outcome")
    assert headers["x-request-id"] in json.loads(told)["error"]["message"]


def test_a_client_that_leaves_pays_what_the_engine_counted(echo: Installation) -> None:
    body = json.dumps(
        {
            "model": "echo",
            "stream": True,
            "user": "echo:tokens=1000,pace_ms=10",
            "messages": [{"role": "user", "content": "one"}],
        }
    ).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {echo.key}\r\n"
    client = socket.create_connection(("127.0.0.1", echo.port))
    client.sendall(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
    seen = b""
    while seen.count(b"tok") < 10:
        seen += client.recv(65536)
    client.close()
    request_id = next(
        line.split(b": ")[1].decode() for line in seen.split(b"\r\n") if line.lower().startswith(b"x-request-id")
    )
    time.sleep(0.3)
    receipt = echo.receipt(request_id, "posted")
    assert receipt["outcome"] == "client_closed"
    assert not receipt["estimated"]
    assert 10 <= receipt["completion_tokens"] < 60


def test_an_engine_that_breaks_off_bills_what_was_delivered(echo: Installation) -> None:
    status, headers, body = echo.chat("tokens=50,cut_after=7", stream=True)
    assert status == 200
    assert b'"code":"engine_failed"' in body
    receipt = echo.receipt(headers["x-request-id"], "posted")
    assert receipt["outcome"] == "engine_failed"
    assert 0 < receipt["completion_tokens"] <= 7


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_an_engine_that_breaks_off_bills_the_prompt_that_it_read_and_not_the_size_of_the_body(
    echo: Installation, path: str
) -> None:
    cue = "echo:tokens=50,cut_after=5,cached=2"
    said = [{"role": "user", "content": "one two three four five"}]
    body = {"model": "echo", "max_tokens": 64, "stream": True, "messages": said}
    body |= {"metadata": {"user_id": cue}} if path == "/v1/messages" else {"user": cue}
    _, headers, _ = echo.ask("POST", path, body)
    receipt = echo.receipt(headers.get("x-request-id") or headers["request-id"], "posted")
    assert (receipt["outcome"], receipt["estimated"]) == ("engine_failed", True)
    assert (receipt["prompt_tokens"], receipt["cached_tokens"]) == (5, 2)


def test_an_engine_that_breaks_off_before_its_first_token_costs_nothing_and_its_count_is_booked(
    echo: Installation,
) -> None:
    _, headers, _ = echo.chat("tokens=50,cut_after=0", stream=True)
    receipt = echo.receipt(headers["x-request-id"], "posted")
    assert (Decimal(receipt["amount"]), receipt["estimated"]) == (0, True)
    audit = echo.command("ledger", "audit")
    assert audit.returncode == 0, audit.stderr  # the engine read a prompt that nobody pays for


def test_an_engine_error_costs_nothing(echo: Installation) -> None:
    for code, seen in ((400, 400), (500, 502), (429, 503)):
        status, headers, _ = echo.chat(f"status={code}")
        assert status == seen
        assert Decimal(echo.receipt(headers["x-request-id"], "posted")["amount"]) == 0


def test_bad_input_names_the_field(echo: Installation) -> None:
    for fields, field in (
        ({"model": "nope"}, "model"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"n": "x"}, "n"),
        ({"n": 0}, "n"),
    ):
        status, _, body = echo.chat(**fields)
        assert status in (400, 404)
        assert json.loads(body)["error"]["param"] == field
    status, told = echo.admin("POST", "/keys", {"project_id": "x", "scops": []})
    assert (status, told["error"]["param"]) == (400, "scops")


@pytest.mark.parametrize(
    ("path", "fields", "field"),
    [
        ("embeddings", {"input": "x", "encoding_format": "zzz"}, "encoding_format"),
        ("completions", {"prompt": []}, "prompt"),
        ("chat/completions", {"messages": HELLO, "response_format": {"type": "zzz"}}, "response_format.type"),
        (
            "chat/completions",
            {"messages": HELLO, "response_format": {"type": "json_schema"}},
            "response_format.json_schema",
        ),
        ("chat/completions", {"messages": HELLO, "response_format": "json"}, "response_format"),
    ],
)
def test_a_shape_that_nobody_can_answer_in_is_refused_by_its_field(
    echo: Installation, path: str, fields: dict[str, object], field: str
) -> None:
    status, _, body = echo.ask("POST", f"/v1/{path}", {"model": "echo", **fields})
    assert (status, json.loads(body)["error"]["param"]) == (400, field), body
    for shape in (None, {"type": "text"}, {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}):
        assert echo.chat(response_format=shape)[0] == 200


def test_what_an_engine_refuses_was_not_counted(echo: Installation) -> None:
    """The engine's own word on it is 0, too: the audit compares."""
    choice = {"type": "function", "function": "f"}
    status, headers, body = echo.chat(tools=[{"type": "function"}], tool_choice=choice)
    assert (status, json.loads(body)["error"]["param"]) == (400, "tool_choice")
    assert echo.command("ledger", "audit").returncode == 0
    assert echo.receipt(headers["x-request-id"], "posted")["prompt_tokens"] == 0


def test_a_slow_reader_slows_the_engine_and_not_the_memory(echo: Installation) -> None:
    body = json.dumps(
        {"model": "echo", "stream": True, "user": "echo:tokens=2000,big=20000", "messages": HELLO, "max_tokens": 2000}
    ).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {echo.key}\r\n"
    client = socket.create_connection(("127.0.0.1", echo.port))
    client.sendall(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
    client.recv(1000)
    (relay,) = echo.children("openmaas.house.relay")
    time.sleep(1.0)
    with open(f"/proc/{relay}/status") as status:
        resident_kb = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    assert resident_kb < 150_000  # 40 MB of answer are waiting at the engine
    total = 0
    while block := client.recv(1 << 20):
        total += len(block)
        if b"[DONE]" in block:
            break
    client.close()
    assert total > 39_000_000


def test_metrics_and_readiness_say_what_is_going_on(echo: Installation) -> None:
    echo.chat("tokens=1")
    text = echo.ask("GET", "/metrics", key=(echo.data / "admin.key").read_text().strip())[2].decode()
    assert 'openmaas_requests_total{model="echo",outcome="done",relay="0"}' in text
    assert json.loads(echo.ask("GET", "/readyz")[2])["models"]["echo"]["ready"]
    assert echo.ask("GET", "/healthz")[0] == 200


def test_what_the_relay_does_not_own_reaches_the_control_plane(echo: Installation) -> None:
    status, _, body = echo.ask("GET", "/openapi.json")
    assert status == 200
    assert "/manage/v1/keys" in json.loads(body)["paths"]
    assert echo.ask("GET", "/manage/v1/keys")[0] == 403  # a key without the scope admin
    assert echo.ask("GET", "/nowhere")[0] == 404
    assert echo.ask("OPTIONS", "/v1/chat/completions")[0] == 204
    assert echo.ask("PUT", "/v1/chat/completions")[0] == 405
    _, headers, _ = echo.chat("tokens=1")
    echo.receipt(headers["x-request-id"], "posted")
    usage = json.loads(echo.ask("GET", "/v1/usage?by=day,model")[2])
    assert usage["data"][0]["model"] == "echo"


def test_an_encoded_body_is_refused_by_name(echo: Installation) -> None:
    status, _, body = echo.ask("POST", "/v1/chat/completions", b"\x1f\x8b", headers={"content-encoding": "gzip"})
    assert status == 415
    assert json.loads(body)["error"]["param"] == "content-encoding"


def test_every_answer_has_a_request_id(echo: Installation) -> None:
    for path in ("/v1/receipts/none", "/openapi.json", "/nowhere", "/manage/v1/keys"):
        assert echo.ask("GET", path)[1]["x-request-id"].startswith("req_"), path


def test_a_first_start_that_could_not_bind_leaves_the_first_key_for_the_next(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [sys.executable, "-m", "openmaas.cli", "serve", "--model", "echo", "--data", str(tmp_path / "data")]
        failed = subprocess.run(
            [*command, "--port", str(taken.getsockname()[1])], capture_output=True, text=True, check=False
        )
        assert failed.returncode != 0
        assert "port" in failed.stderr
    house = Installation(tmp_path / "data")
    house.start()
    try:
        assert house.key
        assert house.chat("tokens=1")[0] == 200
    finally:
        house.stop()


def test_no_library_speaks_before_the_welcome(echo: Installation) -> None:
    said = echo.log.read_text()
    assert "Started server process" not in said
    assert "Uvicorn running" not in said
