"""Chats that look something up in a knowledge base first: the question's vector is paid, and then the chat."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from installation import Installation
from shelves import new_base, put
from vendor import Vendor

CHAT = "/api/paas/v4/chat/completions"
FAQ = "# 退货\n七天内可以退货。\n\n# 运费\n运费由我们承担。\n".encode()
ASKED = "运费谁承担"


@pytest.fixture(scope="module")
def vendor() -> Iterator[Vendor]:
    """An engine that remembers what it was asked."""
    with Vendor() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, vendor: Vendor) -> Iterator[Installation]:
    """A house whose echo engine embeds and whose vendor answers."""
    made = Installation(tmp_path_factory.mktemp("retrieval") / "data")
    made.start()
    url = f"http://127.0.0.1:{vendor.server_address[1]}/v1"
    for path, body in (
        ("/models", {"name": "polite", "context_tokens": 8192}),
        ("/prices", {"model": "polite", "input": "1", "output": "1"}),
        ("/deployments", {"model": "polite", "kind": "openai_http", "url": url}),
    ):
        status, told = made.admin("POST", path, body)
        assert status == 201, told
    made.ready("polite", "echo")
    yield made
    made.end()


def post(
    house: Installation, key: str, base_id: str, headers: dict[str, str] | None = None, **retrieval: Any
) -> tuple[int, dict[str, str], Any]:
    """Status, headers and answer of a chat that looks something up."""
    tool = {"type": "retrieval", "retrieval": {"knowledge_id": base_id, **retrieval}}
    body = {"model": "polite", "messages": [{"role": "user", "content": ASKED}], "tools": [tool]}
    status, told_headers, told = house.ask("POST", CHAT, body, key=key, headers=headers)
    return status, told_headers, json.loads(told)


def receipts(house: Installation, key: str, count: int) -> list[dict[str, Any]]:
    """A customer's receipts, newest first, once there are so many; a second later there are no more."""
    deadline = time.monotonic() + 20
    while len(rows := json.loads(house.ask("GET", "/v1/receipts", key=key)[2])["data"]) < count:
        assert time.monotonic() < deadline, rows
        time.sleep(0.05)
    time.sleep(1)
    assert len(json.loads(house.ask("GET", "/v1/receipts", key=key)[2])["data"]) == count
    return list(rows)


def test_what_is_known_stands_before_the_question_and_both_requests_are_paid(
    house: Installation, vendor: Vendor
) -> None:
    _, key = house.organisation("1")
    base_id = new_base(house, key)
    assert put(house, base_id, "faq.md", FAQ, key)["embedding_stat"] == 1
    status, headers, told = post(house, key, base_id)
    assert status == 200, told
    (question,) = vendor.asked["polite"]["messages"]
    assert "faq.md\n# 运费\n运费由我们承担。" in question["content"]
    assert question["content"].endswith(ASKED)
    assert "tools" not in vendor.asked["polite"]
    deadline = time.monotonic() + 20
    while len(rows := json.loads(house.ask("GET", "/v1/receipts", key=key)[2])["data"]) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    chat, vector, _ = rows
    assert chat["request_id"] == headers["x-request-id"]
    assert (chat["model"], vector["model"], chat["job_id"]) == ("polite", "echo", vector["job_id"])
    assert post(house, key, base_id, prompt_template="Know {{knowledge}}. Answer {{question}}!")[0] == 200
    (question,) = vendor.asked["polite"]["messages"]
    assert question["content"].startswith("Know [1]")
    assert question["content"].endswith(f"Answer {ASKED}!")


def test_sent_again_neither_the_questions_vector_nor_the_chat_is_paid_twice(house: Installation) -> None:
    _, key = house.organisation("1")
    base_id = new_base(house, key)
    put(house, base_id, "faq.md", FAQ, key)
    receipts(house, key, 1)
    once = {"idempotency-key": "once"}
    first, again = (post(house, key, base_id, once) for _ in range(2))
    assert first[0] == again[0] == 200
    assert first[2] == again[2]
    receipts(house, key, 3)
    search = {"query": ASKED, "knowledge_ids": [base_id]}
    path, once = "/api/llm-application/open/knowledge/retrieve", {"idempotency-key": "other"}
    found = [json.loads(house.ask("POST", path, search, key=key, headers=once)[2])["data"] for _ in range(2)]
    assert found[0] == found[1] != []
    receipts(house, key, 4)


def test_a_base_that_is_not_theirs_or_cannot_be_paid_is_refused(house: Installation) -> None:
    _, key = house.organisation("1")
    base_id = new_base(house, key)
    _, stranger = house.organisation("1")
    assert post(house, stranger, base_id)[0] == 404
    assert post(house, key, "kb_nosuch")[0] == 404
    status, _, told = post(house, key, "")
    assert (status, told["error"]["param"]) == (400, "tools[0].retrieval.knowledge_id")
    _, broke = house.organisation("0")
    status, headers, told = post(house, broke, new_base(house, broke))
    assert (status, told["error"]["code"], headers["x-should-retry"]) == (429, "1113", "false")
