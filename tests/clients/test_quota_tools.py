"""A quota tool from PyPI, in the environment that `make clients` creates for it: it shows what the ledger says."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from installation import Installation

ROOT = Path(__file__).parents[2]


def shown(house: Installation, key: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    python = ROOT / ".venv-quota" / "bin" / "python"
    if not python.exists():
        pytest.skip("`make clients` installs it")
    script = Path(__file__).parent / "quota_script.py"
    command = [
        str(python),
        str(script),
        f"http://127.0.0.1:{house.port}",
        "zai",
        "--key",
        key,
        "-e",
        "intl",
        *arguments,
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_quota_tool_shows_the_windows_of_a_plan_and_the_models(echo: Installation) -> None:
    organisation_id, key = echo.organisation("10")
    windows = [
        {"name": "5h", "kind": "rolling", "credits": "2000", "hours": 5},
        {"name": "week", "kind": "cycle", "credits": "10000", "hours": 168},
    ]
    _, plan = echo.admin("POST", "/plans", {"name": "Pro", "windows": windows, "price": "1"})
    asked = {"plan_id": plan["id"], "request_key": "1"}
    assert echo.admin("POST", f"/organisations/{organisation_id}/subscriptions", asked)[0] == 201
    told = shown(echo, key)
    assert told.returncode == 0, told.stderr
    assert "Plan: Pro" in told.stdout
    assert "Used: 0% | Remaining: 2000" in told.stdout
    assert "Used: 0% | Remaining: 10000" in told.stdout
    models = json.loads(shown(echo, key, "--models", "--json").stdout)
    assert "echo" in {model["id"] for model in models if model["source"] == "api"}


def test_a_quota_tool_says_when_there_is_no_plan_and_when_the_key_is_wrong(echo: Installation) -> None:
    _, key = echo.organisation("10")
    assert "No quota limits found." in shown(echo, key).stdout
    wrong = shown(echo, "a.b")
    assert wrong.returncode == 1
    assert "401" in wrong.stderr
