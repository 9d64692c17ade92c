"""The README is run: its commands, its snippet, and the line that the first start prints to paste.

What it says of SmolLM2 is done with the echo engine, on a free port; nothing else is changed.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from installation import Installation, free_port

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
LINES = [line for block in re.findall(r"^```sh\n(.*?)^```", README, re.M | re.S) for line in block.splitlines()]
NOT_RUN = {
    "make test": "it is what runs this",
    "make serve MODEL=qwen2.5-coder-1.5b PORT=9000": "1.1 GB would be fetched",
    "make serve MODEL=/models/mine.gguf": "the file is yours",
    'openmaas phone "Order my usual noodles" --model autoglm-phone-9b': "it wants a phone, and a GPU for its model",
    "make first-light": "tests/openglm/test_recipes.py runs it, with fewer steps",
}


def bare(line: str) -> str:
    """A command without its comment."""
    return line.partition("  #")[0].rstrip()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The house that `make serve` makes."""
    made = Installation(tmp_path_factory.mktemp("readme") / "data")
    changes = ["MODEL=echo", f"PORT={free_port()}", f"DATA={made.data}"]
    made.start(["make", "--no-print-directory", "-C", str(ROOT), "serve", *changes])
    made.ready()
    yield made
    (serving,) = made.children("openmaas.cli")
    os.kill(serving, signal.SIGTERM)  # not to make, which would not wait for it
    try:
        assert made.left() == 0
    finally:
        made.slay()
    audit = made.command("ledger", "audit")
    assert audit.returncode == 0, audit.stdout + audit.stderr


def shell(house: Installation, text: str) -> str:
    """Run ``text`` beside the data folder, as somebody would who has the environment on the path; what it printed."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    names = {"PATH": path, "OPENMAAS_KEY": house.key, "OPENMAAS_URL": f"http://127.0.0.1:{house.port}"}
    ran = subprocess.run(
        ["sh", "-euc", text],
        capture_output=True,
        text=True,
        check=False,
        cwd=house.data.parent,
        env={**os.environ, **names},
        input="Hello!\n",
        timeout=60,
    )
    assert ran.returncode == 0, (text, ran.stdout, ran.stderr)
    return ran.stdout


def test_every_line_is_run_or_named(house: Installation) -> None:
    known = {"make serve", *NOT_RUN}  # ``house`` is the first
    rest = {bare(line) for line in LINES} - known
    assert all(line.startswith("openmaas ") for line in rest), rest
    assert known <= {bare(line) for line in LINES}
    assert house.key


def test_the_line_to_paste_answers(house: Installation) -> None:
    begin = next(number for number, line in enumerate(house.said) if line.startswith("curl "))
    assert "data: [DONE]" in shell(house, f"curl -sSf --max-time 30 {''.join(house.said[begin:])[5:]}")


def test_the_snippet_answers(house: Installation) -> None:
    (snippet,) = re.findall(r"^```python\n(.*?)^```", README, re.M | re.S)
    for said, meant in (
        ("http://127.0.0.1:8080", f"http://127.0.0.1:{house.port}"),
        ("<the key it printed>", house.key),
        ("smollm2-135m", house.model),
    ):
        assert said in snippet
        snippet = snippet.replace(said, meant)
    found = shell(house, f"{shlex.quote(sys.executable)} -c {shlex.quote(snippet)}")
    assert found.startswith("tok0 tok1 ")
    assert "completion_tokens=16" in found


def test_the_commands_do_what_they_say(house: Installation) -> None:
    commands = [each for each in map(bare, LINES) if each.startswith("openmaas ") and each not in NOT_RUN]
    assert len(commands) >= 10
    for line in commands:
        command = line.replace("smollm2-135m", house.model)
        assert shell(house, command).strip(), command
        words = [word for word in command.split() if re.fullmatch("[a-z]+", word) and word != house.model]
        assert "--json" in shell(house, f"{' '.join(words)} --help"), words
    shell(house, "openmaas models start echo")  # the README had stopped it
    house.ready("echo")


def test_serve_tells_a_program_where_it_is(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "openmaas.cli", "serve", "--json", "--model", "echo", "--data", str(tmp_path)]
    with subprocess.Popen(
        [*command, "--port", str(free_port())], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as serving:
        assert serving.stdout is not None
        told = json.loads(serving.stdout.readline())
        house = Installation(tmp_path)
        house.port, house.key = int(told["address"].rpartition(":")[2]), told["key"]
        assert told == {"address": f"http://127.0.0.1:{house.port}", "key": house.key, "models": ["echo"]}
        assert house.chat()[0] == 200
        serving.send_signal(signal.SIGTERM)
        rest, said = serving.communicate(timeout=60)
    assert (serving.returncode, rest) == (0, ""), said
    assert told["key"] in said  # it was said as soon as it was made, in case the start had failed
