"""Searches on a real house: what a caller sees, what each costs to the nano, and what goes wrong with the web."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from installation import Installation
from searching import Web, attach, library

SEARCH, TOOLS, CHAT = (f"/api/paas/v4/{path}" for path in ("web_search", "tools", "chat/completions"))
GLM = {"search_engine": "search_std", "search_query": "glm"}

#: What a call is worth in tokens of a resource pack.
TOKENS = {"model": "search_std", "currency": "tokens", "units": {"call": "1000"}}


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    """A web with 24 pages about GLM and two about tea."""
    made = Web()
    for number in range(24):
        made.page(f"GLM {number}", f"https://www.example.com/glm/{number}", img_src=f"https://e.com/{number}.png")
    now = datetime.now(UTC)
    made.page("tea", "https://tea.example.org/new", publishedDate=(now - timedelta(days=3)).isoformat(), content="绿茶")
    made.page("tea", "https://tea.example.org/old", publishedDate=(now - timedelta(days=20)).isoformat())
    yield made
    made.close()


@pytest.fixture(autouse=True)
def calm(web: Web) -> Iterator[None]:
    """Each test begins with a web that works."""
    web.cue = ""
    web.asked.clear()
    yield
    web.cue = ""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return library(tmp_path_factory.mktemp("library") / "files")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, web: Web, folder: Path) -> Iterator[Installation]:
    """A house that searches the web for 0.01 and a folder for 0.003 a call."""
    made = Installation(tmp_path_factory.mktemp("searching") / "data")
    made.start()
    attach(made, "search_std", "search", "search", {"searxng": web.url, "engines": "bing"}, "0.01")
    made.settle_in("/openapi.json")
    assert made.admin("POST", "/prices", TOKENS)[0] == 201
    attach(made, "library", "search", "search", {"folder": folder}, "0.003000001")
    assert made.command("models", "alias", "web-search-pro", "search_std").returncode == 0
    made.ready("search_std", "library")
    yield made
    made.end()


def post(house: Installation, path: str, body: Any, **more: Any) -> tuple[int, dict[str, str], Any]:
    status, headers, told = house.ask("POST", path, body, **more)
    return status, headers, json.loads(told)


def search(house: Installation, query: str, model: str = "search_std", **fields: Any) -> Any:
    """What a search answers that is answered."""
    status, _, told = post(house, SEARCH, {"search_engine": model, "search_query": query, **fields})
    assert status == 200, told
    return told


def test_a_search_finds_pages_and_costs_one_call_to_the_nano(house: Installation, web: Web) -> None:
    asked = {"search_engine": "search_std", "search_query": "glm", "count": 15, "request_id": "mine-1", "user_id": "u1"}
    status, headers, told = post(house, SEARCH, asked)
    assert status == 200, told
    assert set(told) == {"id", "created", "request_id", "search_intent", "search_result"}
    assert (told["id"], told["request_id"]) == (headers["x-request-id"], "mine-1")
    assert told["search_intent"] == [{"query": "glm", "intent": "SEARCH_ALWAYS", "keywords": "glm"}]
    assert [row["link"] for row in told["search_result"]] == [f"https://www.example.com/glm/{n}" for n in range(15)]
    first = told["search_result"][0]
    assert (first["title"], first["content"], first["media"]) == ("GLM 0", "about GLM 0", "example.com")
    assert (first["refer"], first["publish_date"], first["icon"], first["images"]) == ("ref_1", "", "", [])
    assert [each["pageno"] for each in web.asked] == ["1", "2"]
    assert web.asked[0]["engines"] == "bing"
    assert not {"request_id", "user_id", "u1", "mine-1"} & {*web.asked[0], *web.asked[0].values()}
    receipt = house.receipt(headers["x-request-id"], "posted")
    assert receipt["units"] == {"call": 1}
    assert (receipt["amount"], receipt["prompt_tokens"], receipt["estimated"]) == ("0.01", 0, False)
    assert [(line["amount"], line["hold"]) for line in receipt["charges"]] == [("0.01", "0.01")]


def test_what_a_search_asks_for_reaches_the_web_and_holds_for_what_is_found(house: Installation, web: Web) -> None:
    found = search(house, "tea", search_recency_filter="oneWeek", include_image=True, search_intent=True)
    assert [row["link"] for row in found["search_result"]] == ["https://tea.example.org/new"]
    assert (web.asked[0]["time_range"], found["search_intent"][0]["intent"]) == ("month", "SEARCH_ALL")
    assert search(house, "glm", include_image=True, count=1)["search_result"][0]["images"] == ["https://e.com/0.png"]
    web.asked.clear()
    found = search(house, "glm tea", search_domain_filter="www.example.org", count=50)
    assert [row["media"] for row in found["search_result"]] == ["tea.example.org"] * 2
    assert web.asked[0]["q"] == "glm tea site:example.org"
    assert search(house, "nothing")["search_result"] == []


def test_a_folder_is_searched_in_two_languages_and_follows_its_files(house: Installation, folder: Path) -> None:
    found = search(house, "退款", "library")["search_result"]
    assert [(row["title"], row["link"]) for row in found] == [("退款政策", "refunds.md")]
    assert "七天内可以退款" in found[0]["content"]
    assert found[0]["publish_date"] == datetime.now(UTC).date().isoformat()
    assert search(house, "how many days of LEAVE?", "library")["search_result"][0]["link"] == "hr/leave.html"
    assert search(house, "高铁", "library")["search_result"][0]["link"] == "old.txt"
    assert search(house, "茶", "library")["search_result"] == []
    (folder / "tea.md").write_text("# 绿茶\n" + "很好喝。\n" * 500, "utf-8")
    deadline = time.monotonic() + 20
    while not (found := search(house, "茶", "library")["search_result"]):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert found[0]["link"] == "tea.md"
    assert 590 < len(found[0]["content"]) <= 600
    long = search(house, "茶", "library", content_size="high")["search_result"][0]["content"]
    assert 2_000 < len(long) <= 2_500
    os.utime(folder / "refunds.md", (0, 0))
    (folder / "tea.md").unlink()
    while search(house, "茶", "library")["search_result"]:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert search(house, "退款", "library", search_recency_filter="oneYear")["search_result"] == []
    assert len(search(house, "退款", "library")["search_result"]) == 1


def test_tools_look_for_what_was_said_last_whole_and_as_a_stream(house: Installation, web: Web) -> None:
    said = [{"role": "user", "content": "nothing"}, {"role": "assistant", "content": "?"}]
    asked = {"model": "web-search-pro", "messages": [*said, {"role": "user", "content": "tea"}], "recent_days": 7}
    status, headers, told = post(house, TOOLS, asked)
    assert status == 200, told
    (choice,) = told["choices"]
    assert (choice["finish_reason"], choice["message"]["role"], told["model"]) == ("stop", "tool", "search_std")
    intent, result = choice["message"]["tool_calls"]
    assert (intent["type"], intent["search_intent"][0]["intent"]) == ("search_intent", "SEARCH_ALL")
    assert (result["type"], result["search_result"][0]["content"]) == ("search_result", "绿茶")
    assert web.asked[-1]["time_range"] == "month"
    assert house.receipt(headers["x-request-id"], "posted")["amount"] == "0.01"
    status, headers, stream = house.ask("POST", TOOLS, asked | {"stream": True})
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    *events, done = [event.removeprefix(b"data: ") for event in stream.removesuffix(b"\n\n").split(b"\n\n")]
    assert done == b"[DONE]"
    choices = [json.loads(event)["choices"][0] for event in events]
    calls = [call for each in choices for call in each["delta"].get("tool_calls", [])]
    assert [(call["index"], call["type"]) for call in calls] == [(0, "search_intent"), (1, "search_result")]
    assert calls[1]["search_result"] == result["search_result"]
    assert [each["finish_reason"] for each in choices] == [None, None, "stop"]
    receipt = house.receipt(headers["x-request-id"], "posted")
    assert (receipt["amount"], receipt["units"]) == ("0.01", {"call": 1})


@pytest.mark.parametrize(
    ("path", "body", "code", "param"),
    [
        (SEARCH, {"search_query": "x"}, "1213", "search_engine"),
        (SEARCH, {"search_engine": "search_std"}, "1213", "search_query"),
        (SEARCH, GLM | {"search_query": ""}, "1214", "search_query"),
        (SEARCH, GLM | {"count": 51}, "1214", "count"),
        (SEARCH, GLM | {"search_recency_filter": "oneHour"}, "1214", "search_recency_filter"),
        (SEARCH, GLM | {"content_size": "low"}, "1214", "content_size"),
        (SEARCH, GLM | {"search_engine": "library", "search_domain_filter": "a.com"}, "1214", "search_domain_filter"),
        (SEARCH, GLM | {"search_engine": "nosuch"}, "1211", "model"),
        (SEARCH, GLM | {"search_engine": "echo"}, "1214", "model"),
        (TOOLS, {"model": "search_std", "messages": []}, "1214", "messages"),
        (TOOLS, {"model": "search_std", "messages": [{"role": "user", "content": "x" * 1_001}]}, "1214", "messages"),
        (CHAT, {"model": "library", "messages": [{"role": "user", "content": "x"}]}, "1214", "model"),
    ],
)
def test_a_mistake_is_refused_by_the_name_of_its_field(
    house: Installation, path: str, body: Any, code: str, param: str
) -> None:
    status, _, told = post(house, path, body)
    assert (status, told["error"]["code"], told["error"]["param"]) == (400, code, param), told


@pytest.mark.parametrize("cue", ["redirect", "forbidden", "nonsense", "huge"])
def test_a_web_that_fails_is_the_engine_s_failure_and_costs_nothing(house: Installation, web: Web, cue: str) -> None:
    web.cue = cue
    status, headers, told = post(house, SEARCH, GLM)
    assert (status, told["error"]["code"]) == (500, "1234"), told
    receipt = house.receipt(headers["x-request-id"], "posted")
    assert (receipt["outcome"], receipt["amount"], receipt["units"]) == ("engine_failed", "0.00", {})
    assert len(web.asked) == 1


def test_who_cannot_pay_a_call_is_refused_before_anything_is_looked_for(house: Installation, web: Web) -> None:
    organisation_id, key = house.organisation("0.010000001")
    assert post(house, SEARCH, GLM, key=key)[0] == 200
    asked_before = len(web.asked)
    status, _, told = post(house, SEARCH, GLM, key=key)
    assert (status, told["error"]["code"]) == (429, "1113")
    assert len(web.asked) == asked_before
    assert str(house.settled(organisation_id)) == "1E-9"


def test_a_client_that_leaves_before_the_answer_pays_nothing(house: Installation, web: Web) -> None:
    web.cue = "slow"
    organisation_id, key = house.organisation("1")
    body = json.dumps(GLM).encode()
    with socket.create_connection(("127.0.0.1", house.port)) as client:
        head = (
            f"POST {SEARCH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        client.sendall(head.encode() + body)
        time.sleep(0.5)
    assert str(house.settled(organisation_id)) == "1.00"
    (row,) = house.admin("GET", f"/receipts?organisation_id={organisation_id}")[1]["data"]
    assert (row["outcome"], row["amount"], row["units"]) == ("client_closed", "0.00", {})


def test_packs_plans_and_usage_count_calls(house: Installation) -> None:
    organisation_id, key = house.organisation("1")
    pack = {"name": "p", "amount": "1500", "until_time": "2099-01-01T00:00:00Z", "request_key": "1"}
    assert house.admin("POST", f"/organisations/{organisation_id}/packs", pack)[0] == 201
    lines = []
    for _ in range(3):
        status, headers, told = post(house, SEARCH, GLM, key=key)
        assert status == 200, told
        lines.append([each["amount"] for each in house.receipt(headers["x-request-id"], "posted", key=key)["charges"]])
    # The second search finds half a call's tokens left, the wallet pays the other half; a nano is held for rounding.
    assert [len(each) for each in lines] == [1, 2, 1]
    assert lines[0] == ["1000.00"]
    assert lines[1][0] == "500.00"
    assert lines[1][1] == "0.005"
    assert lines[2] == ["0.01"]
    status, page = house.admin("GET", f"/usage?by=model&organisation_id={organisation_id}")
    assert status == 200
    counted = {row["currency"]: (row["requests"], row["units"], row["amount"]) for row in page["data"]}
    assert counted["CNY"] == (2, {"call": 2}, "0.015")
    assert counted["tokens"] == (1, {"call": 1}, "1500.00")
    exported = house.ask("GET", "/v1/usage/export?form=jsonl", key=key)[2].splitlines()
    assert [json.loads(row)["units_call"] for row in exported] == [1, 1, 1]
    told = house.command("usage", "--by", "model", "--organisation", organisation_id).stdout
    assert "2 call" in told


def test_a_search_whose_relay_died_is_settled_by_what_the_engine_counted(tmp_path: Path, web: Web) -> None:
    made = Installation(tmp_path / "data")
    made.start()
    try:
        attach(made, "search_std", "search", "search", {"searxng": web.url}, "0.01")
        made.ready("search_std")
        organisation_id, key = made.organisation("1")
        web.cue = "slow"
        body = json.dumps(GLM).encode()
        with socket.create_connection(("127.0.0.1", made.port)) as client:
            head = f"POST {SEARCH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
            client.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
            while not web.asked:  # it is in the journal, and the engine is at it
                time.sleep(0.05)
            made.kill("openmaas.house.relay")
        deadline = time.monotonic() + 60
        while not (rows := made.admin("GET", f"/receipts?organisation_id={organisation_id}")[1].get("data")):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        found = rows[0]["outcome"], rows[0]["units"], rows[0]["amount"], rows[0]["estimated"]
        assert found == ("orphaned", {}, "0.00", False)  # it was called off
    finally:
        made.end()
