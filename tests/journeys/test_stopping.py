"""A deployment is stopped and started while the house runs, and what cannot start does not stand in the way."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from installation import Installation


@pytest.fixture
def two(tmp_path: Path, smol_gguf: Path) -> Installation:
    """A house, not yet started, that offers a real model by path and then the echo engine."""
    os.link(smol_gguf, tmp_path / "mine.gguf")
    house = Installation(tmp_path / "data", str(tmp_path / "mine.gguf"))
    house.start()
    assert house.stop() == 0
    house.model = "echo"
    return house


def test_a_deployment_whose_weights_are_gone_can_be_stopped_and_brought_back(two: Installation, tmp_path: Path) -> None:
    weights, away = tmp_path / "mine.gguf", tmp_path / "away"
    weights.rename(away)
    two.start()  # the one that cannot start comes first, and the other serves all the same
    try:
        deadline = time.monotonic() + 20
        while (status := two.chat("tokens=1")[0]) != 200:
            assert time.monotonic() < deadline, status
            time.sleep(0.1)
        assert two.ask("GET", "/readyz")[0] == 503
        found = two.command("models", "stop", "mine", "--json")
        assert found.returncode == 0, found.stderr
        (stopped,) = json.loads(found.stdout)
        assert (stopped["model"], stopped["wanted"]) == ("mine", "stopped")
        two.ready()
        refused = two.command("models", "start", "mine")
        assert refused.returncode == 2
        assert str(weights) in refused.stderr
        away.rename(weights)
        assert two.command("models", "start", stopped["id"]).returncode == 0
        body = {"model": "mine", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
        deadline = time.monotonic() + 30
        while (status := two.ask("POST", "/v1/chat/completions", body)[0]) != 200:
            assert time.monotonic() < deadline, status
            time.sleep(0.1)
        assert two.command("models", "stop", "mine").returncode == 0
        while (answer := two.ask("POST", "/v1/chat/completions", body))[0] != 503:
            assert time.monotonic() < deadline, answer
            time.sleep(0.1)
        assert json.loads(answer[2])["error"]["code"] == "model_not_ready"
        two.ready()
    finally:
        two.end()


def test_a_stopped_model_is_not_listed_and_comes_back(tmp_path: Path) -> None:
    house = Installation(tmp_path / "data")
    house.start()
    try:
        house.ready()
        assert listed(house) == (["echo"], 200)
        assert house.command("models", "stop", "echo").returncode == 0
        until(lambda: listed(house) == ([], 404))
        status, _, told = house.chat("tokens=1")
        assert (status, json.loads(told)["error"]["code"]) == (503, "model_not_ready")  # it may come back
        assert house.command("models", "start", "echo").returncode == 0
        until(lambda: listed(house) == (["echo"], 200))
        until(lambda: house.chat("tokens=1")[0] == 200)
    finally:
        house.end()


def listed(house: Installation) -> tuple[list[str], int]:
    """The models that are listed, and what a look at echo alone says."""
    rows = json.loads(house.ask("GET", "/v1/models")[2])["data"]
    return [row["id"] for row in rows], house.ask("GET", "/v1/models/echo")[0]


def until(true: Callable[[], bool]) -> None:
    """Wait until ``true``."""
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
