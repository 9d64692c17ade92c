"""Zhipu's files, batches and async tasks: its paths, its urls of lines, its milliseconds."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from typing import Any

from batches import line
from installation import Installation

MULTIPART = "multipart/form-data; boundary=----zhipu"


def ask(house: Installation, method: str, path: str, body: Any = None, key: str | None = None) -> tuple[int, Any]:
    status, _, answer = house.ask(method, f"/api/paas/v4{path}", body, key=key)
    return status, json.loads(answer)


def upload(house: Installation, content: bytes, *, purpose: str = "batch", **fields: str) -> tuple[int, Any]:
    """As httpx writes it: fields first, then the file."""
    body = b""
    for name, value in {"purpose": purpose, **fields}.items():
        body += f'------zhipu\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    body += b'------zhipu\r\nContent-Disposition: form-data; name="file"; filename="\xe8\xbe\x93\xe5\x85\xa5.jsonl"\r\n'
    body += b"Content-Type: application/octet-stream\r\n\r\n" + content + b"\r\n------zhipu--\r\n"
    status, _, answer = house.ask("POST", "/api/paas/v4/files", body, headers={"content-type": MULTIPART})
    return status, json.loads(answer)


def settled(house: Installation, path: str, field: str, while_in: set[str], key: str | None = None) -> Any:
    deadline = time.monotonic() + 20
    while (found := ask(house, "GET", path, key=key)[1])[field] in while_in:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def test_a_batch_of_zhipu_counts_in_milliseconds_and_takes_both_urls(echo: Installation) -> None:
    lines = [line("a", "/v4/chat/completions"), line("b", "/v1/chat/completions")]
    status, file = upload(echo, "\n".join(map(json.dumps, lines)).encode())
    assert status == 200
    assert file["object"] == "file"
    assert file["filename"] == "输入.jsonl"
    assert abs(file["created_at"] - time.time()) < 60
    asked = {"completion_window": None, "endpoint": "/v4/chat/completions", "input_file_id": file["id"]}
    status, batch = ask(echo, "POST", "/batches", {**asked, "metadata": None, "auto_delete_input_file": True})
    assert status == 200, batch
    assert abs(batch["created_at"] - time.time() * 1000) < 60_000
    found = settled(echo, f"/batches/{batch['id']}", "status", {"validating", "in_progress", "finalizing"})
    assert found["status"] == "completed"
    assert found["request_counts"] == {"total": 2, "completed": 2, "failed": 0}
    assert found["completed_at"] >= found["created_at"]
    status, _, content = echo.ask("GET", f"/api/paas/v4/files/{found['output_file_id']}/content")
    rows = [json.loads(row) for row in content.splitlines()]
    assert {row["custom_id"] for row in rows} == {"a", "b"}
    assert ask(echo, "GET", f"/files/{file['id']}")[0] == 404  # it was to be deleted
    assert batch["id"] in [row["id"] for row in ask(echo, "GET", "/batches?limit=3")[1]["data"]]


def test_what_is_no_file_here_is_refused(echo: Installation) -> None:
    for fields, field in (
        ({"purpose": "retrieval"}, "knowledge_id"),
        ({"purpose": "vision"}, "purpose"),
        ({"knowledge_id": "k"}, "purpose"),
    ):
        status, told = upload(echo, b"x", **fields)
        assert status == 400
        assert told["error"]["param"] == field
    for content_type, body in (("application/json", b"{}"), (MULTIPART, b"------zhipu\r\n"), (MULTIPART, b"")):
        assert echo.ask("POST", "/api/paas/v4/files", body, headers={"content-type": content_type})[0] == 400


def test_a_task_is_done_later_at_the_ordinary_price(echo: Installation) -> None:
    body = {**line("x")["body"], "request_id": 1795.5}
    status, task = ask(echo, "POST", "/async/chat/completions", body)
    assert status == 200, task
    assert task == {"id": task["id"], "request_id": "1795.5", "model": "echo", "task_status": "PROCESSING"}
    found = settled(echo, f"/async-result/{task['id']}", "task_status", {"PROCESSING"})
    assert found["task_status"] == "SUCCESS"
    assert found["choices"][0]["message"]["content"].startswith("tok0")
    assert found["usage"]["completion_tokens"] == 5
    deadline = time.monotonic() + 20
    while not (rows := [row for row in _receipts(echo) if row["job_id"] == task["id"]]):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert rows[0]["batch"] is False
    assert Decimal(rows[0]["amount"]) > 0
    _, key = echo.organisation("1")
    assert ask(echo, "GET", f"/async-result/{task['id']}", key=key)[0] == 404


def _receipts(house: Installation) -> list[dict[str, Any]]:
    return list(json.loads(house.ask("GET", "/v1/receipts?limit=100")[2])["data"])


def test_an_operator_sees_jobs_and_batches_and_ends_one(echo: Installation) -> None:
    _, file = upload(echo, json.dumps(line("slow", "/v4/chat/completions", cue="wait_ms=4000")).encode())
    _, batch = ask(echo, "POST", "/batches", {"endpoint": "/v4/chat/completions", "input_file_id": file["id"]})
    rows = json.loads(echo.command("batches", "list", "--state", "open", "--json").stdout)
    assert [row["id"] for row in rows] == [batch["id"]]
    assert echo.command("jobs", "cancel", batch["id"]).stdout.strip() == f"{batch['id']} is to end"
    assert batch["id"] in echo.command("jobs", "list").stdout
    assert ask(echo, "GET", f"/batches/{batch['id']}")[1]["status"] == "cancelling"
    key = (echo.data / "admin.key").read_text().strip()
    page = echo.ask("GET", "/metrics", key=key)[2].decode()
    assert "openmaas_jobs_up 1.0" in page
    assert 'openmaas_jobs{kind="batch",state="running"} 1.0' in page
    settled(echo, f"/batches/{batch['id']}", "status", {"validating", "in_progress", "cancelling", "finalizing"})


def test_a_task_that_fails_says_why_and_one_that_cannot_be_is_refused(echo: Installation) -> None:
    _, task = ask(echo, "POST", "/async/chat/completions", line("x", max_tokens=0)["body"])
    found = settled(echo, f"/async-result/{task['id']}", "task_status", {"PROCESSING"})
    assert found["task_status"] == "FAIL"
    assert found["error"]["code"] == "1214"
    _, broke = echo.organisation("0")
    _, task = ask(echo, "POST", "/async/chat/completions", line("x")["body"], key=broke)
    found = settled(echo, f"/async-result/{task['id']}", "task_status", {"PROCESSING"}, key=broke)
    assert found["error"]["code"] == "1113"
    for wrong, status in (
        ({"stream": True}, 400),
        ({"messages": "hello"}, 400),
        ({"request_id": "x" * 201}, 400),
    ):
        assert ask(echo, "POST", "/async/chat/completions", {**line("x")["body"], **wrong})[0] == status, wrong
    assert echo.ask("POST", "/api/paas/v4/async/chat/completions", b"{")[0] == 400


def test_a_task_that_lacks_something_is_told_what_as_a_chat_is(echo: Installation) -> None:
    for chat, code, field in (
        ({"model": "echo"}, "1213", "messages"),
        ({"messages": []}, "1213", "model"),
        ({"model": "echo", "messages": "hello"}, "1214", "messages"),
        ({"model": "echo", "messages": [[None]]}, "1214", "messages[0]"),
    ):
        _, told = ask(echo, "POST", "/async/chat/completions", chat)
        assert (told["error"]["code"], told["error"]["param"]) == (code, field)
