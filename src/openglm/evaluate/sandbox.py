"""Programs that nobody has read are run here: no network, nothing to write but a scratch folder, limits on the rest.

Walls are the kernel's: namespaces by `unshare(1)`, and what `warden.py` builds inside them. Where they cannot be had, a
program is refused, unless the caller says that limits alone will do: then it is only safe to run what one has read.

    run(Program.of("print(6 * 7)")).output      # "42\n"

A program is files in the scratch folder and the arguments of an interpreter without third-party packages.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from openglm import bounds
from openglm.errors import Refused

WARDEN = Path(__file__).with_name("warden.py")
NAMESPACES = ("--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child")
USERS_FIRST, USERS = 2_000_000_000, 100_000_000  # given to nobody; one a program, as processes are counted by user
HINT = "Allow user namespaces on this machine, or give --without-isolation: then only limits hold, and no walls."


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one program may take; `cpu_s`, `memory_bytes` and `files` are of each of its processes."""

    cpu_s: int = bounds.PROGRAM_CPU_S
    wall_s: int = bounds.PROGRAM_WALL_S
    memory_bytes: int = bounds.PROGRAM_MEMORY_BYTES_MAX
    scratch_bytes: int = bounds.PROGRAM_SCRATCH_BYTES_MAX
    output_bytes: int = bounds.PROGRAM_OUTPUT_BYTES_MAX
    processes: int = bounds.PROGRAM_PROCESSES_MAX
    files: int = bounds.PROGRAM_FILES_MAX


@dataclass(frozen=True, slots=True)
class Program:
    """Texts by their names in the scratch folder, and what the interpreter is given."""

    files: Mapping[str, str]
    argv: tuple[str, ...]

    @classmethod
    def of(cls, code: str) -> Self:
        """One file, run as it is."""
        return cls({"program.py": code}, ("program.py",))


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended: its exit code (negative: a signal) or None, why, and what it wrote, where that was read."""

    code: int | None
    why: Literal["ended", "time", "output", "killed"]
    output: str = ""


class Cell:
    """A program in its sandbox, from start to end; on leaving, all of its processes are gone.

    Args:
        program: what runs.
        limits: what it may take.
        isolated: with walls; else with limits only.
        stdin, stdout: file descriptors of ours, as for `subprocess`; standard error goes where `stderr` says.
    """

    def __init__(
        self,
        program: Program,
        limits: Limits,
        *,
        isolated: bool,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.DEVNULL,
        stderr: int = subprocess.DEVNULL,
    ) -> None:
        self._limits, self._isolated = limits, isolated
        self._root = tempfile.TemporaryDirectory(prefix="openglm-")
        self._report, report = os.pipe()
        root = os.geteuid() == 0
        order = {
            "files": dict(program.files),
            "argv": program.argv,
            "limits": asdict(limits),
            "isolated": isolated,
            "root": self._root.name,
            "interpreter": sys.base_prefix,
            "user": USERS_FIRST + secrets.randbelow(USERS) if root else 0,
        }
        with tempfile.TemporaryFile() as given:
            given.write(json.dumps(order).encode())
            given.seek(0)
            walls = ("unshare", *NAMESPACES, *(() if root else ("--user", "--map-root-user"))) if isolated else ()
            interpreter = (os.path.realpath(sys.executable), "-I", "-S", "-B")
            try:
                self.process = subprocess.Popen(
                    [*walls, *interpreter, str(WARDEN), str(given.fileno()), str(report)],
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    env={},
                    pass_fds=(given.fileno(), report),
                    start_new_session=True,
                )
            except OSError as error:
                os.close(self._report)
                self._root.cleanup()
                raise Refused(f"isolation: {error.filename}: {error.strerror}", hint=HINT) from None
            finally:
                os.close(report)

    def __enter__(self) -> Self:
        """It runs already."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Every process of it is ended. With walls the first process takes all others with it."""
        self.kill()
        self.process.wait()
        os.close(self._report)
        self._root.cleanup()

    def kill(self) -> None:
        """End it now."""
        with contextlib.suppress(ProcessLookupError):  # it has ended
            os.killpg(self.process.pid, signal.SIGKILL)

    def wait(self, output: str = "") -> Ended:
        """How it ended, with the output that was read.

        Raises:
            Refused: it never began, because a wall could not be built.
        """
        try:
            self.process.wait(self._limits.wall_s + bounds.WARDEN_GRACE_S)
        except subprocess.TimeoutExpired:
            return Ended(None, "time", output)
        told: dict[str, Any] = json.loads(os.read(self._report, bounds.WARDEN_REPORT_BYTES_MAX) or "{}")
        if "code" in told:
            return Ended(told["code"], told["why"], output)
        if self._isolated or "failed" in told:
            said = told.get("failed") or (output.strip().splitlines() or ["unshare failed"])[-1]
            raise Refused(f"isolation: {said}", hint=HINT)
        return Ended(None, "killed", output)


def run(program: Program, limits: Limits | None = None, *, isolated: bool = True) -> Ended:
    """Run to the end, and read what it writes on both of its outputs.

    Raises:
        Refused: it never began, because a wall could not be built.
    """
    limits = limits or Limits()
    ends = time.monotonic() + limits.wall_s + bounds.WARDEN_GRACE_S
    reading, writing = os.pipe()
    with (
        open(reading, "rb", buffering=0) as pipe,
        Cell(program, limits, isolated=isolated, stdout=writing, stderr=writing) as cell,
    ):
        os.close(writing)
        said = b""
        while select.select([pipe], [], [], max(0, ends - time.monotonic()))[0]:
            if not (part := pipe.read(limits.output_bytes)):
                break
            said += part
            if len(said) > limits.output_bytes:
                cell.kill()
                return Ended(None, "output", said[: limits.output_bytes].decode(errors="replace"))
        return cell.wait(said.decode(errors="replace"))
