"""Recipes are run, with fewer steps than they are meant for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONG = pytest.mark.skipif("OPENMAAS_TEST_LONG" not in os.environ, reason="trains for a minute: make test-long")


@LONG
@pytest.mark.timeout(900)
def test_first_light_ends_with_a_receipt(tmp_path: Path) -> None:
    command = [sys.executable, "recipes/first_light.py", "--into", str(tmp_path), "--steps", "20"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=800)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert '"object": "receipt"' in ran.stdout
    assert '"completion_tokens": 0' not in ran.stdout
    assert "depth    2  (the dial)" in ran.stdout
