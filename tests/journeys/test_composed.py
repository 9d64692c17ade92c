"""Chats that search first: two requests with a receipt each, and one answer that has what was found beside it."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from installation import Installation
from searching import attach, library
from tokens import token
from vendor import Vendor

PAAS, CODING = "/api/paas/v4/chat/completions", "/api/coding/paas/v4/chat/completions"
ASKED = "退款政策"
HI = [{"role": "system", "content": "be brief"}, {"role": "user", "content": ASKED}]
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def tool(**wish: Any) -> dict[str, Any]:
    """The tool, over the operator's folder."""
    return {"type": "web_search", "web_search": {"search_engine": "library", **wish}}


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
    """A house that searches a folder for 0.003 a call; the echo engine and the vendor answer."""
    made = Installation(tmp_path_factory.mktemp("composed") / "data")
    made.start()
    folder = library(tmp_path_factory.mktemp("library") / "files")
    attach(made, "library", "search", "search", {"folder": folder}, "0.003")
    url = f"http://127.0.0.1:{vendor.server_address[1]}/v1"
    for path, body in (
        ("/models", {"name": "polite", "context_tokens": 8192}),
        ("/prices", {"model": "polite", "input": "1", "output": "1"}),
        ("/deployments", {"model": "polite", "kind": "openai_http", "url": url}),
    ):
        status, told = made.admin("POST", path, body)
        assert status == 201, told
    made.ready("library", "polite", "echo")
    yield made
    made.end()


def post(house: Installation, path: str = PAAS, **fields: Any) -> tuple[int, dict[str, str], Any]:
    """Status, headers and answer of a chat that searches."""
    more = {name: fields.pop(name) for name in ("key", "headers") if name in fields}
    body = {"model": "echo", "messages": HI, "tools": [tool()], **fields}
    status, headers, told = house.ask("POST", path, body, **more)
    return status, headers, json.loads(told)


def events(house: Installation, **fields: Any) -> list[Any]:
    """The chunks of a stream."""
    body = {"model": "echo", "messages": HI, "tools": [tool()], "stream": True, **fields}
    status, _, told = house.ask("POST", PAAS, body)
    assert status == 200, told
    *chunks, done, rest = told.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    return [json.loads(each.removeprefix(b"data: ")) for each in chunks]


def receipts(house: Installation, key: str, count: int) -> list[dict[str, Any]]:
    """A customer's receipts, newest first, once there are so many."""
    deadline = time.monotonic() + 20
    while len(rows := json.loads(house.ask("GET", "/v1/receipts", key=key)[2])["data"]) < count:
        assert time.monotonic() < deadline, rows
        time.sleep(0.05)
    assert len(rows) == count
    return list(rows)


def test_a_search_and_a_chat_are_one_answer_and_two_receipts(house: Installation) -> None:
    organisation, key = house.organisation("1")
    status, headers, told = post(house, key=key, user_id="echo:tokens=3", request_id="mine")
    assert status == 200, told
    assert (told["request_id"], told["choices"][0]["message"]["content"]) == ("mine", "tok0 tok1 tok2 ")
    assert [each["title"] for each in told["web_search"]] == ["退款政策"]
    chat, search = receipts(house, key, 2)
    assert headers["x-request-id"] == told["id"] == chat["request_id"]
    assert (chat["model"], search["model"]) == ("echo", "library")
    assert chat["job_id"] == search["job_id"]
    assert chat["job_id"].startswith("req_")
    assert Decimal(search["amount"]) == Decimal("0.003")
    paid = Decimal(house.receipt(chat["request_id"], "posted", key=key)["amount"])
    assert house.settled(organisation) == 1 - paid - Decimal("0.003")


def test_what_was_found_stands_in_the_question_and_the_rest_of_the_conversation_is_as_it_was(
    house: Installation, vendor: Vendor
) -> None:
    assert post(house, model="polite", tools=[FUNCTION, tool()])[0] == 200
    asked = vendor.asked["polite"]
    first, question = asked["messages"]
    assert first == HI[0]
    assert "七天内可以退款" in question["content"]
    assert question["content"].endswith(ASKED)
    assert [each["function"]["name"] for each in asked["tools"]] == ["f"]
    template = "Found: {search_result}. Asked: {{question}}"
    assert post(house, model="polite", tools=[tool(search_prompt=template)])[0] == 200
    (_, question) = vendor.asked["polite"]["messages"]
    assert question["content"].startswith("Found: [ref_1]")
    assert question["content"].endswith(f"Asked: {ASKED}")
    assert "tools" not in vendor.asked["polite"]


@pytest.mark.parametrize(("sequence", "place"), [(None, -1), ("after", -1), ("before", 0)])
def test_a_stream_has_what_was_found_in_its_first_or_last_chunk(
    house: Installation, sequence: str | None, place: int
) -> None:
    for options in (None, {"include_usage": True}):
        wish = {"result_sequence": sequence} if sequence else {}
        chunks = events(house, tools=[tool(**wish)], stream_options=options, user_id="echo:tokens=3")
        assert [bool(each.get("web_search")) for each in chunks].count(True) == 1
        assert chunks[place]["web_search"][0]["title"] == "退款政策"
        words = [each["choices"][0]["delta"].get("content", "") for each in chunks if each["choices"]]
        assert "".join(words) == "tok0 tok1 tok2 "


def test_what_was_found_is_not_told_to_who_does_not_want_it_and_nothing_is_searched_when_switched_off(
    house: Installation,
) -> None:
    _, key = house.organisation("1")
    assert "web_search" not in post(house, key=key, tools=[tool(search_result=False)])[2]
    assert "web_search" not in post(house, key=key, tools=[tool(enable=False)])[2]
    assert [row["model"] for row in receipts(house, key, 3)] == ["echo", "echo", "library"]


def test_a_part_that_is_refused_is_told_as_it_is_and_what_cannot_be_answered_searches_nothing(
    house: Installation,
) -> None:
    _, key = house.organisation("1")
    status, _, told = post(house, key=key, tools=[tool(search_engine="nosuch")])
    assert (status, told["error"]["code"]) == (400, "1211")
    assert post(house, key=key, model="nosuch")[2]["error"]["code"] == "1211"
    english = post(house, key=key, temperature="hot", headers={"accept-language": "en"})[2]["error"]
    assert (english["code"], english["param"]) == ("1214", "temperature")
    for tools, param in (
        ([tool(), tool()], "tools[1]"),
        ([{"type": "mcp"}], "tools[0].type"),
    ):
        status, _, told = post(house, key=key, tools=tools)
        assert (status, told["error"]["param"]) == (400, param), told
    assert post(house, key=key, messages=[{"role": "system", "content": "x"}])[2]["error"]["param"] == "messages"
    receipts(house, key, 0)
    status, headers, told = post(house, CODING, key=key)
    assert (status, told["error"]["code"], headers["x-should-retry"]) == (429, "1311", "false")
    assert receipts(house, key, 1)[0]["model"] == "library"
    status, _, told = post(house, key=key, user_id="echo:status=500")
    assert (status, told["error"]["code"]) == (500, "1234")
    _, poor = house.organisation("0.000000001")
    status, headers, told = post(house, key=poor)
    assert (status, told["error"]["code"], headers["x-should-retry"]) == (429, "1113", "false")
    assert post(house, key="a.b")[0] == 401


def test_a_key_keeps_its_models_and_a_limit_counts_the_chat_once(house: Installation) -> None:
    _, narrow = house.organisation("1", models=["echo"])
    status, _, told = post(house, key=narrow)
    assert (status, told["error"]["code"]) == (403, "1220")
    organisation, key = house.organisation("1")
    limit = {"scope": "organisation", "subject_id": organisation, "model": "echo", "kind": "rpm", "amount": 2}
    status, told = house.admin("PUT", "/limits", limit)
    assert status == 200, told
    time.sleep(1)
    assert [post(house, key=key)[0] for _ in range(3)] == [200, 200, 429]
    status, headers, told = post(house, key=key)
    assert (status, told["error"]["code"]) == (429, "1302")
    assert int(headers["retry-after-ms"]) > 0


def test_who_leaves_stops_the_engine(house: Installation) -> None:
    _, key = house.organisation("1")
    for stream in (True, False):
        client = http.client.HTTPConnection("127.0.0.1", house.port)
        body = {"model": "echo", "messages": HI, "tools": [tool()], "stream": stream}
        body["user_id"] = "echo:tokens=900,pace_ms=20"
        client.request("POST", PAAS, json.dumps(body), {"authorization": f"Bearer {key}"})
        time.sleep(1)
        client.close()
    chats = [row for row in receipts(house, key, 4) if row["model"] == "echo"]
    assert {row["outcome"] for row in chats} == {"client_closed"}
    assert max(row["completion_tokens"] for row in chats) < 300


def test_sent_again_neither_part_is_paid_twice(house: Installation) -> None:
    _, key = house.organisation("1")
    headers = {"idempotency-key": "once"}
    first = post(house, key=key, headers=headers)
    again = post(house, key=key, headers=headers)
    assert first[2] == again[2]
    assert again[1]["x-request-id"] == first[1]["x-request-id"]
    assert again[1]["idempotent-replayed"] == "true"
    receipts(house, key, 2)
    status, _, told = post(house, key=key, headers=headers, messages=[{"role": "user", "content": "leave"}])
    assert (status, told["error"]["code"]) == (400, "1231")


def test_a_token_is_a_caller_too_and_a_task_cannot_search(house: Installation) -> None:
    assert post(house, key=token(house.key))[0] == 200
    body = {"model": "echo", "messages": HI, "tools": [tool()]}
    task = json.loads(house.ask("POST", "/api/paas/v4/async/chat/completions", body)[2])
    deadline = time.monotonic() + 20
    while (told := json.loads(house.ask("GET", f"/api/paas/v4/async-result/{task['id']}")[2]))["task_status"] == (
        "PROCESSING"
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (told["task_status"], told["error"]["code"], told["error"]["param"]) == ("FAIL", "1214", "tools")
