"""A model that was asked for by another name: who may have it, what it is called, and what the receipt says."""

from __future__ import annotations

import json

from installation import Installation

HELLO = [{"role": "user", "content": "one two three"}]


def test_the_answer_and_the_receipt_name_the_model_whatever_it_was_asked_for_by(echo: Installation) -> None:
    status, told = echo.admin("PUT", "/aliases", {"pattern": "Claude-*", "model": "echo"})
    assert (status, told["pattern"]) == (200, "claude-*")
    echo.settle_in("/v1/models/claude-5")
    for name in ("ECHO", "echo[1m]", "claude-5"):
        status, headers, body = echo.ask("POST", "/v1/chat/completions", {"model": name, "messages": HELLO})
        assert (status, json.loads(body)["model"]) == (200, "echo")
        assert echo.receipt(headers["x-request-id"], "posted")["model"] == "echo"
    for path in ("/api/paas/v4/chat/completions", "/v1/messages", "/v1/responses"):
        asked = {"model": "claude-5", "messages": HELLO, "input": "one", "max_tokens": 9}
        status, _, body = echo.ask("POST", path, asked)
        assert (status, json.loads(body)["model"]) == (200, "echo"), path
    assert json.loads(echo.ask("GET", "/v1/models/claude-5")[2])["id"] == "echo"
    assert echo.admin("DELETE", "/aliases/claude-*") == (
        200,
        {"pattern": "claude-*", "project_id": "", "removed": True},
    )


def test_a_key_may_use_by_any_name_what_it_may_use_at_all(echo: Installation) -> None:
    _, key = echo.organisation("1", models=["echo"])
    _, other = echo.organisation("1", models=["nothing"])
    asked = {"model": "Echo", "messages": HELLO}
    assert echo.ask("POST", "/v1/chat/completions", asked, key=key)[0] == 200
    status, _, told = echo.ask("POST", "/v1/chat/completions", asked, key=other)
    assert (status, json.loads(told)["error"]["code"]) == (403, "model_not_allowed")
