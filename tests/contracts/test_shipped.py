"""The GLM that comes with the package: a house has it from the first minute, without a download and without torch."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from installation import Installation, free_port
from openmaas.engines.weights import catalogue
from openmaas.house.settings import Settings

(ENTRY,) = [entry for entry in catalogue() if entry.shipped]
BEFORE = "def area(width, height):\n    return "
BEHIND = "\n\n\ndef circumference(radius):\n    return 2 * pi * radius\n"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Nobody listens where packages would come from: nothing is fetched."""
    made = Installation(tmp_path_factory.mktemp("shipped") / "data", ENTRY.name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{free_port()}/simple")
        made.start()
    try:
        made.ready(ENTRY.name)
        yield made
    finally:
        made.end()


def complete(house: Installation, **fields: Any) -> Any:
    status, _, answer = house.ask("POST", "/v1/completions", {"model": ENTRY.name, "temperature": 0, **fields})
    assert status == 200, answer
    return json.loads(answer)


def test_it_is_offered_beside_the_general_model_unless_another_is_asked_for() -> None:
    assert ENTRY.name in Settings().models
    assert len(Settings().models) == 2


def test_its_file_is_the_one_whose_digest_is_known_and_has_a_card() -> None:
    assert ENTRY.shipped is not None
    content = ENTRY.shipped.read_bytes()
    assert (hashlib.sha256(content).hexdigest(), len(content)) == (ENTRY.sha256, ENTRY.size_bytes)
    card = Path(str(ENTRY.shipped)).with_suffix(".md").read_text()
    for said in (ENTRY.sha256, ENTRY.licence, "recipes/small_glm.py"):
        assert said in card


def test_it_continues_a_poem_and_a_program(house: Installation) -> None:
    """It keeps the metre: lines of five characters follow a line of five."""
    poem = complete(house, prompt="白日依山盡，黃河入海流。\n", max_tokens=24)
    text = poem["choices"][0]["text"]
    assert [len(half) for half in re.split("[，。]\n?", text)][:2] == [5, 5], text
    program = complete(house, prompt="import os\n\ndef names(folder):\n    for name in os.", max_tokens=12)
    assert "(" in program["choices"][0]["text"]


def test_it_fills_a_gap_and_the_answer_is_paid_for(house: Installation) -> None:
    status, headers, answer = house.ask(
        "POST", "/v1/completions", {"model": ENTRY.name, "prompt": BEFORE, "suffix": BEHIND, "max_tokens": 16}
    )
    assert status == 200, answer
    usage = json.loads(answer)["usage"]
    receipt = house.receipt(headers["x-request-id"], "posted")
    assert (receipt["prompt_tokens"], receipt["completion_tokens"]) == (
        usage["prompt_tokens"],
        usage["completion_tokens"],
    )


def test_who_chats_with_it_is_told_where_it_answers(house: Installation) -> None:
    body = {"model": ENTRY.name, "messages": [{"role": "user", "content": "Hello!"}]}
    for path in ("/v1/chat/completions", "/api/paas/v4/chat/completions"):
        status, _, answer = house.ask("POST", path, body)
        assert status == 400, answer
        assert b"/v1/completions" in answer


def test_the_command_chat_takes_one_that_does(house: Installation) -> None:
    model = {"name": "talker", "context_tokens": 8192}  # behind it in the list
    assert house.admin("POST", "/models", model)[0] == 201
    assert house.admin("POST", "/deployments", {"model": "talker", "kind": "echo"})[0] == 201
    assert house.admin("POST", "/prices", {"model": "talker", "input": "1", "output": "2"})[0] == 201
    house.ready(ENTRY.name, "talker")
    url = f"http://127.0.0.1:{house.port}"
    done = subprocess.run(
        [sys.executable, "-m", "openmaas.cli", "chat", "Hello!", "--url", url, "--key", house.key, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["receipt"]["model"] == "talker"
