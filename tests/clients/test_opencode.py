"""opencode, unchanged, edits a file, and comes out of every trouble as its user would want.

`make setup-npm` installs it; without it these tests are skipped. The model behind the house plays a script
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
from scripted import DONE, THOUGHT, Model

ROOT = Path(__file__).parents[2]
OPENCODE = ROOT / ".venv-npm/node_modules/opencode-linux-x64/bin/opencode"
CODERS = ("coder", "coder-cut", "coder-long")
pytestmark = pytest.mark.skipif(not OPENCODE.exists(), reason="opencode is not installed: make setup-npm")


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    made = Model()
    yield made
    made.end()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Installation]:
    """A house whose models play scripts; Zhipu's name for one, which opencode knows, means one of them."""
    made = Installation(tmp_path_factory.mktemp("opencode") / "data")
    made.start()
    made.ready()
    model.offered(made, *CODERS)
    assert made.command("models", "alias", "glm-4.7", "coder").returncode == 0
    made.settle_in("/v1/models/glm-4.7")
    yield made
    made.end()


class Desk(Scratch):
    """opencode at work: its own provider for subscribers of a Coding Plan, sent to ``house``."""

    def __init__(self, house: Installation, folder: Path) -> None:
        super().__init__(folder)
        self.house = house

    def ask(self, key: str, model: str = "glm-4.7") -> list[dict[str, Any]]:
        """Let it change the file; returns its events."""
        options = {"baseURL": f"http://127.0.0.1:{self.house.port}/api/coding/paas/v4", "apiKey": key}
        unknown = {"reasoning": True, "limit": {"context": 200_000, "output": 32_000}}
        provider = {"options": options, "models": {name: {"name": name, **unknown} for name in CODERS}}
        settings = self.home / ".config" / "opencode" / "opencode.json"
        settings.parent.mkdir(parents=True)
        settings.write_text(json.dumps({"provider": {"zai-coding-plan": provider}}))
        command = (OPENCODE, "run", "--format", "json", "--model", f"zai-coding-plan/{model}", self.task)
        done = self.run(*command, OPENCODE_DISABLE_MODELS_FETCH="1")
        assert done.stdout, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def desk(house: Installation, model: Model, tmp_path: Path) -> Desk:
    model.asked.clear()  # what other tests had asked
    return Desk(house, tmp_path)


def failed(events: list[dict[str, Any]]) -> list[str]:
    """Why it stopped."""
    return [event["error"]["data"]["message"] for event in events if event["type"] == "error"]


def usage(desk: Desk, key: str, requests: int) -> dict[str, Any]:
    """What a customer used, once ``requests`` of them are posted."""
    deadline = time.monotonic() + 10
    while True:
        rows = json.loads(desk.house.ask("GET", "/v1/usage?by=model", key=key)[2])["data"]
        if rows and rows[0]["requests"] == requests:
            return dict(rows[0])
        assert time.monotonic() < deadline, rows
        time.sleep(0.1)


def test_it_edits_a_file_and_the_plan_is_charged_what_it_says(desk: Desk, model: Model) -> None:
    _, key = desk.house.subscriber("100")
    events = desk.ask(key)
    assert (desk.changed, failed(events)) == (True, [])
    texts = [event["part"]["text"] for event in events if event["type"] == "text"]
    assert texts[-1].endswith(DONE)
    titled, *asked = sorted(model.asked["coder"], key=lambda each: "tools" in each)
    assert (len(asked), titled["max_tokens"]) == (3, 32_000)
    spoken = [message for message in asked[-1]["messages"] if message["role"] == "assistant"]
    assert [message["reasoning_content"] for message in spoken] == [THOUGHT, THOUGHT]  # of this turn, sent back
    told = [event["part"]["tokens"] for event in events if event["type"] == "step_finish"]
    bill = usage(desk, key, 4)  # the three of the task, and one for the title that it shows nothing of
    assert bill["currency"] == "credits"
    assert bill["completion_tokens"] == sum(each["output"] for each in told) + 20 == 80
    read = sum(each["input"] + each["cache"]["read"] for each in told)
    assert bill["prompt_tokens"] == read + 20  # so long is the title's


def test_it_waits_when_it_is_told_to_come_back(desk: Desk) -> None:
    owner, key = desk.house.subscriber("100")
    limit = {"kind": "concurrency", "amount": 1, "scope": "organisation", "subject_id": owner}
    assert desk.house.admin("PUT", "/limits", limit)[0] == 200
    time.sleep(1)  # the relay has heard of it
    slow = {"model": "echo", "messages": [{"role": "user", "content": "x"}], "user": "echo:tokens=8,pace_ms=1000"}
    holder = threading.Thread(target=desk.house.ask, args=("POST", "/v1/chat/completions", slow), kwargs={"key": key})
    holder.start()
    time.sleep(0.5)
    events = desk.ask(key)
    holder.join()
    assert (desk.changed, failed(events)) == (True, [])


def test_it_asks_again_when_a_stream_is_cut(desk: Desk, model: Model) -> None:
    _, key = desk.house.subscriber("100")
    events = desk.ask(key, "coder-cut")
    assert (desk.changed, failed(events), model.troubles["coder-cut"] > 0) == (True, [], True)


def test_it_shortens_the_conversation_when_the_prompt_is_too_long(desk: Desk, model: Model) -> None:
    _, key = desk.house.subscriber("100")
    desk.ask(key, "coder-long")
    assert desk.changed
    assert any("<summary>" in json.dumps(asked["messages"]) for asked in model.asked["coder-long"])


def test_it_says_at_once_that_a_key_is_wrong(desk: Desk) -> None:
    began_s = time.monotonic()
    (told,) = failed(desk.ask("key_x.y"))
    assert "身份验证失败" in told
    assert time.monotonic() - began_s < 30


@pytest.mark.timeout(180)
def test_it_tries_five_times_and_says_why_when_there_is_nothing_left(desk: Desk) -> None:
    _, key = desk.house.subscriber("0.001")
    (told,) = failed(desk.ask(key))  # a minute: whatever the answer says, it asks again after a 429
    assert "使用上限" in told
    assert not desk.changed
