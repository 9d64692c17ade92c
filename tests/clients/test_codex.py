"""codex, unchanged, edits a file, and comes out of every trouble as its user would want.

`make setup-npm` installs it; without it these tests are skipped. The model behind the house plays a script
(``tests/scripted.py``); everything between the two is real.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from installation import Installation
from scratch import Scratch
from scripted import DONE, THOUGHT, Model

ROOT = Path(__file__).parents[2]
CODEX = Path(os.environ.get("OPENMAAS_TEST_CODEX", ROOT / ".venv-npm/node_modules/.bin/codex"))
CODERS = ("coder", "coder-cut", "coder-long")
pytestmark = pytest.mark.skipif(not CODEX.exists(), reason="codex is not installed: make setup-npm")


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    made = Model()
    yield made
    made.end()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Installation]:
    """A house whose models play scripts. Two relays: what one sealed, the other reads."""
    made = Installation(tmp_path_factory.mktemp("codex") / "data", relays="2")
    made.start()
    made.ready()
    model.offered(made, *CODERS)
    for _ in range(20):  # either relay has heard of them
        made.ready(*CODERS)
    yield made
    made.end()


class Desk(Scratch):
    """codex at work, sent to ``house``."""

    def __init__(self, house: Installation, folder: Path) -> None:
        super().__init__(folder)
        self.house = house

    def ask(self, *, key: str = "", model: str = "coder") -> tuple[list[dict[str, Any]], str]:
        """Let it change the file; returns its events, and what it wrote beside them."""
        told = {
            "model": model,
            "model_provider": "house",
            "model_reasoning_summary": "auto",
        }
        provider = {
            "name": "house",
            "base_url": f"http://127.0.0.1:{self.house.port}/api/v1",
            "env_key": "HOUSE_KEY",
            "wire_api": "responses",
        }
        lines = [f"{name} = {json.dumps(value)}" for name, value in told.items()]
        lines += ["[model_providers.house]", *(f"{name} = {json.dumps(value)}" for name, value in provider.items())]
        settings = self.home / ".codex" / "config.toml"
        settings.parent.mkdir()
        settings.write_text("\n".join(lines))
        flags = ("--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox")
        done = self.run(CODEX, "exec", *flags, self.task, HOUSE_KEY=key or self.house.key)
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")], done.stderr


@pytest.fixture
def desk(house: Installation, model: Model, tmp_path: Path) -> Desk:
    model.asked.clear()  # what other tests had asked
    return Desk(house, tmp_path)


def said(events: list[dict[str, Any]], kind: str) -> list[str]:
    """The texts of the items of a kind."""
    items = [event["item"] for event in events if event["type"] == "item.completed"]
    return [item["text"] for item in items if item["type"] == kind]


def billed(house: Installation, key: str) -> int:
    """The tokens generated for a customer."""
    rows = json.loads(house.ask("GET", "/v1/usage?by=model", key=key)[2])["data"]
    return sum(row["completion_tokens"] for row in rows)


def failed(events: list[dict[str, Any]]) -> str:
    """Why the turn failed."""
    return "".join(event["error"]["message"] for event in events if event["type"] == "turn.failed")


def test_it_edits_a_file_and_its_thoughts_come_back_from_any_relay(desk: Desk, model: Model) -> None:
    _, key = desk.house.organisation("10")
    events, _ = desk.ask(key=key)
    assert desk.changed
    assert said(events, "agent_message")[-1].endswith(DONE)
    assert set(said(events, "reasoning")) == {THOUGHT}
    usage = next(event["usage"] for event in events if event["type"] == "turn.completed")
    assert usage["output_tokens"] == 60
    assert usage["cached_input_tokens"] > 0
    *_, last = model.asked["coder"]
    spoken = [message for message in last["messages"] if message["role"] == "assistant"]
    assert [message["reasoning_content"] for message in spoken] == [THOUGHT, THOUGHT]
    deadline = time.monotonic() + 10
    while billed(desk.house, key) < 60:  # what is posted of it
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert billed(desk.house, key) == 60


def test_it_waits_when_it_is_told_to_come_back(desk: Desk) -> None:
    owner, key = desk.house.organisation("10")
    limit = {"kind": "concurrency", "amount": 1, "scope": "organisation", "subject_id": owner}
    assert desk.house.admin("PUT", "/limits", limit)[0] == 200
    time.sleep(1)  # the relays have heard of it
    slow = {"model": "echo", "messages": [{"role": "user", "content": "x"}], "user": "echo:tokens=3,pace_ms=1000"}
    holder = threading.Thread(target=desk.house.ask, args=("POST", "/v1/chat/completions", slow), kwargs={"key": key})
    holder.start()
    time.sleep(0.5)
    events, _ = desk.ask(key=key)
    holder.join()
    assert desk.changed, events
    assert any("limit" in event["message"] for event in events if event["type"] == "error")  # it did have to wait


def test_it_asks_again_when_a_stream_is_cut(desk: Desk, model: Model) -> None:
    events, _ = desk.ask(model="coder-cut")
    assert desk.changed, events
    assert [event["message"][:16] for event in events if event["type"] == "error"] == ["Reconnecting... "]


def test_it_says_that_the_conversation_is_too_long(desk: Desk) -> None:
    events, _ = desk.ask(model="coder-long")
    assert "ran out of room in the model's context window" in failed(events)


@pytest.mark.parametrize(("why", "told"), [("empty", "Quota exceeded"), ("wrong", "The API key is not known")])
def test_it_says_why_when_there_is_no_use(desk: Desk, why: str, told: str) -> None:
    key = desk.house.organisation("0.0001")[1] if why == "empty" else "key_x.y"
    began_s = time.monotonic()
    events, _ = desk.ask(key=key)
    assert told in failed(events)
    assert not desk.changed
    assert time.monotonic() - began_s < (5 if why == "empty" else 30)  # a wrong key it tries five times
