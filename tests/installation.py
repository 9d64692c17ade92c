"""A real house in a folder of its own, as a test meets it: started by the command, spoken to over its socket."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

START_TIMEOUT_S = 60


class Installation:
    """One ``openmaas serve`` on a free port."""

    def __init__(self, folder: Path, model: str = "echo", **settings: str) -> None:
        self.data = folder
        self.model = model
        self.settings = settings
        self.port = 0
        self.key = ""
        self._process: subprocess.Popen[str] | None = None
        self._log = folder.parent / f"{folder.name}.log"

    def start(self) -> None:
        """Start, and wait until it says that it serves."""
        command = [sys.executable, "-m", "openmaas.cli", "serve", "--port", "0", "--data", str(self.data)]
        environment = {**os.environ, **{f"OPENMAAS_{k.upper()}": v for k, v in self.settings.items()}}
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                [*command, "--model", self.model], stdout=subprocess.PIPE, stderr=log, text=True, env=environment
            )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if " serves " in line:
                self.port = int(line.partition("127.0.0.1:")[2].split()[0])
            if "API key (shown" in line:
                self.key = line.split()[-1]
            if line.startswith("  -H"):
                return
        raise AssertionError(f"it did not start: {self._log.read_text()[-2000:]}")

    def stop(self) -> int:
        """SIGTERM, as systemd does; returns the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(60)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code

    def kill(self, module: str) -> None:
        """``kill -9`` the children that run ``module``."""
        for pid in self.children(module):
            os.kill(pid, signal.SIGKILL)

    def children(self, module: str) -> list[int]:
        """The process ids of the children that run ``module``."""
        assert self._process is not None
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    command = (entry / "cmdline").read_bytes()
                    parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                except (OSError, ValueError):
                    continue
                if parent == self._process.pid and module.encode() in command:
                    found.append(int(entry.name))
        return found

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``openmaas …`` on this folder."""
        command = [sys.executable, "-m", "openmaas.cli", *arguments, "--data", str(self.data)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def ask(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """One request; returns status, headers (lower-case) and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {"authorization": f"Bearer {key or self.key}", "content-type": "application/json", **(headers or {})}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection.request(method, path, data, sent)
        answer = connection.getresponse()
        found = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        connection.close()
        return found

    def chat(self, cue: str = "", **fields: Any) -> tuple[int, dict[str, str], bytes]:
        """One chat request, with a cue for the echo engine."""
        body = {"model": self.model, "messages": [{"role": "user", "content": "one two three"}], **fields}
        if cue:
            body["user"] = f"echo:{cue}"
        return self.ask("POST", "/v1/chat/completions", body)

    def receipt(self, request_id: str, status: str | None = None) -> dict[str, Any]:
        """A receipt; with ``status``, once it has it."""
        deadline = time.monotonic() + 20
        while True:
            code, _, body = self.ask("GET", f"/v1/receipts/{request_id}")
            found: dict[str, Any] = json.loads(body)
            if code == 200 and (status is None or found["status"] == status):
                return found
            assert time.monotonic() < deadline, (code, found)
            time.sleep(0.05)

    def admin(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """A request to the management API."""
        key = (self.data / "admin.key").read_text().strip()
        status, _, answer = self.ask(method, f"/manage/v1{path}", body, key=key)
        return status, json.loads(answer)

    def ready(self) -> None:
        """Wait until every model answers."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                if self.ask("GET", "/readyz")[0] == 200:
                    return
            except (OSError, http.client.HTTPException):
                pass
            assert time.monotonic() < deadline
            time.sleep(0.05)
