"""What tests say to a house about batches, in the words of OpenAI's own SDK."""

from __future__ import annotations

import json
import time
from typing import Any

import openai

from installation import Installation


def client_of(house: Installation, key: str | None = None) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"http://127.0.0.1:{house.port}/v1", api_key=key or house.key, max_retries=0)


def line(name: str, url: str = "/v1/chat/completions", cue: str = "", **body: Any) -> dict[str, Any]:
    asked = {"model": "echo", "messages": [{"role": "user", "content": f"this is {name}"}], "max_tokens": 5, **body}
    if cue:
        asked["user"] = f"echo:{cue}"
    return {"custom_id": name, "method": "POST", "url": url, "body": asked}


def upload(client: openai.OpenAI, lines: list[dict[str, Any] | str], purpose: Any = "batch") -> str:
    text = "\n".join(each if isinstance(each, str) else json.dumps(each) for each in lines)
    return client.files.create(file=("input.jsonl", text.encode()), purpose=purpose).id


def begin(client: openai.OpenAI, lines: list[dict[str, Any] | str], endpoint: Any = "/v1/chat/completions") -> str:
    file_id = upload(client, lines)
    return client.batches.create(input_file_id=file_id, endpoint=endpoint, completion_window="24h").id


def ended(client: openai.OpenAI, batch_id: str, timeout_s: float = 30) -> openai.types.Batch:
    deadline = time.monotonic() + timeout_s
    while (found := client.batches.retrieve(batch_id)).status not in ("completed", "failed", "expired", "cancelled"):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    return found


def lines_of(client: openai.OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    return [] if file_id is None else [json.loads(row) for row in client.files.content(file_id).text.splitlines()]


def posted(house: Installation, job_id: str, count: int) -> list[dict[str, Any]]:
    """The receipts of a job, once there are ``count``."""
    deadline = time.monotonic() + 20
    while len(found := receipts_of(house, job_id)) < count and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def receipts_of(house: Installation, job_id: str, key: str | None = None) -> list[dict[str, Any]]:
    """Every posted receipt of a job."""
    found, after = [], ""
    while True:
        page = json.loads(house.ask("GET", f"/v1/receipts?limit=100&after={after}", key=key)[2])
        found += [row for row in page["data"] if row["job_id"] == job_id]
        if page["next_after"] is None:
            return found
        after = page["next_after"]
