"""A drawing says what the log says: every curve, on axes that are named, where its figures are."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from openglm.errors import Refused
from openglm.train.log import Log
from openglm.train.plot import POINTS, Curve, curves, lines, mean_and_deviation, spreads

SVG = "{http://www.w3.org/2000/svg}"


def run(folder: Path, steps: int, high: float) -> Path:
    folder.mkdir()
    with Log(folder, steps, 0, screen=(folder / "screen").open("w")) as log:
        for step in range(1, steps + 1):
            log.step(step, loss=high / step, accuracy=0.1)
        log.event(steps, "held_out", loss=high)
        log.event(steps // 2, "held_out", loss=high)
    return folder


def texts(drawing: str) -> list[str]:
    return [found.text or "" for found in ElementTree.fromstring(drawing).iter(f"{SVG}text")]  # noqa: S314 - our own


def polylines(drawing: str) -> list[list[tuple[float, float]]]:
    found = ElementTree.fromstring(drawing).iter(f"{SVG}polyline")  # noqa: S314 - our own
    return [[tuple(map(float, point.split(","))) for point in line.attrib["points"].split()] for line in found]  # type: ignore[misc]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_command_draws_runs_side_by_side_and_what_they_held_out(tmp_path: Path) -> None:
    folders = [run(tmp_path / "glm", 40, 8.0), run(tmp_path / "a<b", 20, 4.0)]
    into = tmp_path / "loss.svg"
    command = [sys.executable, "-m", "openglm.train.plot", *map(str, folders), "--into", str(into)]
    subprocess.run(command, check=True, timeout=60)
    drawn = into.read_text()
    assert {"glm", "a<b", "loss (nats a token)", "step (dotted: held out)", "40"} <= set(texts(drawn))
    assert [len(line) for line in polylines(drawn)] == [40, 2, 20, 2]
    assert "prefers-color-scheme: dark" in drawn


def test_figures_lie_where_the_axes_say() -> None:
    (line,) = polylines(lines([Curve("one", [0, 5, 10], [3.0, 2.0, 1.0])], x="step", y="loss"))
    (left, top), (middle_x, middle_y), (right, bottom) = line
    assert left < middle_x < right
    assert top < middle_y < bottom
    assert middle_x == pytest.approx((left + right) / 2, abs=0.1)
    assert middle_y == pytest.approx((top + bottom) / 2, abs=0.1)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_long_run_is_drawn_through_means(tmp_path: Path) -> None:
    first = curves(run(tmp_path / "long", 1000, 8.0))[0]
    assert len(first.xs) <= POINTS
    assert first.xs[0] == 3.0  # the mean of steps 1 to 5
    assert all(one > other for one, other in pairwise(first.ys))


def test_seeds_are_dots_beside_their_mean_and_deviation() -> None:
    drawn = spreads({"glm": [4.0, 4.2, 4.4], "bert": [5.0]}, y="nats")
    assert mean_and_deviation([4.0, 4.2, 4.4]) == pytest.approx((4.2, 0.2))
    assert mean_and_deviation([5.0]) == (5.0, 0.0)
    assert {"glm", "bert", "nats"} <= set(texts(drawn))
    assert drawn.count("<circle") == 4


def test_a_run_without_a_log_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="nowhere"):
        curves(tmp_path / "nowhere")
