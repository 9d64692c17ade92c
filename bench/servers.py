"""The house that is measured, and what the processes of a server have used; the others are in ``peers``."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
#: The server under test has one core for itself; engine and load share another.
SERVER_CORE, OTHER_CORE = 0, (os.cpu_count() or 1) - 1


class Server(NamedTuple):
    """Where a server listens (a port of 127.0.0.1, or a Unix socket), the process that does the work, a key, and the
    address of a chat and the name of its model, with the comparison's in place of ``{}``."""

    address: int | str
    pid: int
    key: str = ""
    path: str = "/v1/chat/completions"
    model: str = ""


class House(NamedTuple):
    """A running house: its relay, and its engine as a server of its own."""

    relay: Server
    engine: Server


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


@contextmanager
def house(folder: Path, model: str, *, pinned: bool = True) -> Iterator[House]:
    """``openmaas serve`` with everything on."""
    command = [sys.executable, "-m", "openmaas.cli", "serve", "--port", "0", "--data", str(folder), "--model", model]
    environment = {**os.environ, "OPENMAAS_STARTING_CREDIT": "1000000", "OPENMAAS_LOG_LEVEL": "warning"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    port, key = 0, ""
    for line in process.stdout:
        if " serves " in line:
            port = int(line.partition("127.0.0.1:")[2].split()[0])
        if "API key (shown" in line:
            key = line.split()[-1]
        if line.startswith("  -H"):
            break
    wait_for(port, "/readyz", 60)
    pids = {"house.relay": 0, "engines.program": 0}
    for pid, text in children(process.pid).items():
        for name in pids:
            pids[name] = pid if name in text else pids[name]
        if pinned:
            pin(pid, SERVER_CORE if "house.relay" in text else OTHER_CORE)
    run = Path(tempfile.gettempdir())
    # The last to be made; of llama.cpp it is its own server and not our wire before it.
    engine = max(run.glob("openmaas-*/dep_*.sock"), key=lambda path: path.stat().st_mtime)
    try:
        yield House(Server(port, pids["house.relay"], key), Server(str(engine), pids["engines.program"]))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def children(pid: int) -> dict[int, str]:
    """The command lines of its child processes, by their ids."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
    return found


def pin(pid: int, core: int) -> None:
    """Give all threads of a process one core."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(port: int, path: str, seconds: float) -> None:
    """Until a server answers ``path`` with 200. Raises ``TimeoutError``."""
    deadline_s = time.monotonic() + seconds
    while time.monotonic() < deadline_s:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    raise TimeoutError(f"nothing answers {path} on port {port}")
