"""Counting a prompt: free, for nobody in particular, and never in the way."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from installation import Installation
from openmaas.core.bounds import COUNTS_AT_ONCE

ASKED = {"model": "echo", "messages": [{"role": "user", "content": "one two three"}]}
#: What a vendor answers to ``/tokenize``, by the name it has the model by, and what our caller gets.
VENDORS = {
    "counts": (200, {"count": 7, "max_model_len": 100, "tokens": [1] * 7}, 200),
    "lacks-it": (404, {"error": {"message": "not found"}}, 200),
    "hides-it": (401, {"error": {"message": "not for you"}}, 200),
    "babbles": (200, {"tokens": 7}, 502),
    "is-down": (500, {}, 502),
    "is-busy": (429, {}, 503),
    "refuses": (400, {"error": {"message": "no such role"}}, 400),
    "ponders": (200, {"count": 7}, 200),
}
#: When the one that ponders may say it.
SPEAK = threading.Event()


class Vendor(BaseHTTPRequestHandler):
    """One question to the vendor."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert self.path == "/tokenize", self.path
        status, answer, _ = VENDORS[body["model"]]
        if body["model"] == "ponders":
            SPEAK.wait(30)
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_request(self, *_: object, **__: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def house(echo: Installation) -> Iterator[Installation]:
    """A house with an endpoint at every vendor."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Vendor)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in VENDORS:
        url = f"http://127.0.0.1:{server.server_port}/v1"
        for path, body in (
            ("/models", {"name": name, "context_tokens": 8192, "output_tokens_default": 20}),
            ("/deployments", {"model": name, "kind": "openai_http", "url": url}),
        ):
            status, told = echo.admin("POST", path, body)
            assert status == 201, told
    echo.ready(*VENDORS)
    yield echo
    for deployment in echo.admin("GET", "/deployments?limit=100")[1]["data"]:
        if deployment["model"] in VENDORS:
            echo.admin("PATCH", f"/deployments/{deployment['id']}", {"wanted": "stopped"})
    server.shutdown()
    server.server_close()


def test_counting_costs_nothing_and_needs_no_money(echo: Installation) -> None:
    poor, key = echo.organisation("0.0000001")
    before = echo.wallet(poor)
    status, _, body = echo.ask("POST", "/tokenize", ASKED, key=key)
    assert (status, json.loads(body)) == (200, {"count": 3, "max_model_len": 131072})
    assert echo.wallet(poor) == before
    assert echo.ask("POST", "/v1/chat/completions", ASKED, key=key)[0] == 429


def test_counting_takes_no_seat_and_counts_towards_no_limit(echo: Installation) -> None:
    owner, key = echo.organisation("1")
    for kind in ("concurrency", "rpm", "tpm"):
        limit = {"kind": kind, "amount": 1, "scope": "organisation", "subject_id": owner}
        assert echo.admin("PUT", "/limits", limit)[0] == 200
    with ThreadPoolExecutor(25) as pool:
        statuses = [each[0] for each in pool.map(lambda _: echo.ask("POST", "/tokenize", ASKED, key=key), range(50))]
    assert statuses == [200] * 50


def test_who_may_not_use_a_model_may_not_count_with_it(echo: Installation) -> None:
    _, key = echo.organisation("1", models=["nothing"])
    assert echo.ask("POST", "/tokenize", ASKED, key=key)[0] == 403
    assert echo.ask("POST", "/tokenize", ASKED, key="a.b")[0] == 401
    assert echo.ask("POST", "/tokenize", ASKED | {"model": "none"})[0] == 404
    assert echo.ask("GET", "/tokenize")[0] == 405


def test_who_counts_without_end_is_told_to_wait_and_keeps_nobody_else_waiting(house: Installation) -> None:
    _, greedy = house.organisation("1")
    _, other = house.organisation("1")
    slow = ASKED | {"model": "ponders"}

    def count(_: int) -> tuple[int, str | None]:
        status, headers, _body = house.ask("POST", "/tokenize", slow, key=greedy)
        SPEAK.set() if status == 429 else None  # so that the others come back
        return status, headers.get("retry-after")

    SPEAK.clear()
    with ThreadPoolExecutor(COUNTS_AT_ONCE + 1) as pool:
        asked = pool.map(count, range(COUNTS_AT_ONCE + 1))
        assert house.ask("POST", "/tokenize", ASKED, key=other)[0] == 200
        assert sorted(asked) == [(200, None)] * COUNTS_AT_ONCE + [(429, "1")]


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_vendor_s_count_is_given_and_one_that_cannot_count_is_estimated_openly(
    house: Installation, vendor: str
) -> None:
    SPEAK.set()
    status, headers, body = house.ask("POST", "/tokenize", ASKED | {"model": vendor})
    assert status == VENDORS[vendor][2], body
    if status == 200:
        estimated = vendor in ("lacks-it", "hides-it")
        assert headers.get("x-openmaas-estimated") == ("true" if estimated else None)
        assert json.loads(body)["count"] == 7 or estimated
        assert json.loads(body)["count"] > 3
