"""Searches and moderations that somebody else answers, as ``openai_http`` deployments: another house, and a vendor that
counts as it likes. An answered call is paid, a failed one is not, and nobody pays above their hold.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from installation import Installation, free_port
from searching import Web

PAGES = {"search_intent": [], "search_result": [{"title": "t", "link": "https://a.com", "content": "c"}]}
RESULTS = {"results": [{"flagged": True, "categories": {"hate": True}}, {"flagged": False, "categories": {}}]}
#: What each search engine of the vendor answers, and what of it the caller pays: calls, and whether it is an answer.
SEARCHES: dict[str, tuple[dict[str, Any], int, bool]] = {
    "plain": (PAGES, 1, True),
    "tokens": (PAGES | {"usage": {"prompt_tokens": 0, "total_tokens": 0}}, 1, True),
    "counts": (PAGES | {"usage": {"units": {"call": 1}}}, 1, True),
    "negative": (PAGES | {"usage": {"units": {"call": -4}}}, 1, True),
    "greedy": (PAGES | {"usage": {"units": {"call": 9, "bananas": 7}}}, 9, True),
    "no-pages": ({"search_result": 7}, 0, False),
    "no-answer": ({"id": "x"}, 0, False),
    "error": ({"error": {"code": "1234", "message": "no"}}, 0, False),
}
MODERATIONS: dict[str, tuple[dict[str, Any], int, bool]] = {
    "judge": (RESULTS, 2, True),
    "short": ({"results": RESULTS["results"][:1]}, 0, False),
    "silent": ({"model": "x"}, 0, False),
}


class Vendor(ThreadingHTTPServer):
    """``asked`` has path, headers and body of what came."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        super().__init__(("127.0.0.1", free_port()), Visit)


class Visit(BaseHTTPRequestHandler):
    """One request to the vendor."""

    server: Vendor

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append((self.path, self.headers["authorization"], body))
        told = {**SEARCHES, **MODERATIONS}[body.get("search_engine") or body["model"]][0]
        answer = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def vendor() -> Iterator[Vendor]:
    with Vendor() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def offer(house: Installation, name: str, task: str, price: str = "0.01", **how: Any) -> None:
    """A model at ``price`` a call; ``how`` it is run."""
    for path, body in (
        ("/models", {"name": name, "task": task, "context_tokens": 8192}),
        ("/prices", {"model": name, "currency": "CNY", "units": {"call": price}}),
        ("/deployments", {"model": name, "kind": "openai_http", **how}),
    ):
        status, told = house.admin("POST", path, body)
        assert status == 201, told


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, vendor: Vendor) -> Iterator[Installation]:
    made = Installation(tmp_path_factory.mktemp("elsewhere") / "data")
    made.start()
    made.settle_in("/openapi.json")
    for task, names in (("search", SEARCHES), ("moderate", MODERATIONS)):
        for name in names:
            offer(made, name, task, url=f"http://127.0.0.1:{vendor.server_port}/api/paas/v4", api_key="secret")
    made.ready(*SEARCHES, *MODERATIONS)
    yield made
    made.end()


def post(house: Installation, path: str, body: Any, **more: Any) -> tuple[int, dict[str, str], Any]:
    status, headers, told = house.ask("POST", path, body, **more)
    return status, headers, json.loads(told)


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize("stream", [None, False, True])
def test_a_search_that_was_answered_is_a_call_however_it_is_counted(
    house: Installation, vendor: Vendor, name: str, stream: bool | None
) -> None:
    _, calls, answered = SEARCHES[name]
    path, body = "/api/paas/v4/web_search", {"search_engine": name, "search_query": "q", "request_id": "r", "count": 3}
    if stream is not None:
        path = "/api/paas/v4/tools"
        body = {"model": name, "messages": [{"role": "user", "content": "q"}], "stream": stream}
    status, headers, told = house.ask("POST", path, body)
    assert status == (200 if answered else 500), told
    sent = {"search_query": "q", "search_engine": name} | ({"count": 3} if stream is None else {"search_intent": True})
    assert vendor.asked[-1] == ("/api/paas/v4/web_search", "Bearer secret", sent)
    receipt = house.receipt(headers["x-request-id"], "posted")
    assert receipt["units"] == ({"call": calls} if calls else {})
    assert receipt["amount"] == ("0.01" if calls else "0.00")
    assert receipt["estimated"] is not answered


def test_what_a_vendor_counts_above_the_hold_is_the_operator_s(house: Installation) -> None:
    _, key = house.organisation("0.02")
    body = {"search_engine": "greedy", "search_query": "q"}
    _, headers, _ = post(house, "/api/paas/v4/web_search", body, key=key)
    receipt = house.receipt(headers["x-request-id"], "posted", key=key)
    (line,) = receipt["charges"]
    assert line["amount"] == line["hold"]
    assert float(receipt["amount"]) + float(receipt["excess"]) == pytest.approx(0.09)


@pytest.mark.parametrize("name", MODERATIONS)
@pytest.mark.parametrize("path", ["/v1/moderations", "/api/paas/v4/moderations"])
def test_a_moderation_is_a_call_for_each_text(house: Installation, vendor: Vendor, name: str, path: str) -> None:
    _, calls, answered = MODERATIONS[name]
    status, headers, told = post(house, path, {"model": name, "input": ["a", "b"]})
    zhipu = path.startswith("/api")
    assert status == (200 if answered else 500 if zhipu else 502), told
    assert vendor.asked[-1] == ("/api/paas/v4/moderations", "Bearer secret", {"model": name, "input": ["a", "b"]})
    if answered and zhipu:
        assert [(row["risk_level"], row["risk_type"]) for row in told["result_list"]] == [
            ("REJECT", ["hate"]),
            ("PASS", []),
        ]
    receipt = house.receipt(headers["x-request-id"], "posted")
    assert (receipt["units"], receipt["amount"]) == (({"call": calls}, "0.02") if calls else ({}, "0.00"))


def test_pictures_pass_to_who_may_take_them(house: Installation, vendor: Vendor) -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://a.com/a.png"}}
    for path, told in (("/v1/moderations", [picture]), ("/api/paas/v4/moderations", picture)):
        post(house, path, {"model": "short", "input": told})
        assert vendor.asked[-1][2]["input"] == [picture]


def test_another_house_searches_and_moderates_and_both_books_say_the_same(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("[ads] review\nbuy\n")
    web, houses = Web(), [Installation(tmp_path / name) for name in ("first", "second")]
    web.page("GLM", "https://a.com/glm")
    first, second = houses
    try:
        for house in houses:
            house.start()
            house.settle_in("/openapi.json")
        offer(first, "search_pro", "search", "0.005", kind="search", options={"searxng": web.url})
        offer(first, "moderation", "moderate", "0.001", kind="moderator", options={"words": str(words)})
        first.ready("search_pro", "moderation")
        organisation_id, key = first.organisation("1")
        base = f"http://127.0.0.1:{first.port}"
        far = {"url": f"{base}/api/paas/v4", "api_key": key, "served_name": "search_pro"}
        offer(second, "far-search", "search", **far)
        offer(second, "far-words", "moderate", **(far | {"url": f"{base}/v1", "served_name": "moderation"}))
        second.ready("far-search", "far-words")
        body = {"search_engine": "far-search", "search_query": "glm"}
        status, headers, told = post(second, "/api/paas/v4/web_search", body)
        assert (status, told["search_result"][0]["link"]) == (200, "https://a.com/glm"), told
        assert second.receipt(headers["x-request-id"], "posted")["amount"] == "0.01"
        body = {"model": "far-words", "input": ["x", "buy it", "y"]}
        status, headers, told = post(second, "/api/paas/v4/moderations", body)
        assert [row["risk_level"] for row in told["result_list"]] == ["PASS", "REVIEW", "PASS"], told
        assert second.receipt(headers["x-request-id"], "posted")["units"] == {"call": 3}
        assert str(first.settled(organisation_id)) == "0.992"
    finally:
        web.close()
        for house in houses:
            house.end()
