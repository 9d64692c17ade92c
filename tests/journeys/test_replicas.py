"""One model on several replicas, and several customers before one: who is asked, and who waits."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from installation import Installation
from openmaas.core.bounds import BLOCK_BYTES
from small_engines import Engine, offer, said


@pytest.fixture
def engines() -> Iterator[list[Engine]]:
    made = [Engine(name) for name in ("one", "two", "three")]
    yield made
    for each in made:
        with suppress(OSError):
            each.stop()


def test_a_conversation_goes_on_where_its_beginning_is_held(echo: Installation, engines: list[Engine]) -> None:
    offer(echo, "held", [each.port for each in engines])
    texts = [f"{number} " + "word " * BLOCK_BYTES for number in range(12)]
    first = [said(echo, "held", text) for text in texts]
    assert len(set(first)) > 1  # new ones are spread
    assert [said(echo, "held", text + " and more") for text in texts] == first


def test_what_cannot_be_reached_is_left_and_nobody_notices(echo: Installation, engines: list[Engine]) -> None:
    offer(echo, "gone", [each.port for each in engines])
    with ThreadPoolExecutor(4) as pool:
        assert "one" in list(pool.map(lambda _: said(echo, "gone"), range(40)))
        engines[0].stop()
        assert set(pool.map(lambda _: said(echo, "gone"), range(40))) <= {"two", "three"}
    back = Engine("one again", engines[0].port)
    try:
        deadline = time.monotonic() + 30
        while "one again" not in {said(echo, "gone") for _ in range(10)}:  # the fresh one is spared at first
            assert time.monotonic() < deadline
    finally:
        back.stop()


def test_a_replica_whose_proxy_says_that_it_is_not_there_is_out(echo: Installation, engines: list[Engine]) -> None:
    offer(echo, "behind", [each.port for each in engines[:2]])
    engines[0].status = 503
    body = {"model": "behind", "messages": [{"role": "user", "content": "hello"}]}
    answers = [echo.ask("POST", "/v1/chat/completions", body)[0] for _ in range(60)]
    assert answers.count(200) > 40
    assert engines[0].asked < 15


def test_a_client_that_loses_patience_is_no_answer(echo: Installation, engines: list[Engine]) -> None:
    offer(echo, "hung", [engines[0].port])
    engines[0].status, engines[0].health = 503, 500
    body = {"model": "hung", "messages": [{"role": "user", "content": "hello"}]}

    def is_ready() -> bool:
        return bool(json.loads(echo.ask("GET", "/readyz")[2])["models"]["hung"]["replicas"][0]["ready"])

    for _ in range(2):
        assert echo.ask("POST", "/v1/chat/completions", body)[0] == 502
    engines[0].takes_s = 4
    connection = HTTPConnection("127.0.0.1", echo.port)
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"authorization": f"Bearer {echo.key}"})
    while not engines[0].running:
        time.sleep(0.01)
    connection.close()
    time.sleep(2)  # the engine was told to stop, and its second for a last word is over
    assert is_ready()
    engines[0].takes_s = 0
    assert echo.ask("POST", "/v1/chat/completions", body)[0] == 502
    assert not is_ready()
    (made,) = [each for each in echo.admin("GET", "/deployments?limit=100")[1]["data"] if each["model"] == "hung"]
    echo.admin("PATCH", f"/deployments/{made['id']}", {"wanted": "stopped"})
    echo.ready()  # for the tests that come


def test_who_floods_a_model_keeps_nobody_else_waiting(tmp_path: Path) -> None:
    house = Installation(tmp_path / "data")
    house.start()
    house.ready()
    try:
        assert house.admin("POST", "/models", {"name": "slow", "context_tokens": 4096})[0] == 201
        assert house.admin("POST", "/prices", {"model": "slow", "input": "1", "output": "1"})[0] == 201
        options = {"tokens": 4, "pace_ms": 25}
        made = {"model": "slow", "kind": "echo", "slots": 2, "options": options}
        assert house.admin("POST", "/deployments", made)[0] == 201
        house.ready("slow")
        (_, flood), (_, quiet) = house.organisation("5"), house.organisation("5")

        def ask(key: str) -> float:
            body = {"model": "slow", "messages": [{"role": "user", "content": "hello"}], "stream": True}
            began = time.monotonic()
            assert house.ask("POST", "/v1/chat/completions", body, key=key)[0] == 200
            return time.monotonic() - began

        alone = max(ask(quiet) for _ in range(3))
        with ThreadPoolExecutor(60) as pool:
            waiting = [pool.submit(ask, flood) for _ in range(60)]
            time.sleep(0.5)
            beside = sorted(ask(quiet) for _ in range(8))
            assert not all(each.done() for each in waiting)
            longest = max(each.result() for each in waiting)
        assert beside[4] < alone + longest / 4
    finally:
        house.end()


@pytest.mark.parametrize("relays", [1, 4, 16])
def test_all_relays_share_one_queue_and_outlive_its_owner(tmp_path: Path, engines: list[Engine], relays: int) -> None:
    house = Installation(tmp_path / "data", relays=str(relays))
    house.start()
    house.ready()
    engine = engines[0]
    engine.takes_s = 0.05
    try:
        models = [f"m{number}" for number in range(4)]  # owned by several relays
        for model in models:
            offer(house, model, [engine.port], slots=1)
        time.sleep(2)  # every relay has heard of them
        with ThreadPoolExecutor(40) as pool:
            assert set(pool.map(lambda number: said(house, models[number % 4]), range(120))) == {"one"}
        assert engine.asked == 120
        assert engine.running_most <= len(models)
        if relays == 1:
            return

        def tried(number: int) -> int:
            body = {"model": models[number % 4], "messages": [{"role": "user", "content": "hello"}]}
            try:
                return house.ask("POST", "/v1/chat/completions", body)[0]
            except (OSError, HTTPException):
                return 0  # its own relay was killed

        with ThreadPoolExecutor(40) as pool:
            asked = [pool.submit(tried, number) for number in range(160)]
            time.sleep(0.5)
            victim = house.children("openmaas.house.relay")[0]
            os.kill(victim, signal.SIGKILL)
            heard = [each.result() for each in asked]
        assert set(heard) <= {200, 0}
        assert heard.count(0) <= 40
        assert heard.count(200) >= 120
    finally:
        house.end()


def test_who_gives_up_at_the_moment_of_a_grant_leaves_no_slot_taken(tmp_path: Path, engines: list[Engine]) -> None:
    house = Installation(tmp_path / "data", relays="4")
    house.start()
    house.ready()
    engines[0].takes_s = 0.15
    try:
        offer(house, "one", [engines[0].port], slots=1)
        time.sleep(2)  # every relay has heard of it

        def hurried(number: int) -> int:
            body = {"model": "one", "messages": [{"role": "user", "content": "hello"}]}
            wait = {"x-queue-timeout": str(number % 10 / 20)}
            return house.ask("POST", "/v1/chat/completions", body, headers=wait)[0]

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(hurried, range(80))) == {200, 429}
        engines[0].takes_s = 0.0
        assert [said(house, "one") for _ in range(8)] == ["one"] * 8  # on all relays
    finally:
        house.end()
