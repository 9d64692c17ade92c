"""Claude Code, unchanged, edits a file, and comes out of every trouble as its user would want.

`make clients` installs it from npm; without it these tests are skipped. The model behind the house plays a script
(``tests/scripted.py``); everything between the two is real.
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
from scripted import FITS, THOUGHT, Model

ROOT = Path(__file__).parents[2]
CLAUDE = ROOT / ".venv-npm/node_modules/@anthropic-ai/claude-code-linux-x64/claude"
CODERS = ("coder", "coder-busy", "coder-cut", "coder-long", "coder-full")
pytestmark = pytest.mark.skipif(not CLAUDE.exists(), reason="Claude Code is not installed: make setup-npm")


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    made = Model()
    yield made
    made.end()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Installation]:
    """A house whose models play scripts; Claude's names mean one of them."""
    made = Installation(tmp_path_factory.mktemp("claude") / "data")
    made.start()
    made.ready()
    model.offered(made, *CODERS)
    assert made.command("models", "alias", "claude-*", "coder").returncode == 0
    made.settle_in("/v1/models/claude-opus-9")
    yield made
    made.end()


class Desk(Scratch):
    """Claude Code at work, sent to ``house``."""

    def __init__(self, house: Installation, folder: Path) -> None:
        super().__init__(folder)
        self.house = house

    def ask(self, *, key: str = "", model: str = "") -> dict[str, Any]:
        """Let it change the file; returns its own report."""
        command = (CLAUDE, "-p", self.task, "--output-format", "json", "--allowedTools", "Read", "Edit")
        done = self.run(
            *command,
            ANTHROPIC_BASE_URL=f"http://127.0.0.1:{self.house.port}/api/anthropic",
            ANTHROPIC_AUTH_TOKEN=key or self.house.key,
            CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
            DISABLE_AUTOUPDATER="1",
            **({"ANTHROPIC_MODEL": model} if model else {}),
        )
        assert done.stdout, done.stderr
        return dict(json.loads(done.stdout))


@pytest.fixture
def desk(house: Installation, model: Model, tmp_path: Path) -> Desk:
    model.asked.clear()  # what other tests had asked
    return Desk(house, tmp_path)


def spent(house: Installation, model: str) -> dict[str, Any]:
    """The receipts of a model, added up."""
    rows = json.loads(house.command("usage", "--by", "model", "--json").stdout)
    return dict(next(row for row in rows if row["model"] == model))


def test_it_edits_a_file_and_is_billed_what_it_says(desk: Desk, model: Model) -> None:
    report = desk.ask()
    assert (desk.changed, report["is_error"], report["num_turns"]) == (True, False, 3)
    usage, bill = report["usage"], spent(desk.house, "coder")
    assert bill["completion_tokens"] == usage["output_tokens"] == 60
    assert bill["cached_tokens"] == usage["cache_read_input_tokens"] > 0
    assert bill["prompt_tokens"] == usage["input_tokens"] + usage["cache_read_input_tokens"]
    asked = model.asked["coder"][0]
    assert "billing-header" not in json.dumps(asked["messages"])
    last = model.asked["coder"][2]["messages"]
    thoughts = [message.get("reasoning_content") for message in last if message["role"] == "assistant"]
    assert thoughts == [THOUGHT, THOUGHT]  # they went to the client, signed, and came back within the turn


def test_it_waits_when_it_is_told_to_come_back(desk: Desk) -> None:
    owner, key = desk.house.organisation("10")
    limit = {"kind": "concurrency", "amount": 1, "scope": "organisation", "subject_id": owner}
    assert desk.house.admin("PUT", "/limits", limit)[0] == 200
    time.sleep(1)  # the relay has heard of it
    slow = {"model": "echo", "messages": [{"role": "user", "content": "x"}], "user": "echo:tokens=4,pace_ms=1000"}
    holder = threading.Thread(target=desk.house.ask, args=("POST", "/v1/chat/completions", slow), kwargs={"key": key})
    holder.start()
    time.sleep(0.5)
    status, headers, _ = desk.house.ask("POST", "/api/anthropic/v1/messages", {**slow, "model": "coder-busy"}, key=key)
    assert (status, headers["retry-after"]) == (429, "1")
    report = desk.ask(key=key, model="coder-busy")
    holder.join()
    assert (desk.changed, report["is_error"]) == (True, False)


def test_it_asks_again_when_a_stream_is_cut(desk: Desk, model: Model) -> None:
    report = desk.ask(model="coder-cut")
    assert (desk.changed, report["is_error"], model.troubles["coder-cut"] > 0) == (True, False, True)


def test_it_shortens_the_conversation_when_the_prompt_is_too_long(desk: Desk, model: Model) -> None:
    report = desk.ask(model="coder-long")
    assert (desk.changed, report["is_error"]) == (True, False)
    assert any("<summary>" in json.dumps(asked["messages"]) for asked in model.asked["coder-long"])


def test_it_asks_for_less_when_prompt_and_answer_together_do_not_fit(desk: Desk, model: Model) -> None:
    report = desk.ask(model="coder-full")
    assert (desk.changed, report["is_error"]) == (True, False)
    assert min(asked["max_tokens"] for asked in model.asked["coder-full"]) <= FITS


@pytest.mark.parametrize("why", ["empty", "wrong"])
def test_it_stops_at_once_and_says_why_when_there_is_no_use(desk: Desk, why: str) -> None:
    key = desk.house.organisation("0.0001")[1] if why == "empty" else "key_x.y"
    began_s = time.monotonic()
    report = desk.ask(key=key)
    assert time.monotonic() - began_s < 20  # it would try a bare refusal for minutes
    assert (desk.changed, report["is_error"]) == (False, True)
    assert ("balance" if why == "empty" else "key is not known") in report["result"]
