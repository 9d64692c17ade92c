"""`openmaas chat` against a real house, and against what is none."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from installation import Installation

COMMAND = [sys.executable, "-m", "openmaas.cli", "chat"]


def chat(echo: Installation, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OPENMAAS_KEY": echo.key, "OPENMAAS_URL": f"http://127.0.0.1:{echo.port}"}
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, env=environment)


def test_an_answer_ends_with_its_cost_and_the_address_may_be_that_of_an_sdk(echo: Installation) -> None:
    key = json.loads(echo.command("keys", "create", "--model", "echo", "--json").stdout)["key"]  # others offer models
    for address in ("", "/", "/v1", "/v1/"):
        found = chat(echo, "one two", "--key", key, "--url", f"http://127.0.0.1:{echo.port}{address}")
        assert found.returncode == 0, found.stderr
        assert "2 tokens in (0 cached), 16 out" in found.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "nosuch"], "there is no model 'nosuch'"),
        (["--key", "bad"], "<id>.<secret>"),
        (["--max-tokens", "0"], "--max-tokens"),
        (["--url", "nonsense"], "--url"),
        (["--url", "http://127.0.0.1:9"], "does not answer"),
    ],
)
def test_a_mistake_is_told_in_the_server_s_words(echo: Installation, arguments: list[str], said: str) -> None:
    found = chat(echo, "hello", *arguments)
    assert found.returncode in (1, 2)
    assert said in found.stderr
    assert "billed" not in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.alone
def test_an_interrupted_answer_says_what_it_cost(echo: Installation) -> None:
    made = json.loads(echo.command("keys", "create", "--json").stdout)
    model = {"name": "slow", "context_tokens": 10_000, "output_tokens_default": 5_000}
    assert echo.admin("POST", "/models", model)[0] == 201
    assert echo.admin("POST", "/prices", {"model": "slow", "input": "1", "output": "2"})[0] == 201
    options = {"tokens": 1000, "pace_ms": 20}
    assert echo.admin("POST", "/deployments", {"model": "slow", "kind": "echo", "options": options})[0] == 201
    echo.ready("slow")
    environment = {**os.environ, "OPENMAAS_KEY": made["key"]}
    command = [*COMMAND, "hello", "--model", "slow", "--url", f"http://127.0.0.1:{echo.port}"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as asking:
        assert asking.stdout is not None
        asking.stdout.read(1)  # a token of the answer, or the end of a command that failed
        asking.send_signal(signal.SIGINT)
        _, told = asking.communicate(timeout=20)
    assert asking.returncode == 130, told
    assert "1 tokens in (0 cached), " in told
    assert "Traceback" not in told
