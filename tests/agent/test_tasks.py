"""An agent at whole tasks, with a judge that is not the agent: a policy in a browser, and a written way on the
simulated phone through Debian's adb, each behind the wire of a model."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from bench.agents.policies import Item, Seen, random
from bench.agents.rules import rule
from bench.agents.run import Who, in_browser, nothing, on_phone
from bench.agents.wire import read, spoken

from agent_desk import Desk, does
from installation import free_port

needs = pytest.mark.skipif(
    not all(map(shutil.which, ("chromium", "adb"))), reason="no chromium or no adb: make setup-browser"
)
ONE = range(1, 2)


@pytest.fixture
def adb_port() -> Iterator[int]:
    """Of an adb server of this test's own, which is stopped at the end."""
    port = free_port() or 25137
    yield port
    subprocess.run(["adb", "-P", str(port), "kill-server"], capture_output=True, check=False)


def test_a_policy_sees_what_an_agent_tells_a_model_and_nothing_else() -> None:
    desk = Desk([does("open", app="notes"), does("tap", element=3), does("finish", message="", succeeded=True)])
    asyncio.run(desk.run("Pin it."))
    seen = read(desk.script.asked[-1]["messages"])
    assert seen.instruction == "Pin it."
    assert seen.elements == [
        Item(1, "textbox", "Title"),
        Item(2, "textbox", "PIN"),
        Item(3, "checkbox", "Pinned", "", True),
    ]
    assert [each["action"] for each in seen.history] == ["open", "tap"]
    assert seen.history[0]["why"] == "because"


def test_a_policys_answer_has_the_members_of_the_grammar_alone() -> None:
    answer = spoken(lambda _: {"action": "tap", "element": 3, "why": "x", "more": 1})(Seen("", []))
    assert answer == {"thinking": "x", "action": "tap", "element": 3}


@needs
@pytest.mark.timeout(300)
def test_rules_do_tasks_in_a_browser_through_the_whole_loop() -> None:
    names = ("login-user", "choose-date-easy", "email-inbox-delete", "use-slider")
    found = asyncio.run(in_browser(Who("rule", rule), names, ONE))
    assert found["passed"] == found["tried"] == 4
    idle = asyncio.run(in_browser(Who("nothing", nothing), names[:1], ONE))
    assert (idle["passed"], idle["claimed"], idle["wrong"]) == (0, 1, 1)


@needs
@pytest.mark.timeout(600)
@pytest.mark.parametrize("language", ["zh", "en"])
def test_tasks_are_walked_on_the_simulated_phone_and_the_judge_sees_it(language: str, adb_port: int) -> None:
    found = asyncio.run(on_phone(Who("walk", nothing), 4, ONE, language, adb_port))
    assert found["passed"] == found["tried"] == 4
    assert found["wrong"] == 0


@needs
@pytest.mark.timeout(300)
def test_a_claim_of_what_was_not_done_is_refuted_by_the_judge(adb_port: int) -> None:
    found = asyncio.run(on_phone(Who("nothing", nothing), 1, ONE, "en", adb_port))
    assert (found["passed"], found["claimed"], found["refuted=True"]) == (0, 1, 1)
    assert random(Seen("", []))["action"] == "wait"
