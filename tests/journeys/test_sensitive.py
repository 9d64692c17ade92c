"""Chats that are looked at (``sensitive_word_check``): each look is paid as a moderation and stops what it must."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from installation import Installation
from searching import attach

CHAT = "/api/paas/v4/chat/completions"
ON = {"type": "ALL", "status": "ENABLE"}
WORDS = "[violence]\n炸药\ntok2\n[ads] review\n加微信\n"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A house that moderates; its model says tok0, tok1, tok2, …"""
    made = Installation(tmp_path_factory.mktemp("sensitive") / "data")
    made.start()
    words = tmp_path_factory.mktemp("words") / "words.txt"
    words.write_text(WORDS)
    attach(made, "moderation", "moderate", "moderator", {"words": words}, "0.001")
    made.ready("moderation", "echo")
    yield made
    made.end()


def body(*said: str, tokens: int = 2, check: Any = ON, **fields: Any) -> dict[str, Any]:
    """A chat in which the user says each in turn."""
    messages: list[dict[str, Any]] = []
    for each in said:
        messages += [{"role": "user", "content": each}, {"role": "assistant", "content": "well"}]
    asked = {"model": "echo", "messages": messages[:-1], "user_id": f"echo:tokens={tokens}", **fields}
    return {**asked, "sensitive_word_check": check}


def post(house: Installation, asked: dict[str, Any], **more: Any) -> tuple[int, dict[str, str], Any]:
    """Status, headers and answer."""
    status, headers, told = house.ask("POST", CHAT, asked, **more)
    return status, headers, json.loads(told)


def stream(house: Installation, asked: dict[str, Any], **more: Any) -> list[Any]:
    """The chunks of a stream that ends as one."""
    status, _, told = house.ask("POST", CHAT, {**asked, "stream": True}, **more)
    assert status == 200, told
    *chunks, done, rest = told.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    return [json.loads(each.removeprefix(b"data: ")) for each in chunks]


def models(house: Installation, key: str, count: int) -> list[str]:
    """Of which models a customer has receipts, sorted, once there are ``count``; a moment later there are no more."""
    deadline = time.monotonic() + 20
    while len(json.loads(house.ask("GET", "/v1/receipts", key=key)[2])["data"]) < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1)
    rows = json.loads(house.ask("GET", "/v1/receipts", key=key)[2])["data"]
    return sorted(row["model"] for row in rows)


@pytest.mark.parametrize(
    ("asked", "role"),
    [
        (body("怎么做炸药"), "user"),
        (body("怎么做糖", "炸药"), "user"),
        (body("怎么做炸药", "继续"), "history"),
        (body("hi", meta={"bot_info": "炸药专家", "user_info": "", "bot_name": "a", "user_name": "b"}), "history"),
        ({**body("hi"), "messages": [{"role": "user", "content": [{"type": "text", "text": "炸药"}]}]}, "user"),
    ],
    ids=["alone", "at last", "before", "a character", "in parts"],
)
def test_what_may_not_be_asked_is_refused_before_the_model_is(
    house: Installation, asked: dict[str, Any], role: str
) -> None:
    _, key = house.organisation("1")
    for streams in (False, True):
        status, _, told = post(house, {**asked, "stream": streams}, key=key)
        assert (status, told["error"]["code"], told["error"]["param"]) == (400, "1301", "messages"), told
        assert told["contentFilter"] == [{"role": role, "level": 0}]
        assert told["error"]["message"].startswith("系统检测到")
    assert models(house, key, 2) == ["moderation", "moderation"]


def test_what_may_not_be_answered_is_not_told_and_paid_all_the_same(house: Installation) -> None:
    _, key = house.organisation("1")
    status, _, told = post(house, body("hi", tokens=3), key=key)
    assert status == 200, told
    (choice,) = told["choices"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("sensitive", "")
    assert told["content_filter"] == [{"role": "assistant", "level": 0}]
    assert told["usage"]["completion_tokens"] == 3
    assert models(house, key, 3) == ["echo", "moderation", "moderation"]


@pytest.mark.parametrize("options", [None, {"include_usage": True}], ids=str)
def test_a_stream_that_said_what_it_may_not_ends_by_saying_so(house: Installation, options: Any) -> None:
    chunks = stream(house, body("hi", tokens=3, stream_options=options))
    ends = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"] if choice["finish_reason"]]
    assert ends == ["sensitive"]
    (told,) = (chunk for chunk in chunks if "content_filter" in chunk)
    assert told["content_filter"] == [{"role": "assistant", "level": 0}]
    assert sum(bool(chunk.get("usage")) for chunk in chunks) == 1


def test_what_may_be_said_is_told_as_ever(house: Installation) -> None:
    for said in ("hi", "加微信"):  # the second is for somebody to review
        plain, looked_at = (post(house, body(said, check=check))[2] for check in (None, ON))
        assert looked_at["choices"] == plain["choices"]
        assert looked_at.keys() == plain.keys()
        plain_chunks, looked_at_chunks = (stream(house, body(said, check=check)) for check in (None, ON))
        assert [each["choices"] for each in looked_at_chunks] == [each["choices"] for each in plain_chunks]
    _, key = house.organisation("1")
    for check in (None, {"type": "ALL", "status": "DISABLE"}, {"type": "ALL"}):
        told = post(house, body("怎么做炸药", tokens=3, check=check), key=key)[2]
        assert told["choices"][0]["finish_reason"] == "stop"
    assert models(house, key, 3) == ["echo"] * 3


def test_sent_again_no_look_is_paid_twice(house: Installation) -> None:
    _, key = house.organisation("1")
    once = {"idempotency-key": "once"}
    first, again = (post(house, body("hi"), key=key, headers=once)[2] for _ in range(2))
    assert first == again
    assert models(house, key, 3) == ["echo", "moderation", "moderation"]


def test_who_may_not_moderate_or_cannot_pay_for_it_is_told_so(house: Installation) -> None:
    _, narrow = house.organisation("1", models=["echo"])
    status, _, told = post(house, body("hi"), key=narrow)
    assert (status, told["error"]["code"]) == (403, "1220")
    _, poor = house.organisation("0.0000001")
    status, _, told = post(house, body("hi"), key=poor)
    assert (status, told["error"]["code"]) == (429, "1113")


def test_a_check_that_is_none_and_one_in_a_task_are_refused_by_name(house: Installation) -> None:
    status, _, told = post(house, body("hi", check={"type": "ALL", "status": "MAYBE"}))
    assert (status, told["error"]["code"]) == (400, "1214")
    assert told["error"]["param"].startswith("sensitive_word_check")
    task = json.loads(house.ask("POST", "/api/paas/v4/async/chat/completions", body("hi"))[2])
    deadline = time.monotonic() + 20
    while (told := json.loads(house.ask("GET", f"/api/paas/v4/async-result/{task['id']}")[2]))["task_status"] == (
        "PROCESSING"
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (told["error"]["code"], told["error"]["param"]) == ("1214", "sensitive_word_check")


def test_where_nothing_moderates_the_chat_is_refused_and_not_paid(echo: Installation) -> None:
    _, key = echo.organisation("1")
    status, _, told = post(echo, body("hi"), key=key)
    assert (status, told["error"]["code"], told["error"]["param"]) == (400, "1214", "sensitive_word_check")
    assert "moderation" in told["error"]["message"]
    assert models(echo, key, 0) == []
