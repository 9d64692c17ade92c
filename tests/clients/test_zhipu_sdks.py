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
