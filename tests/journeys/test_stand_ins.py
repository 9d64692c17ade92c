"""What answers who asks for a model: another that stands in for it, the one a project stays with, a canary."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from installation import Installation
from small_engines import Engine, offer, said

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture
def house(echo: Installation) -> Iterator[Installation]:
    """What a test deploys is stopped after it, or the house would never be ready again."""
    before = {row["id"] for row in every_deployment(echo)}
    yield echo
    for row in every_deployment(echo):
        if row["id"] not in before:
            assert echo.admin("PATCH", f"/deployments/{row['id']}", {"wanted": "stopped"})[0] == 200


@pytest.fixture
def engines() -> Iterator[dict[str, Engine]]:
    made = {name: Engine(name) for name in ("one", "two")}
    yield made
    for each in made.values():
        with suppress(OSError):
            each.stop()


def asked(house: Installation, model: str, key: str | None = None, **headers: str) -> tuple[int, dict[str, str], Any]:
    body = {"model": model, "messages": HELLO, "max_tokens": 5}
    status, told, answer = house.ask("POST", "/v1/chat/completions", body, key=key, headers=headers)
    return status, told, json.loads(answer)


def until(house: Installation, model: str, wanted: str, key: str | None = None) -> None:
    """Wait until the relay has heard of a change, and ``model`` is answered by ``wanted``."""
    deadline = time.monotonic() + 20
    while wanted not in json.dumps(asked(house, model, key, **{"x-queue-timeout": "0.5"})[2].get("choices")):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def every_deployment(house: Installation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = house.admin("GET", "/deployments?limit=100")[1]["data"]
    return found


def deployments(house: Installation, model: str) -> list[str]:
    return [row["id"] for row in every_deployment(house) if row["model"] == model]


def test_a_model_that_stands_in_is_told_of_and_paid_at_its_own_price(
    house: Installation, engines: dict[str, Engine]
) -> None:
    offer(house, "dear", [engines["one"].port])
    offer(house, "cheap", [engines["two"].port])
    assert house.admin("POST", "/prices", {"model": "cheap", "input": "1000", "output": "2000"})[0] == 201
    status, told = house.admin("PUT", "/models/dear/fallbacks", {"models": ["cheap"]})
    assert (status, told["fallbacks"]) == (200, ["cheap"])
    assert said(house, "dear") == "one"
    engines["one"].stop()
    until(house, "dear", "two")
    status, headers, answer = asked(house, "dear")
    assert (status, answer["model"]) == (200, "cheap")
    receipt = house.receipt(headers["x-request-id"], "posted")
    assert (receipt["model"], Decimal(receipt["amount"])) == ("cheap", Decimal("0.007"))  # 5 × 1000 + 1 × 2000
    back = Engine("one again", engines["one"].port)
    try:
        until(house, "dear", "one again")
    finally:
        back.stop()


def test_who_may_not_have_what_stands_in_is_told_of_what_was_asked_for(
    house: Installation, engines: dict[str, Engine]
) -> None:
    offer(house, "shut", [engines["one"].port])
    engines["one"].stop()
    offer(house, "open", [engines["two"].port])
    assert house.admin("PUT", "/models/shut/fallbacks", {"models": ["open"]})[0] == 200
    until(house, "shut", "two")
    assert house.admin("POST", "/models", {"name": "no-price-stands-in", "context_tokens": 9_000})[0] == 201
    assert house.admin("PUT", "/models/shut/fallbacks", {"models": ["no-price-stands-in", "open"]})[0] == 200
    _, narrow = house.organisation("1", models=["shut"])
    _, poor = house.organisation("0.000000001", models=["shut", "open"])
    for key in (narrow, poor):
        status, headers, answer = asked(house, "shut", key, **{"x-queue-timeout": "0.3"})
        assert status in (503, 429), answer  # the poor cannot pay for what was asked for, either
        assert "open" not in json.dumps(answer)
        assert "no-price-stands-in" not in json.dumps(answer)
    status, headers, answer = asked(house, "shut", narrow, **{"x-queue-timeout": "0.3"})
    assert (status, answer["error"]["code"]) == (503, "model_not_ready")
    assert int(headers["retry-after"]) >= 1


def test_a_model_that_comes_back_is_waited_for_when_nothing_else_takes_the_request(
    house: Installation, engines: dict[str, Engine]
) -> None:
    offer(house, "restarts", [engines["one"].port])
    offer(house, "stopped", [engines["two"].port])
    assert house.admin("PUT", "/models/restarts/fallbacks", {"models": ["stopped"]})[0] == 200
    until(house, "restarts", "one")
    engines["one"].stop()
    until(house, "restarts", "two")
    engines["two"].stop()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(asked, house, "restarts")
        time.sleep(0.5)
        back = Engine("one again", engines["one"].port)
        try:
            status, _, answer = waiting.result()
            if status == 503:  # it met the death of the second
                status, _, answer = asked(house, "restarts")
            assert (status, answer["choices"][0]["message"]["content"]) == (200, "one again")
        finally:
            back.stop()


def test_a_request_waits_no_longer_than_it_says(house: Installation, engines: dict[str, Engine]) -> None:
    offer(house, "narrow", [engines["one"].port], slots=1)
    assert said(house, "narrow") == "one"
    engines["one"].takes_s = 2.0
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(asked, house, "narrow")
        while not engines["one"].running:
            time.sleep(0.01)
        began_s = time.monotonic()
        status, headers, answer = asked(house, "narrow", **{"x-queue-timeout": "0.2"})
        assert time.monotonic() - began_s < 1.9
        assert (status, answer["error"]["code"]) == (429, "model_busy")
        assert int(headers["retry-after"]) >= 1
        assert running.result()[0] == 200
    for wrong in ("soon", "-1", "nan", "inf"):
        status, _, answer = asked(house, "narrow", **{"x-queue-timeout": wrong})
        assert (status, answer["error"]["param"]) == (400, "x-queue-timeout"), answer


def test_who_has_priority_goes_before_all_others(house: Installation, engines: dict[str, Engine]) -> None:
    offer(house, "busy", [engines["one"].port], slots=1)
    organisation, key = house.organisation("1")
    first = {"scope": "organisation", "subject_id": organisation, "model": "busy", "kind": "priority"}
    assert house.admin("PUT", "/limits", {**first, "amount": 2})[0] == 400
    assert house.admin("PUT", "/limits", {**first, "amount": 1})[0] == 200
    time.sleep(1)
    engines["one"].takes_s = 0.3
    ended: list[str] = []
    with ThreadPoolExecutor(6) as pool:
        usual = [pool.submit(lambda: (asked(house, "busy"), ended.append("usual"))) for _ in range(5)]
        while json.loads(house.ask("GET", "/readyz")[2])["models"]["busy"]["waiting"] < 4:
            time.sleep(0.01)
        pool.submit(lambda: (asked(house, "busy", key), ended.append("first"))).result()
        assert len(ended) <= 3  # the one that ran, perhaps one that was next as it came, and itself
        for each in usual:
            each.result()


def test_a_project_stays_with_its_model_while_others_move_on(house: Installation, engines: dict[str, Engine]) -> None:
    offer(house, "latest", [engines["one"].port])
    offer(house, "older", [engines["two"].port])
    organisation = house.admin("POST", "/organisations", {"name": "pinned"})[1]["id"]
    project = house.admin("POST", "/projects", {"organisation_id": organisation, "name": "p"})[1]["id"]
    key = house.admin("POST", "/keys", {"project_id": project})[1]["key"]
    house.admin("POST", f"/organisations/{organisation}/topups", {"amount": "1", "request_key": "pinned"})
    pin = {"pattern": "latest", "model": "older", "project_id": project}
    assert house.admin("PUT", "/aliases", pin)[0] == 200
    until(house, "latest", "two", key)
    assert said(house, "latest") == "one"
    assert json.loads(house.ask("GET", "/v1/models/latest", key=key)[2])["id"] == "older"
    assert house.admin("GET", f"/aliases?project_id={project}")[1]["data"][0]["pattern"] == "latest"
    assert project not in json.dumps(house.admin("GET", "/aliases")[1])
    status, told = house.admin("PUT", "/aliases", {**pin, "project_id": "proj_nobody"})
    assert (status, told["error"]["param"]) == (404, "project_id")
    assert house.admin("DELETE", f"/aliases/latest?project_id={project}")[0] == 200
    until(house, "latest", "one", key)


def test_a_deployment_gets_its_share_and_none_when_it_is_drained(
    house: Installation, engines: dict[str, Engine]
) -> None:
    offer(house, "shared", [engines["one"].port, engines["two"].port])
    new = deployments(house, "shared")[1]
    status, told = house.admin("PATCH", f"/deployments/{new}", {"share_percent": 25, "weight": 2})
    assert (status, told["share_percent"], told["weight"], told["wanted"]) == (200, 25, 2, "running")
    time.sleep(1)
    counts = Counter(said(house, "shared") for _ in range(200))
    assert 20 < counts["two"] < 85, counts
    assert house.admin("PATCH", f"/deployments/{new}", {"share_percent": 0})[0] == 200
    time.sleep(1)
    assert {said(house, "shared") for _ in range(20)} == {"one"}
    (page,) = [json.loads(house.ask("GET", "/readyz")[2])["models"]["shared"]]
    assert [each["running"] for each in page["replicas"]] == [0, 0]
    engines["one"].stop()
    for _ in range(3):
        status, _, answer = asked(house, "shared", **{"x-queue-timeout": "0.3"})
        assert (status, answer["error"]["code"]) == (503, "model_not_ready")  # nothing goes to one that is drained
    page = json.loads(house.ask("GET", "/readyz")[2])["models"]["shared"]
    assert page["ready"] is False
    for body, field in (({}, "wanted"), ({"share_percent": 101}, "share_percent"), ({"weight": 0}, "weight")):
        status, told = house.admin("PATCH", f"/deployments/{new}", body)
        assert (status // 100, told["error"]["param"]) == (4, field)


def test_a_house_uses_its_own_region_first(tmp_path: Path, engines: dict[str, Engine]) -> None:
    house = Installation(tmp_path / "data", region="bj")
    house.start()
    house.ready()
    try:
        offer(house, "spread", [engines["one"].port, engines["two"].port])
        for deployment, region in zip(deployments(house, "spread"), ("sh", "bj"), strict=True):
            assert house.admin("PATCH", f"/deployments/{deployment}", {"region": region})[0] == 200
        time.sleep(1)
        assert {said(house, "spread") for _ in range(20)} == {"two"}
        engines["two"].stop()
        assert said(house, "spread") == "one"
    finally:
        house.end()


def test_vectors_of_another_model_stand_in_for_nothing(house: Installation) -> None:
    for name in ("vectors", "other-vectors"):
        house.admin("POST", "/models", {"name": name, "context_tokens": 8, "task": "embed"})
    status, told = house.admin("PUT", "/models/vectors/fallbacks", {"models": ["other-vectors"]})
    assert (status, told["error"]["param"]) == (400, "models")
    assert house.admin("DELETE", "/models/vectors/fallbacks")[1]["fallbacks"] == []


@pytest.mark.parametrize(
    ("models", "why"),
    [(["no-model"], "no-model"), (["echo"], "twice"), (["a", "a"], "twice"), (["search-model"], "offered to search")],
)
def test_what_cannot_stand_in_is_refused(house: Installation, models: list[str], why: str) -> None:
    house.admin("POST", "/models", {"name": "a", "context_tokens": 8})
    house.admin("POST", "/models", {"name": "search-model", "context_tokens": 8, "task": "search"})
    status, told = house.admin("PUT", "/models/echo/fallbacks", {"models": models})
    assert status in (400, 404)
    assert why in told["error"]["message"]
