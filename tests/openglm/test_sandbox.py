"""Hostile programs: each does its worst, and the machine is as it was."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from openglm.bounds import PROGRAM_OUTPUT_BYTES_MAX, PROGRAM_PROCESSES_MAX
from openglm.errors import Refused
from openglm.evaluate.sandbox import Cell, Limits, Program, run

SHORT = Limits(cpu_s=1, wall_s=3)


def walls() -> str:
    """Why programs cannot be isolated on this machine; empty where they can."""
    try:
        return "" if run(Program.of("print(1)")).output == "1\n" else "it runs and says nothing"
    except Refused as refused:
        return str(refused)


WHY_NOT = walls()
isolated = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)


def said(code: str, limits: Limits = SHORT) -> str:
    """What an isolated program says before it ends of its own."""
    ended = run(Program.of(code), limits)
    assert ended.why == "ended", ended
    return ended.output


def test_a_program_ends_with_its_output_and_its_code() -> None:
    ended = run(Program.of("import sys\nprint(6 * 7)\nsys.exit(5)"), isolated=not WHY_NOT)
    assert (ended.code, ended.why, ended.output) == (5, "ended", "42\n")


@isolated
def test_it_sees_an_interpreter_and_a_scratch_folder_and_nothing_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENMAAS_KEY", "secret-of-the-environment")
    (tmp_path / "secret").write_text("secret-of-a-file")
    told = said(
        "import os\n"
        "print(os.environ)\n"
        f"print(os.path.exists({str(tmp_path)!r}), os.path.exists('/proc'), os.listdir('/scratch'))\n"
        "print({*os.listdir('/etc')} <= {'ld.so.cache'})"
    )
    assert "secret" not in told
    assert told.endswith("False False ['program.py']\nTrue\n")


@isolated
@pytest.mark.parametrize("place", ["/etc/evil", "/usr/evil", "/evil", os.path.expanduser("~/evil"), "/dev/evil"])
def test_it_writes_nowhere_but_in_its_scratch_folder(place: str) -> None:
    told = said(
        "open('mine', 'w').write('kept')\nprint(open('mine').read())\n"
        f"try:\n    open({place!r}, 'w')\nexcept OSError:\n    print('refused')\n"
    )
    assert told == "kept\nrefused\n"
    assert not Path(place).exists()


@isolated
def test_it_has_no_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.5)
        port = server.getsockname()[1]
        for family in ("AF_INET", "AF_UNIX", "AF_VSOCK"):
            code = (
                f"import socket\ntry:\n    socket.socket(socket.{family})\nexcept OSError as error:\n    print(error)"
            )
            assert "not permitted" in said(code), family
        connect = f"import socket\nsocket.create_connection(('127.0.0.1', {port}))"
        assert run(Program.of(connect), SHORT).code == 1
        with pytest.raises(TimeoutError):
            server.accept()


@isolated
def test_it_makes_no_namespace_of_its_own_and_looks_into_nobody() -> None:
    code = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nprint(libc.{}, ctypes.get_errno())"
    clone = {"x86_64": 56, "aarch64": 220}[platform.machine()]
    for call in ("unshare(0x10000000)", "ptrace(16, 1, 0, 0)", f"syscall({clone}, 0x10000011, 0, 0, 0, 0)"):
        assert said(code.format(call)) == "-1 1\n", call


@isolated
def test_a_fork_bomb_has_as_many_processes_as_are_allowed() -> None:
    code = "import os, time\nfor n in range(100):\n    if os.fork() == 0:\n        time.sleep(9)\n"
    ended = run(Program.of(code), SHORT)
    assert "BlockingIOError" in ended.output
    bomb = "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass\n"
    assert run(Program.of(bomb), SHORT).why == "time"
    count = "import os, time\nn = 0\ntry:\n    while True:\n        os.fork() or time.sleep(9)\n        n += 1\n"
    told = said(count + "except OSError:\n    print(n)")
    assert 0 < int(told) < PROGRAM_PROCESSES_MAX


@isolated
@pytest.mark.parametrize("code", ["while True: pass", "import time; time.sleep(60)"])
def test_an_endless_program_ends(code: str) -> None:
    assert run(Program.of(code), SHORT).why == "time"


@isolated
def test_it_takes_no_more_memory_than_it_may() -> None:
    assert "MemoryError" in said("x = bytearray(2_000_000_000)")
    full = "f = open('x', 'wb')\nwhile True:\n    f.write(bytes(1_000_000))"
    assert "Error" in said(full)


def test_a_flood_of_output_is_cut_off() -> None:
    ended = run(Program.of("while True: print('x' * 100_000)"), SHORT, isolated=not WHY_NOT)
    assert (ended.why, len(ended.output)) == ("output", PROGRAM_OUTPUT_BYTES_MAX)


@isolated
def test_it_kills_neither_its_parent_nor_anybody_else() -> None:
    code = "import os\nfor pid in (os.getppid(), 1, -1):\n    try:\n        os.kill(pid, 9)\n    except OSError:\n"
    assert said(code + "        pass\nprint('done')") == "done\n"


@isolated
def test_nobody_is_left_when_it_has_ended() -> None:
    reading, writing = os.pipe()
    code = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(60)\n"
    with Cell(Program.of(code), SHORT, isolated=True, stdout=writing) as cell:
        os.close(writing)
        assert cell.wait().code == 0
        assert os.read(reading, 1) == b""  # the last that held it is gone
    os.close(reading)


@isolated
def test_many_programs_at_once_do_not_take_each_other_s_processes() -> None:
    ended: list[int | None] = []
    many = [threading.Thread(target=lambda: ended.append(run(Program.of("pass")).code)) for _ in range(12)]
    for each in many:
        each.start()
    for each in many:
        each.join()
    assert ended == [0] * 12


@isolated
def test_where_walls_cannot_be_built_a_program_is_refused_and_limits_alone_are_asked_for() -> None:
    """Inside a namespace of users that may have no other namespace."""
    code = (
        "from openglm.evaluate.sandbox import Program, run\n"
        "print(run(Program.of('print(1)'), isolated=False).output, flush=True)\n"
        "run(Program.of('print(2)'))\n"
    )
    poor = 'echo 0 > /proc/sys/user/max_mnt_namespaces && exec "$@"'
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", poor, "sh", sys.executable, "-c", code]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.stdout == "1\n\n", ended.stderr
    assert "Refused: isolation: unshare: unshare failed" in ended.stderr
    assert "--without-isolation" in ended.stderr


def test_without_walls_limits_hold_and_who_kills_its_guard_has_not_passed() -> None:
    assert run(Program.of("while True: pass"), SHORT, isolated=False).why == "time"
    assert "MemoryError" in run(Program.of("x = bytearray(2_000_000_000)"), SHORT, isolated=False).output
    ended = run(Program.of("import os\nos.kill(os.getppid(), 9)"), SHORT, isolated=False)
    assert (ended.code, ended.why) == (None, "killed")
