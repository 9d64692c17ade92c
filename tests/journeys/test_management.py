"""What the management API says to bodies that cannot be right: a 4xx that names the field, and nothing is changed."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import pytest

from installation import Installation
from raw import Raw

REMOTE = {"model": "echo", "kind": "openai_http"}
PRICE = {"model": "echo", "output": "1"}
WINDOW = {"name": "5h", "kind": "rolling", "credits": "1", "hours": 5}
BAD: list[tuple[str, dict[str, Any], str]] = [
    ("/organisations", {"name": "   "}, "name"),
    ("/organisations", {"name": "a\u0000"}, "name"),
    ("/models", {"name": "big", "context_tokens": 8, "output_tokens_default": 10**30}, "output_tokens_default"),
    ("/models", {"name": "mute", "context_tokens": 8, "output_tokens_default": 0}, "output_tokens_default"),
    ("/deployments", {**REMOTE, "url": "http://:99"}, "url"),
    ("/deployments", {**REMOTE, "url": "http://host:99999/v1"}, "url"),
    ("/deployments", {**REMOTE, "url": "http://host:port/v1"}, "url"),
    ("/deployments", {**REMOTE, "url": "http://[::1/v1"}, "url"),
    ("/deployments", {**REMOTE, "url": "http://a b/v1"}, "url"),
    ("/deployments", {**REMOTE, "url": "http://host/v1?key=1"}, "url"),
    ("/deployments", {**REMOTE, "url": "http://host/v1", "api_key": "a\r\nevil: 1"}, "api_key"),
    ("/deployments", {**REMOTE, "url": "http://host/v1", "options": {"cap": "none"}}, "options.cap"),
    ("/deployments", {**REMOTE, "url": "http://host/v1", "options": {"caps": "both"}}, "options.caps"),
    ("/deployments", {"model": "echo", "kind": "llama"}, "weights"),
    ("/deployments", {"model": "echo", "kind": "llama", "weights": "nosuch"}, "weights"),
    ("/deployments", {"model": "echo", "kind": "llama", "weights": "0" * 5000}, "weights"),
    ("/deployments", {"model": "echo", "kind": "llama", "weights": "/etc/passwd"}, "weights"),
    ("/deployments", {"model": "echo", "kind": "echo", "options": {"volume": 1}}, "volume"),
    ("/deployments", {"model": "echo", "kind": "llama", "options": {"threads": "many"}}, "options.threads"),
    ("/deployments", {"model": "echo", "kind": "llama", "options": {"pooling": "best"}}, "options.pooling"),
    ("/prices", {**PRICE, "input": "1e999999999"}, "input"),
    ("/prices", {**PRICE, "input": "1e-999999"}, "input"),
    ("/prices", {**PRICE, "input": "1", "memo": "a\0b"}, "memo"),
    ("/models", {"name": "m", "context_tokens": 8, "description": "a\0b"}, "description"),
    ("/prices", {**PRICE, "input": "1_0"}, "input"),
    ("/prices", {**PRICE, "input": "１"}, "input"),
    ("/prices", {**PRICE, "input": "1.0000000000000000000000000001"}, "input"),
    ("/prices", {**PRICE, "input": "1", "from_time": "0001-01-01T00:00:00+14:00"}, "from_time"),
    ("/prices", {**PRICE, "input": "1", "from_time": "9999-12-31T23:59:59-14:00"}, "from_time"),
]


@pytest.mark.parametrize(
    ("task", "deployment", "field"),
    [
        ("embed", {"kind": "moderator", "options": {"words": "WORDS"}}, "kind"),
        ("generate", {"kind": "search", "options": {"folder": "FOLDER"}}, "kind"),
        ("search", {"kind": "echo"}, "kind"),
        ("moderate", {"kind": "llama", "weights": "smollm2-135m"}, "kind"),
        ("embed", {"kind": "llama", "weights": "smollm2-135m"}, "options.embedding"),
        ("generate", {"kind": "llama", "weights": "smollm2-135m", "options": {"embedding": True}}, "options.embedding"),
    ],
    ids=str,
)
def test_an_engine_that_cannot_do_what_a_model_is_offered_for_is_refused(
    smol: Installation, tmp_path: Path, task: str, deployment: dict[str, Any], field: str
) -> None:
    (tmp_path / "words.txt").write_text("[ads]\nbuy\n")
    name = f"model-{secrets.token_hex(4)}"
    shape = {"name": name, "task": task, "context_tokens": 512, "output_tokens_default": int(task == "generate")}
    assert smol.admin("POST", "/models", shape)[0] == 201
    places = {"WORDS": str(tmp_path / "words.txt"), "FOLDER": str(tmp_path)}
    options = {key: places.get(str(value), value) for key, value in deployment.get("options", {}).items()}
    status, told = smol.admin("POST", "/deployments", {**deployment, "model": name, "options": options})
    assert (status, told["error"]["param"]) == (400, field), told


@pytest.mark.parametrize(("path", "body", "field"), BAD, ids=lambda value: str(value)[:60])
def test_what_cannot_be_right_is_refused_by_name(
    echo: Installation, path: str, body: dict[str, Any], field: str
) -> None:
    status, told = echo.admin("POST", path, body)
    assert (status, told["error"]["param"]) == (400, field), told


def test_a_change_of_a_webhook_says_what_shall_be_different(echo: Installation) -> None:
    owner, _ = echo.organisation("1")
    hooks = f"/organisations/{owner}/webhooks"
    made = echo.admin("POST", hooks, {"url": "https://h.example/", "types": ["key.created"], "description": "d"})[1]
    for nothing in ({}, {"url": None}, {"enabled": None}, {"description": None}):
        status, told = echo.admin("PATCH", f"{hooks}/{made['id']}", nothing)
        assert (status, told["error"]["param"]) == (400, "body"), told
        assert "url, types, description, enabled" in told["error"]["message"]
    status, told = echo.admin("PATCH", f"{hooks}/{made['id']}", {"url": None, "types": None, "enabled": False})
    assert (status, told["url"], told["types"], told["enabled"]) == (200, "https://h.example/", None, False)


def test_where_nothing_could_be_delivered_is_refused_by_name(echo: Installation) -> None:
    owner, _ = echo.organisation("1")
    hooks = f"/organisations/{owner}/webhooks"
    made = echo.admin("POST", hooks, {"url": "https://h.example/"})[1]
    for url in ("http://h.example/", "https://127.0.0.1/"):
        for method, path in (("POST", hooks), ("PATCH", f"{hooks}/{made['id']}")):
            status, told = echo.admin(method, path, {"url": url})
            assert (status, told["error"]["param"]) == (400, "url"), told


@pytest.mark.parametrize(
    ("path", "field"), [("/usage/export?until=9999-12-31", "until"), ("/reconciliation?day=9999-12-31", "day")]
)
def test_a_day_that_the_calendar_has_no_end_of_is_refused_by_name(echo: Installation, path: str, field: str) -> None:
    status, told = echo.admin("GET", path)
    assert (status, told["error"]["param"]) == (400, field), told


def test_the_prices_that_the_page_of_the_ledger_shows_are_taken(echo: Installation) -> None:
    owner, _ = echo.organisation("1")
    page = (Path(__file__).parents[2] / "docs" / "ledger.md").read_text().replace("org_…", owner)
    shown = [part.partition("```")[0] for part in page.split("```json\n")[1:] if part.startswith('{"model"')]
    kinds = [json.loads(body) for body in shown]
    assert len(kinds) == 3
    assert echo.admin("POST", "/models", {"name": "glm-x", "context_tokens": 128_000})[0] == 201
    for body in kinds:
        status, told = echo.admin("POST", "/prices", body)
        assert status == 201, told


def test_a_key_that_could_never_be_used_is_not_made(echo: Installation) -> None:
    project = echo.admin("GET", "/projects?limit=1")[1]["data"][0]["id"]
    for fields, field in (({"scopes": []}, "scopes"), ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at")):
        status, told = echo.admin("POST", "/keys", {"project_id": project, **fields})
        assert (status, told["error"]["param"]) == (400, field)


def test_a_key_may_have_every_scope(echo: Installation) -> None:
    scopes = ["admin", "inference", "metrics", "usage", "webhooks"]
    key_id = echo.organisation("1", scopes=scopes)[1].partition(".")[0]
    listed = [key for key in echo.admin("GET", "/keys?limit=100")[1]["data"] if key["id"] == key_id]
    assert [key["scopes"] for key in listed] == [scopes]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/keys", {"models": ["echo", "nosuch"]}, "models"),
        ("/plans", {"name": "p", "windows": [WINDOW], "models": ["nosuch"]}, "models"),
        ("/prices", {**PRICE, "input": "1", "organisation_id": "nosuch"}, "organisation_id"),
        ("/prices", {**PRICE, "input": "1", "model": "nosuch"}, "model"),
    ],
)
def test_what_names_nothing_that_there_is_is_refused_by_name(
    echo: Installation, path: str, body: dict[str, Any], field: str
) -> None:
    project = echo.admin("GET", "/projects?limit=1")[1]["data"][0]["id"]
    status, told = echo.admin("POST", path, {**body, **({"project_id": project} if path == "/keys" else {})})
    assert (status, told["error"]["param"]) == (404, field), told


def test_a_budget_may_name_its_own_organisation(echo: Installation) -> None:
    owner, _ = echo.organisation("1")
    budget = {"scope": "organisation", "subject_id": owner, "amount": "1"}
    status, made = echo.admin("POST", f"/organisations/{owner}/budgets", budget)
    assert (status, made.get("subject_id")) == (201, owner)


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_not_json_is_called_so(echo: Installation, body: bytes) -> None:
    key = (echo.data / "admin.key").read_text().strip()
    status, _, told = echo.ask("POST", "/manage/v1/organisations", body, key=key)
    assert (status, json.loads(told)["error"]["code"]) == (400, "invalid_json")


@pytest.mark.parametrize("path", ["/prices", "/usage"])
def test_a_cursor_beyond_every_row_is_refused(echo: Installation, path: str) -> None:
    status, told = echo.admin("GET", f"{path}?after=99999999999999999999")
    assert (status, told["error"]["param"]) == (400, "after")


def test_an_account_never_holds_more_than_whole_numbers_can(echo: Installation) -> None:
    organisation = echo.admin("POST", "/organisations", {"name": "rich"})[1]["id"]
    said = [
        echo.admin(
            "POST",
            f"/organisations/{organisation}/topups",
            {"amount": "4000000000", "request_key": key, "currency": "XTS"},
        )
        for key in ("a", "b", "c")
    ]
    assert [status for status, _ in said] == [201, 201, 400]
    assert said[2][1]["error"]["param"] == "amount"
    assert echo.admin("GET", f"/accounts?owner={organisation}")[1]["data"][0]["posted"] == "8000000000.00"


LONG = b'{"name":"' + b"x" * 300_000 + b'"}'


@pytest.mark.parametrize("framed", [False, True], ids=["in chunks", "of a known length"])
def test_a_body_that_is_too_long_is_refused_as_that_and_the_connection_goes_on(
    echo: Installation, framed: bool
) -> None:
    key = (echo.data / "admin.key").read_text().strip()
    with Raw(echo) as client:
        if framed:
            client.ask("POST", "/manage/v1/organisations", LONG, key=key)
        else:
            client.ask("POST", "/manage/v1/organisations", key=key, headers="transfer-encoding: chunked\r\n")
            client.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(LONG), LONG))
        status, _, told = client.answer()
        assert (status, json.loads(told)["error"]["code"]) == (413, "request_too_large")
        client.ask("GET", "/healthz")
        assert client.answer()[0] == 200


@pytest.mark.parametrize("path", ["/manage/v1/organisations", "/v1/receipts"])
def test_the_body_of_an_unknown_caller_is_not_waited_for(echo: Installation, path: str) -> None:
    with Raw(echo) as client:
        client.patience(5)
        client.ask("POST", path, b"{" * 1000, key="key_unknown.secret", held=True)
        status, _, told = client.answer()
        assert (status, json.loads(told)["error"]["code"]) == (401, "invalid_api_key")
