"""aider, unchanged, edits a file, and comes out of every trouble as its user would want.

`make setup-aider` installs it; without it these tests are skipped. It has no tools: it reads what to change in the text
of the answer. The model behind the house plays a script (``tests/scripted.py``); everything between the two is real.
"""

from __future__ import annotations

import json
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
AIDER = ROOT / ".venv-aider/bin/aider"
CODERS = ("coder", "coder-cut", "coder-long")
#: What it would ask of its user, of git, or of machines elsewhere.
QUIET = (
    *("--yes-always", "--no-git", "--no-pretty", "--no-check-update", "--no-show-model-warnings"),
    *("--no-show-release-notes", "--analytics-disable"),
)
pytestmark = [
    pytest.mark.skipif(not AIDER.exists(), reason="aider is not installed: make setup-aider"),
    pytest.mark.timeout(300),  # it takes ten seconds of a processor to start, and tries for a minute
]


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    made = Model()
    yield made
    made.end()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Installation]:
    """A house whose models play scripts."""
    made = Installation(tmp_path_factory.mktemp("aider") / "data")
    made.start()
    made.ready()
    model.offered(made, *CODERS)
    yield made
    made.end()


class Desk(Scratch):
    """aider at work, sent to ``house``."""

    def __init__(self, house: Installation, folder: Path) -> None:
        super().__init__(folder)
        self.house = house

    def ask(self, key: str, model: str = "coder", base: str = "/api/coding/paas/v4") -> str:
        """Let it change the file; returns what it wrote."""
        command = (AIDER, "--model", f"openai/{model}", "--edit-format", "diff", *QUIET, "--message", self.task)
        url = f"http://127.0.0.1:{self.house.port}{base}"
        done = self.run(*command, self.file, OPENAI_API_BASE=url, OPENAI_API_KEY=key)
        return done.stdout + done.stderr


@pytest.fixture
def desk(house: Installation, model: Model, tmp_path: Path) -> Desk:
    model.asked.clear()  # what other tests had asked
    return Desk(house, tmp_path)


def usage(desk: Desk, key: str, requests: int) -> dict[str, Any]:
    """What a customer used, once ``requests`` of them are posted."""
    deadline = time.monotonic() + 10
    while True:
        rows = json.loads(desk.house.ask("GET", "/v1/usage?by=model", key=key)[2])["data"]
        if rows and rows[0]["requests"] == requests:
            return dict(rows[0])
        assert time.monotonic() < deadline, rows
        time.sleep(0.1)


@pytest.mark.parametrize(("base", "currency"), [("/api/coding/paas/v4", "credits"), ("/v1", "CNY")])
def test_it_edits_a_file_and_is_billed(desk: Desk, model: Model, base: str, currency: str) -> None:
    _, key = desk.house.subscriber("100")
    wrote = desk.ask(key, base=base)
    assert desk.changed, wrote
    assert THOUGHT in wrote
    assert DONE in wrote
    bill = usage(desk, key, 1)
    assert (bill["completion_tokens"], bill["currency"]) == (20, currency)
    assert bill["prompt_tokens"] == 2 * bill["cached_tokens"] > 0
    assert model.asked["coder"][-1]["temperature"] == 0


def test_it_waits_when_it_is_told_to_come_back(desk: Desk) -> None:
    owner, key = desk.house.subscriber("100")
    limit = {"kind": "concurrency", "amount": 1, "scope": "organisation", "subject_id": owner}
    assert desk.house.admin("PUT", "/limits", limit)[0] == 200
    time.sleep(1)  # the relay has heard of it
    slow = {"model": "echo", "messages": [{"role": "user", "content": "x"}], "user": "echo:tokens=12,pace_ms=1000"}
    holder = threading.Thread(target=desk.house.ask, args=("POST", "/v1/chat/completions", slow), kwargs={"key": key})
    holder.start()
    time.sleep(0.5)
    wrote = desk.ask(key)
    holder.join()
    assert desk.changed, wrote


def test_it_asks_again_when_a_stream_is_cut(desk: Desk, model: Model) -> None:
    _, key = desk.house.subscriber("100")
    wrote = desk.ask(key, "coder-cut")
    assert (desk.changed, model.troubles["coder-cut"] > 0) == (True, True), wrote
    assert "its answer ended early" in wrote


def test_it_says_that_the_conversation_is_too_long(desk: Desk) -> None:
    _, key = desk.house.subscriber("100")
    wrote = desk.ask(key, "coder-long")
    assert "has hit a token limit" in wrote
    assert not desk.changed


def test_it_stops_at_once_when_a_key_is_wrong(desk: Desk) -> None:
    wrote = desk.ask("key_x.y")
    assert "身份验证失败" in wrote
    assert "Retrying" not in wrote


def test_it_tries_for_a_minute_and_says_why_when_there_is_nothing_left(desk: Desk) -> None:
    _, key = desk.house.subscriber("0.001")
    wrote = desk.ask(key)  # whatever the answer says, it asks again after a 429
    assert "使用上限" in wrote
    assert not desk.changed
