"""A training by somebody else's program, from its files to its last checkpoint.

    1 write     options, examples            → trainer.yaml, examples/
    2 start     the command                  → a process, in a group of its own
    3 follow    its log, its checkpoints     → log.jsonl, checkpoints/, as ``train.loop`` leaves them
    4 end       the checkpoint of the last step

Whoever is told to end (SIGTERM) ends the group: first politely, since launchers such as ``torchrun`` have workers in
groups of their own to end, then not. Called again, it goes on from the last checkpoint that is whole.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from openglm.bounds import LAUNCH_LOOK_S, LAUNCH_STOP_S
from openglm.data import atomic
from openglm.errors import Refused
from openglm.train.log import Log
from openglm.tune.launch.trainer import Heard, Trainer, Work


class CutOff(Exception):  # noqa: N818 - named for what happened, as all errors here are
    """The trainer ended before its work did; started again, it goes on."""


def train(
    work: Work,
    trainer: Trainer,
    command: Sequence[str],
    arguments: Mapping[str, Any],
    texts: Mapping[str, Iterable[Sequence[str]]],
    tokens: int,
) -> Path:
    """The checkpoint of the last step. ``texts`` are ``Reader.texts`` of ``training`` and ``validation``; ``tokens``
    are those of the whole training, of which each step is told to have had its share.

    Raises ``Refused`` for a command that is not there and for options that are not to be changed, ``CutOff`` for a
    trainer that ended too soon."""
    write(work, trainer, arguments, texts)
    done = max(work.checkpoints(), default=0)
    with Log(work.folder, work.steps, done) as log:
        following = Following(work, trainer, log, tokens)
        status = _run([*(command or trainer.COMMAND), *trainer.words(work)], following.look)
        following.look()
    kept = work.checkpoints()
    if status or following.last < following.steps or not kept:
        raise CutOff(f"the trainer ended with status {status} after step {following.last} of {following.steps}")
    return kept[max(kept)]


def write(
    work: Work, trainer: Trainer, arguments: Mapping[str, Any], texts: Mapping[str, Iterable[Sequence[str]]]
) -> None:
    """Step 1. Raises ``Refused``."""
    ours = trainer.config(work)
    if taken := sorted(trainer.KEPT & arguments.keys()):
        raise Refused(f"arguments has {', '.join(taken)}", hint="The job says these; leave them out.")
    for name, rows in texts.items():
        lines = (json.dumps(trainer.example(row), ensure_ascii=False).encode() + b"\n" for row in rows)
        atomic.write(work.examples(name), lines)
    for path, text in trainer.files(work).items():
        atomic.write(path, text.encode())
    atomic.write(work.config, json.dumps(ours | dict(arguments), indent=2).encode())


class Following:
    """Looks at what a trainer leaves behind, and tells it in our own form. ``last`` is the last step heard of."""

    def __init__(self, work: Work, trainer: Trainer, log: Log, tokens: int) -> None:
        self._work, self._trainer, self._log, self._tokens = work, trainer, log, tokens
        self._path = work.output / trainer.LOG
        self._at = self._path.stat().st_size if self._path.exists() else 0  # lines of the time before
        self._kept = work.folder / "checkpoints"
        self._kept.mkdir(parents=True, exist_ok=True)
        self.last, self.steps = max(work.checkpoints(), default=0), work.steps

    def look(self) -> None:
        """Read what is new."""
        for line in self._lines():
            if heard := self._trainer.hear(line):
                self._tell(heard)
        kept = {f"step-{step:08d}": path for step, path in self._work.checkpoints().items()}
        for link in self._kept.iterdir():
            if link.name not in kept:
                link.unlink()
        for name, path in kept.items():
            if not (self._kept / name).is_symlink():
                (self._kept / name).symlink_to(path)

    def _tell(self, heard: Heard) -> None:
        self.last, self.steps = max(self.last, heard.step), heard.steps
        figures = {"loss": heard.loss} | ({} if heard.accuracy is None else {"accuracy": heard.accuracy})
        if heard.event:
            self._log.event(heard.step, heard.event, **figures)
            return
        trained = self._tokens * heard.step // heard.steps
        self._log.step(heard.step, **figures, lr=heard.rate, trained_tokens=trained, steps=heard.steps)

    def _lines(self) -> Iterator[dict[str, Any]]:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < self._at:  # it was begun anew
                self._at = 0
            file.seek(self._at)
            block = file.read()
        whole = block[: block.rfind(b"\n") + 1]
        self._at += len(whole)
        for line in whole.splitlines():
            yield json.loads(line)


def _run(words: Sequence[str], look: Callable[[], None]) -> int:
    """Steps 2 and 3; the exit status. Raises ``Refused``, and ``SystemExit`` when told to end."""
    try:
        # What is inheritable is inherited: the lock of the folder is held for as long as anybody writes there.
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True, close_fds=False)
    except OSError as error:
        said = f"{words[0]} cannot be started: {error.strerror}"
        raise Refused(said, hint="Install the trainer, or say by which command it is started.") from None
    with _ended(process):
        while process.poll() is None:
            time.sleep(LAUNCH_LOOK_S)
            look()
    return process.returncode


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """The process and its group are gone afterwards, however that comes."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with suppress(ProcessLookupError):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(LAUNCH_STOP_S)
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        signal.signal(signal.SIGTERM, before)
