"""Zhipu's own SDKs, unchanged, each in the environment that `make clients` creates for it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from installation import Installation
from searching import Web, attach
from tunable import offer

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A house that echoes, searches, moderates and translates."""
    folder, web = tmp_path_factory.mktemp("sdks"), Web()
    for number in range(3):
        web.page("GLM", f"https://example.com/{number}")
    (folder / "words.txt").write_text("[ads] review\n加微信\n", "utf-8")
    made = Installation(folder / "data")
    made.start()
    attach(made, "search_std", "search", "search", {"searxng": web.url}, "0.01")
    attach(made, "moderation", "moderate", "moderator", {"words": folder / "words.txt"}, "0.001")
    assert made.admin("POST", "/agents", {"id": "general_translation", "model": "echo"})[0] == 201
    made.ready("search_std", "moderation")
    yield made
    made.end()
    web.close()


@pytest.mark.parametrize("sdk", ["zai", "zhipuai"])
def test_an_sdk_chats_searches_moderates_and_raises_its_own_errors(house: Installation, sdk: str) -> None:
    python = ROOT / f".venv-{sdk}" / "bin" / "python"
    if not python.exists():
        pytest.skip("`make clients` installs it")
    script = Path(__file__).parent / "zhipu_script.py"
    command = [str(python), str(script), sdk, f"http://127.0.0.1:{house.port}/api/paas/v4", house.key]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    shelf = ["新名", 1, [["###"], 20, 5], ["faq.txt"], True, "一###二", 200, None, 200, 200, 0]
    assert told.pop("knowledge", shelf) == shelf
    assert told == {
        "key": [True, 19, 19],
        "token": [True, 19, 19],
        "call": "f",
        "vector": 8,
        "task": "PROCESSING",
        "pages": ["https://example.com/0", "https://example.com/1"],
        "tools": ["search_intent", "search_result"],
        "chunks": ["search_intent", "search_result"],
        "risks": ["PASS", "REVIEW"],
        "found": ["https://example.com/0"] * 2,
        "agent": ["success", True, True],
        "errors": ["APIRequestFailedError", "APIAuthenticationError"],
    }


def test_zhipuai_queues_lists_cancels_and_deletes_a_fine_tuning_job(echo: Installation, tmp_path: Path) -> None:
    python = ROOT / ".venv-zhipuai" / "bin" / "python"
    if not python.exists():
        pytest.skip("`make clients` installs it")
    script, examples = Path(__file__).parent / "zhipu_tuning_script.py", tmp_path / "examples.jsonl"
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]
    examples.write_text(json.dumps({"messages": messages}) + "\n")
    _, key = echo.organisation("1")
    command = [str(python), str(script), f"http://127.0.0.1:{echo.port}/api/paas/v4", key, str(examples), offer(echo)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "made": ["queued", "mine-1", 3, None],
        "same": True,
        "events": ["The", "The"],
        "ends": ["cancelled", "cancelled"],
        "left": 0,
        "no model": "APIRequestFailedError",
    }
