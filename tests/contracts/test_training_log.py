"""The log of a training, as openglm writes it and the worker of jobs follows it."""

from __future__ import annotations

import io
from pathlib import Path

from openglm.train import log as written
from openmaas.jobs import training


def steps(folder: Path, done: int, numbers: range) -> None:
    with written.Log(folder, 1_000, done, io.StringIO()) as log:
        for number in numbers:
            log.step(number, loss=1 / number)


def test_a_run_that_goes_on_from_a_checkpoint_is_followed_from_its_first_line_again(tmp_path: Path) -> None:
    followed = training.Log(tmp_path / "log.jsonl")
    steps(tmp_path, 0, range(1, 38))
    assert [line.step for line in followed.news()] == list(range(1, 38))
    for done in (12, 13, 24, 11):  # cut off, and gone on with, while it is followed
        steps(tmp_path, done, range(done + 1, 90))
        assert [line.step for line in followed.news()] == list(range(1, 90))
        assert followed.news() == []
