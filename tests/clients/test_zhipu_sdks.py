"""Zhipu's own SDKs, unchanged, each in the environment that `make clients` creates for it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from installation import Installation

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("sdk", ["zai", "zhipuai"])
def test_an_sdk_chats_streams_calls_embeds_and_raises_its_own_errors(echo: Installation, sdk: str) -> None:
    python = ROOT / f".venv-{sdk}" / "bin" / "python"
    if not python.exists():
        pytest.skip("`make clients` installs it")
    script = Path(__file__).parent / "zhipu_script.py"
    command = [str(python), str(script), sdk, f"http://127.0.0.1:{echo.port}/api/paas/v4", echo.key]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "key": [True, 19, 19],
        "token": [True, 19, 19],
        "call": "f",
        "vector": 8,
        "task": "PROCESSING",
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
    command = [str(python), str(script), f"http://127.0.0.1:{echo.port}/api/paas/v4", key, str(examples)]
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
