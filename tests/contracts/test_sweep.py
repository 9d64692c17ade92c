"""A sweep on a real engine, and a model that is offered as it found best."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from installation import Installation
from openmaas.core.errors import Failed
from openmaas.engines.profile import DeploymentProfile, Setting
from openmaas.simulation.sweep import measured

SETTING = Setting(kind="llama", weights="smollm2-135m", threads=1, slots=4, batch=128, processes=2)


def test_two_engines_are_started_asked_and_stopped(smol_gguf: Path) -> None:
    found = measured(SETTING, smol_gguf, 512, [1, 2], seed=1)
    assert list(found) == [1, 2]
    assert all(rate > 0 for rate in found.values())


def test_an_engine_that_does_not_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF and no more")
    with pytest.raises(Failed, match="does not start"):
        measured(SETTING, tmp_path / "x.gguf", 512, [1], seed=1)


def test_a_model_is_run_as_a_profile_says_in_place_of_what_ran_it(
    echo: Installation, smol_gguf: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "profiled.gguf"
    weights.symlink_to(smol_gguf)

    def offer(best: Setting, context: int = 2**20) -> tuple[int, str]:
        made = DeploymentProfile(machine="here", context=context, best=best, best_by_clients={}, rows=[])
        (tmp_path / "profile.json").write_bytes(msgspec.json.encode(made))
        told = echo.command("models", "offer", str(weights), "--profile", str(tmp_path / "profile.json"))
        return told.returncode, told.stderr

    def running() -> list[tuple[str, int, dict[str, int]]]:
        told = echo.admin("GET", "/deployments?limit=100")[1]["data"]
        mine = [row for row in told if row["model"] == "profiled" and row["wanted"] == "running"]
        return [(row["kind"], row["slots"], row["options"]) for row in mine]

    try:
        best = msgspec.structs.replace(SETTING, weights=str(smol_gguf.resolve()))
        assert offer(best) == (0, "")
        assert running() == [("llama", 4, {"threads": 1, "batch": 128})] * 2
        assert offer(msgspec.structs.replace(best, slots=5, processes=1)) == (0, "")
        assert running() == [("llama", 5, {"threads": 1, "batch": 128})]
        for other, context, said in ((SETTING, 2**20, "offer that first"), (best, 512, "--context")):
            status, told = offer(other, context)
            assert status != 0
            assert said in told
        assert len(running()) == 1
    finally:
        echo.command("models", "stop", "profiled")
