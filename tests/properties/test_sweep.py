"""The search for the fastest setting: on machines that are formulas, and once on a real engine."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from openmaas.cli.sweep import sweep
from openmaas.core.errors import Failed, FieldInvalid
from openmaas.engines.profile import DeploymentProfile, Setting, read_profile
from openmaas.simulation.sweep import GAIN, KINDS, profile, search, start

LOADS = (1, 8, 32)


def starts(cores: int, slots: int = 32) -> list[Setting]:
    return [start(kind, "w.gguf", cores, slots) for kind in KINDS]


@given(st.integers(1, 16), st.integers(4, 32), st.integers(0, 10**6))
def test_what_is_found_is_the_fastest_of_all_that_was_measured_and_never_slower_than_the_start(
    cores: int, slots: int, seed: int
) -> None:
    speeds: dict[Setting, dict[int, float]] = {}

    def measure(setting: Setting) -> dict[int, float]:
        assert setting not in speeds  # nothing is measured twice
        assert 1 <= setting.slots <= slots
        chance = random.Random(f"{seed} {setting}")
        speeds[setting] = {load: chance.uniform(1, 100) for load in LOADS}
        return speeds[setting]

    found = profile("a machine", 512, search(starts(cores, slots), cores, slots, measure, lambda _line: None))
    scores = {row.setting: row.score for row in found.rows}
    assert scores[found.best] == max(scores.values())
    assert all(first in scores for first in starts(cores, slots))
    for load in LOADS:
        assert speeds[found.best_by_clients[load]][load] == max(each[load] for each in speeds.values())


def test_each_knob_is_turned_for_a_gain_above_the_noise_alone() -> None:
    def measure(setting: Setting) -> dict[int, float]:
        better = setting.threads == 1, setting.batch == 512, setting.slots == 16
        return dict.fromkeys(LOADS, 10 * 1.2 ** sum(better) * (GAIN**0.5 if setting.batch == 64 else 1))

    rows = search([start("llama", "w", 4, 32)], 4, 32, measure, lambda _line: None)
    assert profile("", 512, rows).best == Setting(kind="llama", weights="w", threads=1, slots=16, batch=512)


def test_what_does_not_run_is_said_and_left_out() -> None:
    said: list[str] = []

    def measure(setting: Setting) -> dict[int, float]:
        if setting.kind == "openvino":
            raise Failed("the engine does not start: make setup-openvino")
        return dict.fromkeys(LOADS, 1.0)

    rows = search(starts(2), 2, 32, measure, said.append)
    assert {row.setting.kind for row in rows} == {"llama"}
    assert any("make setup-openvino" in line for line in said)
    with pytest.raises(Failed):
        search([start("openvino", "w", 2, 32)], 2, 32, measure, said.append)


def test_a_profile_is_read_as_it_was_written_and_nothing_else_is_taken_for_one(tmp_path: Path) -> None:
    rows = search(starts(2), 2, 8, lambda _setting: {1: 2.0}, lambda _line: None)
    made, path = profile("m", 512, rows), tmp_path / "p.json"
    path.write_bytes(msgspec.json.encode(made))
    assert read_profile(path) == made
    for wrong in (b"{}", b"no json"):
        path.write_bytes(wrong)
        with pytest.raises(FieldInvalid, match="openmaas sweep"):
            read_profile(path)
    with pytest.raises(FieldInvalid):
        read_profile(tmp_path / "none")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["nothing"], "neither"),
        (["x.gguf", "--clients", "0"], "--clients"),
        (["x.gguf", "--clients", "many"], "--clients"),
        (["x.gguf", "--kinds", "vllm"], "vllm"),
    ],
)
def test_a_sweep_that_cannot_be_says_why(tmp_path: Path, options: list[str], why: str) -> None:
    (tmp_path / "x.gguf").write_bytes(b"")
    names = [str(tmp_path / each) if each == "x.gguf" else each for each in options]
    told = CliRunner().invoke(sweep, [*names, "--data", str(tmp_path), "--into", str(tmp_path / "p.json")])
    assert told.exit_code != 0
    assert why in told.output
    assert not (tmp_path / "p.json").exists()


def test_plans_are_made_of_what_deployments_take() -> None:
    setting = Setting(kind="llama", weights="w", threads=2, slots=4, batch=64)
    assert setting.options() == {"threads": 2, "batch": 64}
    assert start("openvino", "w", 2, 8).options() == {"threads": 2}
    assert msgspec.json.decode(
        msgspec.json.encode(DeploymentProfile(machine="", context=512, best=setting, best_by_clients={}, rows=[]))
    )
