"""What tests say to a house about knowledge: bases, documents and questions, in the words of Zhipu's newer wire."""

from __future__ import annotations

import json
import time
from typing import Any

from installation import Installation

OPEN, PAAS = "/api/llm-application/open", "/api/paas/v4"
MULTIPART = {"content-type": "multipart/form-data; boundary=----shelf"}


def ask(house: Installation, method: str, path: str, body: Any = None, *, key: str | None = None) -> tuple[int, Any]:
    status, _, answer = house.ask(method, path, body, key=key)
    return status, json.loads(answer)


def form(filename: str, content: bytes, part: str = "files", **fields: str | list[str]) -> bytes:
    body = b""
    for name, values in fields.items():
        for value in values if isinstance(values, list) else [values]:
            shown = f"{name}[]" if isinstance(values, list) else name
            body += f'------shelf\r\nContent-Disposition: form-data; name="{shown}"\r\n\r\n{value}\r\n'.encode()
    head = f'------shelf\r\nContent-Disposition: form-data; name="{part}"; filename="{filename}"\r\n\r\n'
    return body + head.encode() + content + b"\r\n------shelf--\r\n"


def new_base(house: Installation, key: str | None = None, model: str = "echo", **fields: Any) -> str:
    status, made = ask(house, "POST", f"{OPEN}/knowledge", {"embedding_model": model, "name": "库", **fields}, key=key)
    assert status == 200, made
    return str(made["data"]["id"])


def upload(
    house: Installation, base_id: str, filename: str, content: bytes, key: str | None = None, **fields: str | list[str]
) -> Any:
    path = f"{OPEN}/document/upload_document/{base_id}"
    status, _, answer = house.ask("POST", path, form(filename, content, **fields), key=key, headers=MULTIPART)
    return json.loads(answer) | {"status": status}


def put(
    house: Installation, base_id: str, filename: str, content: bytes, key: str | None = None, **fields: str | list[str]
) -> dict[str, Any]:
    """A document, once it is embedded or has failed."""
    told = upload(house, base_id, filename, content, key, **fields)
    (made,) = told["data"]["successInfos"]
    return embedded(house, made["documentId"], key)


def embedded(house: Installation, document_id: str, key: str | None = None, timeout_s: float = 30) -> dict[str, Any]:
    deadline = time.monotonic() + timeout_s
    while True:
        status, found = ask(house, "GET", f"{OPEN}/document/{document_id}", key=key)
        if status == 200 and found["data"]["embedding_stat"]:  # it may be down for a moment
            return dict(found["data"])
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def search(
    house: Installation, query: str, *base_ids: str, key: str | None = None, **fields: Any
) -> tuple[int, list[dict[str, Any]]]:
    body = {"query": query, "knowledge_ids": base_ids, **fields}
    status, told = ask(house, "POST", f"{OPEN}/knowledge/retrieve", body, key=key)
    return status, told["data"] if status == 200 else told["error"]
