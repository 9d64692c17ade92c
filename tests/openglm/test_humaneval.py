"""HumanEval: who writes right functions passes, who cheats fails, and an evaluation goes on where it was cut off."""

from __future__ import annotations

import itertools
import json
import math
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openglm.data import archives
from openglm.errors import Refused
from openglm.evaluate import judging, results
from openglm.evaluate.endpoint import Endpoint
from openglm.evaluate.humaneval import Asked, Problem, cut, evaluate, pass_at, verdict
from openglm.evaluate.sandbox import Program, run

try:
    run(Program.of("pass"))
    ISOLATED = True
except Refused:
    ISOLATED = False

ADD = Problem(
    task_id="Test/0",
    prompt='def half(x):\n    return x / 2\n\n\ndef add(numbers, more):\n    """The numbers and more, as a tuple."""\n',
    entry_point="add",
    canonical_solution="    return (*numbers, *more)\n",
    test=(
        "def check(candidate):\n"
        "    assert candidate([1, 2], [3]) == (1, 2, 3)\n"
        "    assert candidate([half(1)], []) == (0.5,)\n"
        "    assert candidate([], []) == ()\n"
    ),
)
DOUBLE = Problem(
    task_id="Test/1",
    prompt='def double(x):\n    """Twice x."""\n',
    entry_point="double",
    canonical_solution="    return 2 * x\n",
    test="def check(candidate):\n    assert candidate(4) == 8\n    assert candidate(-1.5) == -3.0\n",
)


def tried(completion: str, problem: Problem = ADD) -> str:
    return verdict(problem, completion, isolated=ISOLATED)


def test_a_right_function_passes_and_a_wrong_one_fails() -> None:
    assert tried(ADD.canonical_solution) == "passed"
    assert tried("    return [*numbers, *more]\n") == "failed"
    assert tried("    return (\n") == "failed"
    assert tried("    print('noise')\n    return (*numbers, *more)\n") == "passed"


@pytest.mark.parametrize(
    "cheat",
    [
        "    pass\nimport sys\nsys.exit(0)\n",
        "    pass\nimport os\nos._exit(0)\n",
        "    import os\n    os._exit(0)\n",
        "    import sys\n    sys.exit(0)\n",
        "    class Any:\n        def __eq__(self, other):\n            return True\n    return Any()\n",
        "    class Any(tuple):\n        def __eq__(self, other):\n            return True\n    return Any()\n",
        "    pass\nimport builtins\nbuiltins.AssertionError = BaseException\ndef check(candidate):\n    pass\n",
        "    import builtins\n    builtins.exec = builtins.compile = print\n    return ()\n",
        "    pass\nimport os, signal\nos.kill(os.getppid(), signal.SIGKILL)\n",
        "    pass\nimport os\nfor n in range(64):\n    try:\n"
        '        os.write(n, b\'{"value": {"tuple": []}}\\n\' * 9)\n    except OSError:\n        pass\n',
        "    return float('nan')\n",
        "    return '\\n'\n",
    ],
)
def test_a_function_that_cheats_fails(cheat: str) -> None:
    assert tried(cheat) == "failed"


@pytest.mark.parametrize("slow", ["    while True: pass\n", "    pass\nwhile True: pass\n"])
def test_a_function_that_does_not_come_to_an_end_is_out_of_time(slow: str) -> None:
    assert tried(slow) == "time"


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inside: (
        st.lists(inside)
        | st.lists(inside).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inside)
        | st.sets(st.integers() | st.text())
    ),
    max_leaves=12,
)


@given(PLAIN)
def test_a_plain_value_arrives_as_it_was_sent(value: Any) -> None:
    arrived = judging.heard(json.loads(json.dumps(judging.told(value))))
    assert arrived == value
    assert type(arrived) is type(value)


def test_a_completion_is_cut_where_the_next_thing_begins() -> None:
    assert cut("    return 1\n\n\ndef other():\n    pass\n") == "    return 1\n\n"
    assert cut("    x = 1\n    # why\n    return x\nprint(1)\n# no\n") == "    x = 1\n    # why\n    return x"
    assert cut("    return 1") == "    return 1"


@pytest.mark.parametrize(("samples", "passed", "k"), [(5, 2, 1), (5, 2, 3), (6, 0, 2), (6, 6, 2), (7, 3, 5)])
def test_pass_at_k_is_the_mean_over_all_draws(samples: int, passed: int, k: int) -> None:
    draws = itertools.combinations([True] * passed + [False] * (samples - passed), k)
    assert pass_at(k, samples, passed) == pytest.approx(fmean(any(draw) for draw in draws))


class Server(ThreadingHTTPServer):
    """Completes DOUBLE rightly and ADD rightly for even seeds; says no to the first requests with ``status``."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.asked: list[dict[str, Any]] = []
        self.busy: list[int] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Answer(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        status = server.busy.pop() if server.busy else 200
        right = body["prompt"] == DOUBLE.prompt or body["seed"] % 2 == 0
        known = {each.prompt: each.canonical_solution for each in (ADD, DOUBLE)}
        text = known[body["prompt"]] if right else "    return None\n"
        said = {"choices": [{"text": text + "\nprint(1 / 0)\n"}]} if status == 200 else {"error": "no such key"}
        if status == 200:
            server.asked.append(body)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(said).encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_figures_are_kept_with_the_checkpoint_and_answers_are_not_asked_twice(server: Server, tmp_path: Path) -> None:
    asked = Asked(model="m", problems=2, samples=4, isolated=ISOLATED)
    endpoint, told = Endpoint(server.url, "m", "k"), list[str]()
    found = evaluate(tmp_path, endpoint, asked, [ADD, DOUBLE], at_once=2, tell=told.append)
    assert found["pass@1"] == pytest.approx((0.5 + 1) / 2)
    assert found["pass@1_error"] == pytest.approx(0.5 / math.sqrt(2) / math.sqrt(2))
    assert (found["problems"], found["passed"], found["out_of_time"]) == (2, 6, 0)
    assert "8 of 8 answers, 6 passed" in told[-1]
    assert len(server.asked) == 8
    assert {each["seed"] for each in server.asked} == {0, 1, 2, 3}

    (path,) = tmp_path.glob("humaneval-*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:5]) + lines[5][:20])  # killed while it wrote the sixth
    assert evaluate(tmp_path, endpoint, asked, [ADD, DOUBLE], at_once=2, tell=told.append) == found
    assert len(server.asked) == 8 + 3
    assert [(row.name, row.asked["samples"], row.figures) for row in results.kept(tmp_path)] == [
        ("humaneval", 4, found)
    ] * 2


def test_a_busy_server_is_asked_again_and_one_that_says_no_is_quoted(server: Server) -> None:
    server.busy = [503, 429]
    endpoint = Endpoint(server.url, "m")
    assert endpoint.complete(DOUBLE.prompt, seed=0).startswith(DOUBLE.canonical_solution)
    server.busy = [401]
    with pytest.raises(Refused, match=r"status 401, .*no such key"):
        endpoint.complete(DOUBLE.prompt, seed=0)
    with pytest.raises(Refused, match="url: ftp://x is no address"):
        Endpoint("ftp://x", "m")


def test_numbers_out_of_bounds_are_refused_before_anything_is_asked(server: Server, tmp_path: Path) -> None:
    endpoint = Endpoint(server.url, "m")
    for wrong, named in (({"samples": 0}, "samples: 0"), ({"problems": 3}, "problems: 3")):
        with pytest.raises(Refused, match=named):
            evaluate(tmp_path, endpoint, Asked(model="m", **{"problems": 1, **wrong}), [ADD], at_once=1, tell=print)
    with pytest.raises(Refused, match="no such folder"):
        evaluate(tmp_path / "none", endpoint, Asked(model="m", problems=1), [ADD], at_once=1, tell=print)
    assert not server.asked


def test_a_wheel_is_read_and_never_installed(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "p.whl", "w") as wheel:
        wheel.writestr("p/data/a.gz", b"1")
        wheel.writestr("p/setup.py", b"2")
    assert list(archives.members("pip", tmp_path / "p.whl", ["p/data/*"])) == [("p/data/a.gz", b"1")]
