"""HTTP as clients really speak it, over a socket of our own: order, promises to wait, methods, patience, memory."""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from installation import Installation
from raw import Raw

CHAT = "/v1/chat/completions"
BODY_BYTES_MAX = 32 * 1024 * 1024  #: core/bounds.py


def chat(cue: str, **fields: Any) -> dict[str, Any]:
    """A request to the echo engine."""
    return {"model": "echo", "messages": [{"role": "user", "content": "one"}], "user": f"echo:{cue}", **fields}


def resident_bytes(house: Installation) -> int:
    """The memory that the relay really has."""
    (relay,) = house.children("openmaas.house.relay")
    lines = Path(f"/proc/{relay}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


# ── methods ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v1/models", "/v1/models/echo", "/openapi.json"])
def test_head_says_what_get_would_and_sends_no_body(echo: Installation, path: str) -> None:
    with Raw(echo) as client:
        client.ask("GET", path)
        status, whole, body = client.answer()
        client.ask("HEAD", path)
        assert client.head()[0] == status == 200
        client.ask("HEAD", path)
        _, headers, _ = client.answer(head_only=True)
        for name in ("content-length", "content-type"):
            assert headers[name] == whole[name]
        assert len(body) == int(headers["content-length"]) > 0
        client.ask("GET", "/healthz")  # had a body been sent, it would stand here
        assert client.answer()[2] == b'{"status":"ok"}'


def test_head_of_what_takes_only_posts_is_refused_without_a_body(echo: Installation) -> None:
    with Raw(echo) as client:
        client.ask("HEAD", CHAT)
        assert client.answer(head_only=True)[0] == 405
        client.ask("GET", "/healthz")
        assert client.answer()[2] == b'{"status":"ok"}'


def test_options_names_the_methods_and_needs_no_key(echo: Installation) -> None:
    for path, methods in ((CHAT, {"POST", "OPTIONS"}), ("/v1/models", {"GET", "HEAD", "OPTIONS"})):
        status, headers, body = echo.ask("OPTIONS", path, headers={"authorization": ""})
        assert (status, body) == (204, b"")
        assert set(headers["allow"].split(", ")) == methods
        assert "content-length" not in headers  # RFC 9110 §8.6


@pytest.mark.parametrize(
    ("method", "path", "methods"),
    [
        ("DELETE", CHAT, "POST, OPTIONS"),
        ("DELETE", "/v1/models", "GET, HEAD, OPTIONS"),
        ("PATCH", "/v1/models/echo", "DELETE, GET, HEAD, OPTIONS"),
        ("PATCH", "/v1/files", "GET, POST"),
        ("PATCH", "/api/paas/v4/knowledge/capacity", "GET"),  # and not what /knowledge/{id} takes
    ],
)
def test_a_method_that_is_refused_names_those_that_are_not(
    echo: Installation, method: str, path: str, methods: str
) -> None:
    status, headers, _ = echo.ask(method, path)
    assert (status, headers["allow"]) == (405, methods)


def test_pages_of_other_origins_may_not_call_unless_a_setting_says_so(echo: Installation) -> None:
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    for method, path, body in (("OPTIONS", CHAT, None), ("POST", CHAT, chat("tokens=1")), ("GET", "/v1/models", None)):
        status, headers, _ = echo.ask(method, path, body, headers=asked)
        assert status in (200, 204)
        assert not [name for name in headers if name.startswith("access-control-")]


# ── Expect: 100-continue (RFC 9110 §10.1.1) ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("path", "method"), [(CHAT, "POST"), ("/manage/v1/organisations", "POST")])
def test_a_client_that_waits_for_100_continue_gets_it_and_then_its_answer(
    echo: Installation, path: str, method: str
) -> None:
    body = chat("tokens=2") if path == CHAT else {"name": f"expected {time.time_ns()}"}
    key = echo.key if path == CHAT else (echo.data / "admin.key").read_text().strip()
    data = json.dumps(body).encode()
    with Raw(echo) as client:
        client.ask(method, path, data, key=key, headers="expect: 100-continue\r\n", held=True)
        assert client.head()[0] == 100
        client.send(data)
        status, _, answer = client.answer()
        assert status in (200, 201), answer


def test_what_will_be_refused_is_refused_before_the_body_is_sent(echo: Installation) -> None:
    for extra, wanted in (
        (f"expect: 100-continue\r\ncontent-length: {BODY_BYTES_MAX + 1}\r\n", 413),
        ("expect: the-spanish-inquisition\r\ncontent-length: 10\r\n", 417),
    ):
        with Raw(echo) as client:
            client.ask("POST", CHAT, headers=extra)
            assert client.answer()[0] == wanted
            assert client.rest() == b""  # and the connection is closed, for the body was never read


def test_100_continue_waits_for_the_answer_before_it(echo: Installation) -> None:
    data = json.dumps(chat("tokens=1")).encode()
    with Raw(echo) as client:
        client.ask("POST", CHAT, chat("tokens=20,pace_ms=10"))
        client.ask("POST", CHAT, data, headers="expect: 100-continue\r\n", held=True)
        assert client.answer()[0] == 200
        assert client.head()[0] == 100
        client.send(data)
        assert client.answer()[0] == 200


# ── pipelining (RFC 9112 §9.3.2) ──────────────────────────────────────────────────────────────────────────────────


def test_requests_sent_ahead_are_answered_in_their_order(echo: Installation) -> None:
    with Raw(echo) as client:
        for tokens in range(1, 9):
            # The first ones are slow: an answer that overtook another would show.
            client.ask("POST", CHAT, chat(f"tokens={tokens},wait_ms={50 - 6 * tokens}", stream=tokens % 2 == 0))
        client.ask("GET", "/healthz")
        for tokens in range(1, 9):
            status, headers, body = client.answer()
            assert status == 200
            assert body.count(b"tok") - body.count(b"_tokens") - body.count(b'"tokens') == tokens
            assert echo.receipt(headers["x-request-id"])["completion_tokens"] == tokens
        assert client.answer()[2] == b'{"status":"ok"}'


def test_two_hundred_requests_in_one_write_are_all_answered(echo: Installation) -> None:
    one = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
    with Raw(echo) as client:
        client.send(one * 200)
        for _ in range(200):
            assert client.answer()[2] == b'{"status":"ok"}'
        assert not client.waiting(0.05)


def test_a_refusal_in_the_middle_answers_what_came_before_and_nothing_after(echo: Installation) -> None:
    with Raw(echo) as client:
        client.ask("POST", CHAT, chat("tokens=3,wait_ms=50"))
        client.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n")
        client.ask("POST", CHAT, chat("tokens=1"))
        assert client.answer()[0] == 200
        rest = client.rest()
        assert b" 200 " not in rest


# ── patience ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_head_that_does_not_come_to_its_end_is_given_up(echo: Installation) -> None:
    with Raw(echo) as slow, Raw(echo) as brisk:
        slow.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-slow: ")
        began_s = time.monotonic()
        while not slow.waiting(1.0):
            slow.send(b"a")  # something comes all the time, and yet it is no request
            brisk.ask("GET", "/healthz")
            assert brisk.answer()[0] == 200
            assert time.monotonic() < began_s + 60, "a slow loris is served for ever"
        print(f"\nslow head: given up after {time.monotonic() - began_s:.1f} s")
        status, _, body = slow.answer()
        assert (status, json.loads(body)["error"]["code"]) == (408, "request_timeout")


LONG = pytest.mark.skipif("OPENMAAS_TEST_LONG" not in os.environ, reason="waits more than a minute: make test-long")


@LONG
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("sent", "answered"),
    [(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{", True), (b"", False)],
    ids=["a body that stops", "a connection that says nothing"],
)
def test_what_stands_still_is_given_up(echo: Installation, sent: bytes, answered: bool) -> None:
    with Raw(echo) as client:
        client.send(sent)
        assert client.waiting(120)
        rest = client.rest()
        assert rest.startswith(b"HTTP/1.1 408") if answered else rest == b""


# ── memory ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_readers_that_take_nothing_do_not_grow_the_relay(echo: Installation) -> None:
    readers, token_bytes, tokens = 8, 20_000, 1_000
    body = chat(f"tokens={tokens},big={token_bytes}", stream=True, max_tokens=tokens)
    with Raw(echo) as client:  # what a first such stream needs for good is not held against the others
        client.ask("POST", CHAT, body)
        client.until(b"data: [DONE]")
    before = resident_bytes(echo)
    with ExitStack() as stack:
        clients = [stack.enter_context(Raw(echo)) for _ in range(readers)]
        for client in clients:
            client.ask("POST", CHAT, body)
            client.until(b"tok0")
        time.sleep(1.0)
        grown = resident_bytes(echo) - before
        waiting = readers * token_bytes * tokens
        print(f"\nslow readers: {waiting / 1e6:.0f} MB are waiting, the relay grew by {grown / 1e6:.1f} MB")
        assert grown < waiting / 8
        last = clients[-1]
        last.until(b"data: [DONE]")
        assert last.seen.count(b'"content":"tok') == tokens  # and it is all there for who begins to read
    deadline = time.monotonic() + 20
    while json.loads(echo.ask("GET", "/readyz")[2])["models"]["echo"]["replicas"][0]["running"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


# ── before the key is known ───────────────────────────────────────────────────────────────────────────────────────


def test_an_unknown_key_is_refused_before_its_body_has_come(echo: Installation) -> None:
    with Raw(echo) as client:
        client.patience(5)
        client.ask("POST", CHAT, b"x" * 1_000_000, key="key_unknown.secret", held=True)
        status, headers, told = client.answer()
        assert (status, json.loads(told)["error"]["code"]) == (401, "invalid_api_key")
        assert "connection" not in headers
        client.send(b"x" * 1_000_000)  # as a client that writes before it reads
        client.ask("POST", CHAT, chat("tokens=1"))
        assert client.answer()[0] == 200


def test_bodies_of_unknown_callers_take_no_memory(echo: Installation) -> None:
    before = resident_bytes(echo)
    with ExitStack() as stack:
        for _ in range(16):
            client = stack.enter_context(Raw(echo))
            client.ask("POST", CHAT, bytes(BODY_BYTES_MAX), key="key_unknown.secret", held=True)
            client.send(bytes(4 * 1024 * 1024))
        assert resident_bytes(echo) - before < 8 * 1024 * 1024
