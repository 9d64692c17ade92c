"""A training process as a job sees it: orders in, a log out. It knows no ledger and no job; ``tuning.py`` watches it.

openglm is another house: it is started as a program (``python -m openglm.tune``), and told and heard through JSON. Its
orders come as one line of standard input, which stays open: when the worker is gone, however it went, the child is too.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from openmaas.core.bounds import TUNING_LOOK_S, TUNING_STOP_S
from openmaas.core.errors import EngineFailed

#: Its threads wait for each other without spinning: engines on the same cores have better use for them.
_ENVIRONMENT = {"OMP_WAIT_POLICY": "passive"}
DONE, WRONG = 0, 2  #: exit statuses of openglm.tune


class Failure(msgspec.Struct, frozen=True):
    """Why an order cannot be done, as openglm says it: the wrong member of the order, and a sentence."""

    field: str
    message: str


class Counted(msgspec.Struct, frozen=True):
    """What an order will be: tokens that are trained in all epochs, and the numbers that were chosen."""

    tokens: int
    steps: int
    n_epochs: int
    batch_size: int


class Line(msgspec.Struct, frozen=True):
    """A line of the log: a step, or something besides one (``event``)."""

    step: int
    loss: float
    accuracy: float | None = None
    event: str = ""
    lr: float = 0.0
    trained_tokens: int = 0
    steps: int = 0  # of the whole run, where another trainer counts them


class Made(msgspec.Struct, frozen=True):
    """What a training left in its folder: files, by their names. ``over_base`` is what llama.cpp can lay over the base
    in place of running the whole of it, where there is such a thing."""

    gguf: str
    over_base: str | None = None


def made(folder: Path) -> Made:
    """What is in ``folder`` when ``train`` is done."""
    return msgspec.json.decode((folder / "done.json").read_bytes(), type=Made)


def can_train() -> bool:
    """Whether the packages are here; looking for them loads none."""
    return find_spec("torch") is not None and find_spec("gguf") is not None


async def train(
    order: dict[str, Any],
    folder: Path,
    over: Callable[[], bool],
    agree: Callable[[Counted], Awaitable[None]],
) -> Failure | None:
    """Train to the end, or until ``over``, which is asked again and again and may look at the log. When the trainer has
    counted, it waits until ``agree`` has returned. Returns why the order cannot be done, if so. Raises ``EngineFailed``
    for a process that was cut off, and what ``agree`` raises."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    counted = folder / "counted.json"
    counted.unlink(missing_ok=True)  # of the time before
    with (folder / "trainer.log").open("ab") as said:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "openglm.tune", "run", "-"),
            stdin=asyncio.subprocess.PIPE,
            stdout=said,
            stderr=said,
            env={**_ENVIRONMENT, **os.environ},
        )
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(order) + b"\n")
    ending = asyncio.ensure_future(process.wait())
    agreed = False
    try:
        while not over():
            await asyncio.wait([ending], timeout=TUNING_LOOK_S)
            if not agreed and counted.exists():
                await agree(msgspec.json.decode(counted.read_bytes(), type=Counted))
                process.stdin.write(b"go\n")
                agreed = True
            if ending.done():
                over()  # what it said last
                return _outcome(ending.result(), folder)
        return None
    finally:
        if not ending.done():
            process.terminate()  # nothing is half written under its name: see openglm/tune/tuning.py
            await asyncio.wait([ending], timeout=TUNING_STOP_S)
        if not ending.done():
            process.kill()
        await asyncio.shield(ending)


def _outcome(status: int, folder: Path) -> Failure | None:
    if status == DONE:
        return None
    if status == WRONG:
        return msgspec.json.decode((folder / "failed.json").read_bytes(), type=Failure)
    raise EngineFailed(f"the trainer ended with status {status}; its words are in {folder / 'trainer.log'}")


class Log:
    """The lines of ``log.jsonl``, as they come. A run that goes on writes its file anew: then it is read from the
    beginning again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = 0  # its inode
        self._at = 0

    def news(self) -> list[Line]:
        """What is new since the last time."""
        try:
            with self._path.open("rb") as file:
                number = os.fstat(file.fileno()).st_ino
                if number != self._file:
                    self._file, self._at = number, 0
                file.seek(self._at)
                block = file.read()
        except FileNotFoundError:
            return []
        whole = block[: block.rfind(b"\n") + 1]
        self._at += len(whole)
        return [msgspec.json.decode(line, type=Line) for line in whole.splitlines()]
