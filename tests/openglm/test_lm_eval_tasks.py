"""The tasks for lm_eval that ship: what is in them, how they are made, and where their figures go."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from openglm.errors import Refused
from openglm.evaluate import harness, results

ROOT = Path(__file__).parents[2]
TASKS = ROOT / "recipes/lm_eval"
spec = importlib.util.spec_from_file_location("make_tasks", TASKS / "make.py")
assert spec is not None
assert spec.loader is not None
make = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make)


@pytest.mark.parametrize("name", ["next_couplet", "next_line_of_code"])
def test_a_task_has_its_questions_beside_it_and_says_under_which_licence(name: str) -> None:
    task = yaml.safe_load((TASKS / f"{name}.yaml").read_text())
    assert task["task"] == name
    assert task["metadata"]["licence"]
    rows = [json.loads(line) for line in (ROOT / task["dataset_kwargs"]["data_files"]["test"]).read_text().splitlines()]
    assert len({row["context"] for row in rows}) == len(rows) == make.QUESTIONS
    for row in rows:
        assert len(set(row["choices"])) == make.CHOICES
        right = row["choices"][row["answer"]]
        assert make.question(row["context"], right, row["choices"]) == row  # its hash put it there
        shape = len if name == "next_couplet" else make.indentation
        assert len({shape(choice) for choice in row["choices"]}) == 1
        assert right not in row["context"].split("\n") or name == "next_line_of_code"
    places = [sum(row["answer"] == place for row in rows) for place in range(make.CHOICES)]
    assert max(places) < make.QUESTIONS * 0.4  # who always says the same is near to chance


def test_the_right_line_is_the_one_that_was_there() -> None:
    def couplet(n: int, k: int) -> str:
        return f"{chr(0x4E00 + 40 * n + k) * 5}，{chr(0x4E10 + 40 * n + k) * 5}。"

    poems = [f"題{n}\n{couplet(n, 1)}\n{couplet(n, 2)}" for n in range(6)]
    made = list(make.poems([*poems, "無題\n短，\n長長長長長，長長長長長。"]))
    assert {f"{each['context']}\n{each['choices'][each['answer']]}" for each in made} == set(poems)

    body = "    first_{0} = begin({0}, 1)\n    second_{0} = go_on({0}, 2)\n    return first_{0} + second_{0}\n"
    module = "".join(f"def f{n}(x):\n    # one\n    # two\n{body.format(n)}\n" for n in range(5))
    made = list(make.code([module]))
    assert len(made) == 5
    for each in made:
        assert f"{each['context']}\n{each['choices'][each['answer']]}\n" in module
        for place, choice in enumerate(each["choices"]):
            assert (f"{each['context']}\n{choice}\n" in module) == (place == each["answer"])


RESULTS: dict[str, Any] = {
    "results": {"next_couplet": {"alias": "next_couplet", "acc,none": 0.3, "acc_stderr,none": 0.15, "sample_len": 10}},
    "config": {"model_args": {"model": "my-glm", "base_url": "http://127.0.0.1:1/v1/completions"}},
    "versions": {"next_couplet": 1.0},
    "n-shot": {"next_couplet": 0},
    "n-samples": {"next_couplet": {"original": 200, "effective": 10}},
    "lm_eval_version": "0.4.13",
}


def test_what_lm_eval_found_is_kept_beside_the_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "out/my-glm").mkdir(parents=True)
    (tmp_path / "out/my-glm/results_2026-01-01T00-00-00.json").write_text("{}")
    (tmp_path / "out/my-glm/results_2026-01-02T00-00-00.json").write_text(json.dumps(RESULTS))
    (row,) = harness.keep(tmp_path, tmp_path / "out")
    assert results.kept(tmp_path) == [row]
    assert (row.name, row.figures) == ("next_couplet", {"acc": 0.3, "acc_stderr": 0.15})
    assert (row.asked["model"], row.asked["questions"], row.asked["of"]) == ("my-glm", 10, 200)
    with pytest.raises(Refused, match="it is no file of results"):
        harness.keep(tmp_path, tmp_path / "out/my-glm/results_2026-01-01T00-00-00.json")
    with pytest.raises(Refused, match="no results of lm_eval are in it"):
        harness.keep(tmp_path, tmp_path / "none")
