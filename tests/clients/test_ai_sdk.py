"""Vercel's AI SDK with its provider for Zhipu, unchanged; `make setup-npm` installs both."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from installation import Installation

ROOT = Path(__file__).parents[2]
MODULES = ROOT / ".venv-npm" / "node_modules"


def test_the_ai_sdk_chats_streams_and_raises_its_own_errors(echo: Installation) -> None:
    if not (MODULES / "zhipu-ai-provider").exists():
        pytest.skip("`make setup-npm` installs it")
    script = Path(__file__).parent / "ai_sdk_script.cjs"
    command = ["node", str(script), f"http://127.0.0.1:{echo.port}/api/paas/v4", echo.key]
    environment = {"PATH": os.environ["PATH"], "NODE_PATH": str(MODULES)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "same": True,
        "usage": [19, 19],
        "error": ["AI_APICallError", 401],
    }
