"""Anthropic's wire on a real house: what a caller sees, and what the ledger says after."""

from __future__ import annotations

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest

from installation import Installation
from messages import events, message_of
from official import faults

BASE = "/api/anthropic/v1/messages"
HELLO = [{"role": "user", "content": "one two three"}]
VERSION = {"anthropic-version": "2023-06-01"}
TOOL = {"name": "weather", "description": "d", "input_schema": {"$schema": "x", "type": "object"}}


def ask(house: Installation, cue: str = "", **fields: Any) -> tuple[int, dict[str, str], bytes]:
    """One request, with a cue for the echo engine."""
    body = {"model": house.model, "max_tokens": 64, "messages": HELLO, **fields}
    if cue:
        body["metadata"] = {"user_id": f"echo:{cue}"}
    return house.ask("POST", f"{BASE}?beta=true", body)


def good(house: Installation, cue: str = "", **fields: Any) -> dict[str, Any]:
    status, _, body = ask(house, cue, **fields)
    assert status == 200, body
    found: dict[str, Any] = message_of(body) if fields.get("stream") else json.loads(body)
    return found


def test_a_message_is_answered_counted_and_paid_and_cached_tokens_stand_beside_the_others(echo: Installation) -> None:
    status, headers, body = ask(echo, "tokens=5,cached=2")
    message = json.loads(body)
    assert (status, message["stop_reason"], message["model"]) == (200, "end_turn", "echo")
    assert message["content"] == [{"type": "text", "text": "tok0 tok1 tok2 tok3 tok4 ", "citations": None}]
    assert headers["request-id"] == headers["x-request-id"] == message["id"].replace("msg_", "req_")
    usage = message["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"]) == (1, 2, 5)
    receipt = echo.receipt(headers["request-id"], "posted")
    assert (receipt["prompt_tokens"], receipt["cached_tokens"]) == (3, 2)
    assert Decimal(receipt["amount"]) == (1 + 2 * Decimal("0.2") + 5 * 2) / Decimal(10**6)


def test_a_stream_has_the_same_words_and_its_end_leaves_after_it_is_accounted_for(echo: Installation) -> None:
    status, headers, body = ask(echo, "tokens=5,cached=2", stream=True)
    assert (status, headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
    told, whole = message_of(body), good(echo, "tokens=5,cached=2")
    for name in ("content", "stop_reason", "usage", "model"):
        assert told[name] == whole[name], name
    assert echo.receipt(headers["request-id"])["completion_tokens"] == 5


def test_the_root_answers_as_the_base_url_does(echo: Installation) -> None:
    body = {"model": "echo", "max_tokens": 4, "messages": HELLO}
    key = {"x-api-key": echo.key, "authorization": ""}
    for headers in ({**VERSION, **key}, {"anthropic-version": "2026-10-21"}):
        sent = {name: value for name, value in headers.items() if value}
        assert json.loads(echo.ask("POST", "/v1/messages", body, headers=sent)[2])["type"] == "message"


@pytest.mark.parametrize("stream", [False, True])
def test_thinking_is_shown_to_who_asked_for_it_and_to_nobody_else(echo: Installation, stream: bool) -> None:
    cue = "tokens=2,reasoning=3"
    unasked = good(echo, cue, stream=stream)
    assert [block["type"] for block in unasked["content"]] == ["text"]
    asked = good(echo, cue, stream=stream, thinking={"type": "enabled", "budget_tokens": 1024})
    thought, text = asked["content"]
    assert (thought["type"], thought["thinking"]) == ("thinking", "think0 think1 think2 ")
    assert thought["signature"]
    assert text["text"] == "tok0 tok1 "
    assert asked["usage"]["output_tokens_details"] == {"thinking_tokens": 3}
    again = [*HELLO, {"role": "assistant", "content": asked["content"]}, {"role": "user", "content": "go on"}]
    assert good(echo, messages=again, stream=stream)["content"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_demanded_tool_is_called(echo: Installation, stream: bool) -> None:
    message = good(echo, tools=[TOOL], tool_choice={"type": "any"}, stream=stream)
    (block,) = message["content"]
    assert (block["type"], block["name"], block["input"], message["stop_reason"]) == (
        *("tool_use", "weather", {}),
        "tool_use",
    )


@pytest.mark.parametrize("stream", [False, True])
def test_why_an_answer_ended_is_told(echo: Installation, stream: bool) -> None:
    message = good(echo, "tokens=9", max_tokens=3, stream=stream)
    assert (message["stop_reason"], message["usage"]["output_tokens"]) == ("max_tokens", 3)
    message = good(echo, "tokens=9", stop_sequences=["tok4"], stream=stream)
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "tok4")
    message = good(echo, "tokens=9", max_tokens=0, stream=stream)
    assert (message["stop_reason"], message["content"]) == ("max_tokens", [])


def test_an_engine_that_breaks_off_ends_the_stream_with_an_error_event(echo: Installation) -> None:
    status, headers, body = ask(echo, "tokens=50,cut_after=7", stream=True)
    assert status == 200
    *_, last = events(body)
    assert (last["type"], last["error"]["type"]) == ("error", "api_error")
    assert last["request_id"] == headers["request-id"]
    assert 0 < echo.receipt(headers["request-id"], "posted")["completion_tokens"] <= 7


def test_a_client_that_leaves_pays_what_the_engine_counted(echo: Installation) -> None:
    fields = {"model": "echo", "max_tokens": 1000, "stream": True, "messages": HELLO}
    body = json.dumps({**fields, "metadata": {"user_id": "echo:tokens=1000,pace_ms=10"}}).encode()
    head = f"POST {BASE} HTTP/1.1\r\nhost: x\r\nx-api-key: {echo.key}\r\ncontent-length: {len(body)}\r\n\r\n"
    client = socket.create_connection(("127.0.0.1", echo.port))
    client.sendall(head.encode() + body)
    seen = b""
    while seen.count(b"text_delta") < 10:
        seen += client.recv(65536)
    client.close()
    lines = [line.decode() for line in seen.split(b"\r\n") if line.startswith(b"request-id")]
    time.sleep(0.3)
    receipt = echo.receipt(lines[0].partition(": ")[2], "posted")
    assert (receipt["outcome"], receipt["estimated"]) == ("client_closed", False)
    assert 10 <= receipt["completion_tokens"] < 60


#: A request that is refused: method, path, what is sent, and status and type of the answer.
REFUSED: list[tuple[str, str, Any, str, int, str]] = [
    ("POST", BASE, {"model": "none", "messages": []}, "", 404, "not_found_error"),
    ("POST", BASE, {"model": "echo"}, "", 400, "invalid_request_error"),
    ("POST", BASE, b"{", "", 400, "invalid_request_error"),
    ("POST", BASE, {"model": "echo", "messages": []}, "a.b", 401, "authentication_error"),
    ("GET", BASE, None, "", 405, "invalid_request_error"),
    ("POST", f"{BASE}/count_tokens", {"model": "none", "messages": []}, "", 404, "not_found_error"),
    ("GET", "/api/anthropic/v1/nothing", None, "", 404, "not_found_error"),
    ("POST", "/api/anthropic/v1/files", {}, "", 404, "not_found_error"),
    ("GET", "/api/anthropic/v1/models/none", None, "", 404, "not_found_error"),
    ("GET", "/api/anthropic/v1/models", None, "a.b", 401, "authentication_error"),
    ("GET", "/v1/models/none", None, "", 404, "not_found_error"),
    ("GET", "/v1/messages/nothing", None, "", 404, "not_found_error"),
]


@pytest.mark.parametrize(("method", "path", "body", "key", "status", "kind"), REFUSED)
def test_every_path_is_refused_in_anthropic_s_shape(
    echo: Installation, method: str, path: str, body: Any, key: str, status: int, kind: str
) -> None:
    found, headers, told = echo.ask(method, path, body, key=key or None, headers=VERSION)
    error = json.loads(told)
    assert (found, error["type"], error["error"]["type"]) == (status, "error", kind), told
    assert error["request_id"] == headers["request-id"] == headers["x-request-id"]


def test_an_empty_balance_stops_a_client_at_once(echo: Installation) -> None:
    _, key = echo.organisation("0.0000001")
    fields = {"model": "echo", "max_tokens": 100, "messages": HELLO}
    status, headers, body = echo.ask("POST", BASE, fields, key=key)
    assert (status, json.loads(body)["error"]["type"], headers["x-should-retry"]) == (402, "billing_error", "false")


def test_a_limit_says_when_to_come_back(echo: Installation) -> None:
    owner, key = echo.organisation("1")
    limit = {"kind": "rpm", "amount": 1, "scope": "organisation", "subject_id": owner}
    assert echo.admin("PUT", "/limits", limit)[0] == 200
    deadline = time.monotonic() + 10
    status, headers, body = 200, {"": ""}, b""
    while status == 200:
        assert time.monotonic() < deadline
        status, headers, body = echo.ask("POST", BASE, {"model": "echo", "messages": HELLO}, key=key)
    assert (status, json.loads(body)["error"]["type"]) == (429, "rate_limit_error")
    assert 0 < int(headers["retry-after"]) <= 61
    assert "x-should-retry" not in headers


def test_tokens_are_counted_for_nothing_many_at_once(echo: Installation) -> None:
    _, key = echo.organisation("0.0000001")
    fields = {"model": "echo", "system": "be brief", "messages": HELLO, "tools": [TOOL]}

    def count(_: int) -> tuple[int, Any]:
        status, _, body = echo.ask("POST", f"{BASE}/count_tokens?beta=true", fields, key=key)
        return status, json.loads(body)

    with ThreadPoolExecutor(25) as pool:
        assert set(map(str, pool.map(count, range(50)))) == {str((200, {"input_tokens": 5}))}


def test_tokens_are_counted_exactly(smol: Installation) -> None:
    conversation = [*HELLO, {"role": "assistant", "content": "four"}, {"role": "user", "content": "日本 <|im_end|>"}]
    fields = {"model": smol.model, "system": [{"type": "text", "text": "Count."}], "messages": conversation}
    status, _, body = smol.ask("POST", f"{BASE}/count_tokens", fields)
    usage = json.loads(smol.ask("POST", BASE, {**fields, "max_tokens": 1})[2])["usage"]
    assert (status, json.loads(body)["input_tokens"]) == (
        200,
        usage["input_tokens"] + usage["cache_read_input_tokens"],
    )


def test_a_prompt_that_is_too_long_is_told_with_both_counts(smol: Installation) -> None:
    for stream in (False, True):
        status, _, body = ask(smol, messages=[{"role": "user", "content": "word " * 9000}], stream=stream)
        said = json.loads(body)["error"]["message"]
        assert (status, said.startswith("prompt is too long: 90")) == (400, True), said
        assert said.endswith(" tokens > 8192 maximum")


def test_what_came_from_the_cache_is_seen_and_paid_as_that(smol: Installation) -> None:
    fields = {"system": "You are terse. " * 40, "max_tokens": 1, "temperature": 0}
    good(smol, **fields)
    _, headers, body = ask(smol, **fields)
    usage = json.loads(body)["usage"]
    assert usage["cache_read_input_tokens"] > usage["input_tokens"] > 0
    receipt = smol.receipt(headers["request-id"], "posted")
    assert receipt["cached_tokens"] == usage["cache_read_input_tokens"]
    assert Decimal(receipt["amount"]) * 10**6 == (
        usage["input_tokens"] + receipt["cached_tokens"] * Decimal("0.2") + 2 * receipt["completion_tokens"]
    )


def test_a_forced_tool_is_called_by_a_real_model(smol: Installation) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"]}
    tool = {"name": "weather", "input_schema": {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}}
    fields = {"tools": [tool], "tool_choice": {"type": "tool", "name": "weather"}, "max_tokens": 100, "temperature": 0}
    for stream in (False, True):
        message = good(smol, stream=stream, **fields)
        assert message["stop_reason"] == "tool_use"
        assert "city" in message["content"][0]["input"]


@pytest.mark.parametrize(
    "fields", [{}, {"thinking": {"type": "adaptive"}}, {"tools": [TOOL], "tool_choice": {"type": "any"}}]
)
def test_answers_are_what_anthropics_own_document_describes(echo: Installation, fields: dict[str, Any]) -> None:
    cue = "tokens=3,reasoning=2,cached=1"
    assert not faults("anthropic", "Message", good(echo, cue, **fields))
    for event in events(ask(echo, cue, stream=True, **fields)[2]):
        assert not faults("anthropic", "MessageStreamEvent", event), event


def test_counts_models_and_errors_are_what_anthropics_own_document_describes(echo: Installation) -> None:
    asked = {"model": "echo", "messages": HELLO}
    for schema, method, path, body in (
        ("CountMessageTokensResponse", "POST", f"{BASE}/count_tokens", asked),
        ("ListResponse_ModelInfo_", "GET", "/api/anthropic/v1/models", None),
        ("ModelInfo", "GET", "/api/anthropic/v1/models/echo", None),
        ("ErrorResponse", "POST", BASE, asked | {"model": "none"}),
        ("ErrorResponse", "POST", BASE, {}),
    ):
        assert not faults("anthropic", schema, json.loads(echo.ask(method, path, body)[2])), path


def test_models_are_listed_in_pages_and_by_other_names(echo: Installation) -> None:
    page = json.loads(echo.ask("GET", "/api/anthropic/v1/models?limit=1")[2])
    (model,) = page["data"]
    assert (model["type"], page["first_id"], page["last_id"]) == ("model", model["id"], model["id"])
    found = json.loads(echo.ask("GET", "/api/anthropic/v1/models/ECHO")[2])
    assert (found["id"], found["max_input_tokens"]) == ("echo", 131072)
    root = json.loads(echo.ask("GET", "/v1/models", headers=VERSION)[2])
    assert "has_more" in root
    assert json.loads(echo.ask("GET", "/v1/models")[2])["object"] == "list"
    ids = [each["id"] for each in root["data"]]
    rest = json.loads(echo.ask("GET", f"/api/anthropic/v1/models?after_id={ids[0]}")[2])
    assert [each["id"] for each in rest["data"]] == ids[1:]
    before = json.loads(echo.ask("GET", f"/api/anthropic/v1/models?before_id={ids[-1]}")[2])
    assert [each["id"] for each in before["data"]] == ids[:-1]
    for query in ("limit=0", "limit=x", "after_id=none"):
        assert echo.ask("GET", f"/api/anthropic/v1/models?{query}")[0] == 400


def test_somebody_who_knocks_is_answered_at_once(echo: Installation) -> None:
    for path in ("/api/anthropic", "/api/anthropic/", "/api/anthropic/api/hello"):
        # Claude Code until the summer of 2026, with either way to write the base URL, and since
        assert echo.ask("HEAD", path, key="a.b")[0] == 200
    for method in ("HEAD", "GET"):  # whoever asks whether the address is right
        assert echo.ask(method, "/")[0] == 200
