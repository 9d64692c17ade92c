"""The faults of the crash test, and the disk that one of them fills."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from crash_traffic import Client
from installation import Installation
from servers import Postgres, Valkey

DISK = "1g"


class Faults:
    """What goes wrong, one at a time."""

    def __init__(
        self, house: Installation, servers: tuple[Postgres, Valkey], clients: list[Client], disk: Path | None
    ) -> None:
        self._house, self._clients, self._disk = house, clients, disk
        self._server, self._valkey = servers
        self.kinds: dict[str, tuple[int, Callable[[random.Random], None]]] = {
            "relay killed": (6, lambda chance: self._kill("house.relay", chance)),
            "engine killed": (3, lambda chance: self._kill("engines.program", chance)),
            "poster killed": (3, lambda chance: self._kill("house.poster", chance)),
            "control plane killed": (1, lambda chance: self._kill("house.control", chance)),
            "relay and engine killed": (2, self._kill_both),
            "PostgreSQL killed": (2, self._kill_server),
            "Valkey killed": (2, self._kill_valkey),
            "sockets cut": (3, self._cut),
        }
        if disk is not None:
            self.kinds["disk full"] = (2, self._fill)

    def one(self, chance: random.Random) -> str:
        """Break something; returns what."""
        names = list(self.kinds)
        (name,) = chance.choices(names, [self.kinds[name][0] for name in names])
        self.kinds[name][1](chance)
        return name

    def _kill(self, program: str, chance: random.Random) -> None:
        pids = self._house.children(f"openmaas.{program}")
        if pids:
            os.kill(chance.choice(pids), signal.SIGKILL)

    def _kill_both(self, chance: random.Random) -> None:
        self._kill("engines.program", chance)
        self._kill("house.relay", chance)

    def _kill_server(self, chance: random.Random) -> None:
        self._server.kill()
        time.sleep(chance.random() * 2)
        self._server.start()

    def _kill_valkey(self, chance: random.Random) -> None:
        self._valkey.kill()
        time.sleep(chance.random() * 2)
        self._valkey.start()

    def _cut(self, _chance: random.Random) -> None:
        for client in self._clients:
            client.cut()

    def _fill(self, chance: random.Random) -> None:
        assert self._disk is not None
        ballast = self._disk / "ballast"
        with ballast.open("wb") as file:
            size = 0
            for step in (1 << 28, 1 << 24, 1 << 20, 4096):
                with contextlib.suppress(OSError):
                    while True:
                        os.posix_fallocate(file.fileno(), size, step)
                        size += step
        time.sleep(chance.random())
        ballast.unlink()


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A disk of its own that can be filled; None where nobody may mount one."""
    disk = folder / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
