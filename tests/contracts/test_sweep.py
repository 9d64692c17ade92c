"""A sweep on a real engine, and a model that is offered as it found best."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from installation import Installation
from openmaas.core.errors import Failed
from openmaas.simulation.sweep import Plan, Setting, measured

SETTING = Setting(kind="llama", weights="smollm2-135m", threads=1, slots=4, batch=128, processes=2)


def test_two_engines_are_started_asked_and_stopped(smol_gguf: Path) -> None:
    found = measured(SETTING, smol_gguf, 512, [1, 2], seed=1)
    assert list(found) == [1, 2]
    assert all(rate > 0 for rate in found.values())


def test_an_engine_that_does_not_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF and no more")
    with pytest.raises(Failed, match="does not start"):
        measured(SETTING, tmp_path / "x.gguf", 512, [1], seed=1)


def test_a_model_is_offered_as_a_profile_says(echo: Installation, smol_gguf: Path, tmp_path: Path) -> None:
    def offer(name: str, best: Setting) -> tuple[int, str]:
        (tmp_path / name).symlink_to(smol_gguf)
        profile = tmp_path / "profile.json"
        profile.write_bytes(msgspec.json.encode(Plan(machine="here", best=best, best_by_clients={}, rows=[])))
        told = echo.command("models", "offer", str(tmp_path / name), "--profile", str(profile))
        return told.returncode, told.stderr

    try:
        assert offer("profiled.gguf", SETTING)[0] == 0
        made = [row for row in echo.admin("GET", "/deployments?limit=100")[1]["data"] if row["model"] == "profiled"]
        one = "llama", 4, {"threads": 1, "batch": 128}
        assert [(row["kind"], row["slots"], row["options"]) for row in made] == [one, one]
        status, said = offer("other.gguf", msgspec.structs.replace(SETTING, kind="glm"))
        assert status != 0
        assert "the profile is for kind glm" in said
    finally:
        echo.command("models", "stop", "profiled")
