"""A real house in a folder of its own, as a test meets it: started by the command, spoken to over its socket."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

from servers import postgres

START_TIMEOUT_S = 60


def free_port() -> int:
    """0, so that the kernel chooses; or one of ``OPENMAAS_TEST_PORTS=first-last``, on a machine shared with others."""
    first, _, last = os.environ.get("OPENMAAS_TEST_PORTS", "").partition("-")
    while first:
        port = random.SystemRandom().randint(int(first), int(last))
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)):
                return port
    return 0


class Installation:
    """One ``openmaas serve`` on a free port."""

    def __init__(self, folder: Path, model: str = "echo", **settings: str) -> None:
        self.data = folder
        self.model = model
        self.settings = settings
        if os.environ.get("OPENMAAS_TEST_STORE") == "postgresql" and "database_url" not in settings:
            settings["database_url"] = postgres().database()
        self.port = 0
        self.key = ""
        self.said: list[str] = []  #: what it printed at its start
        self._process: subprocess.Popen[str] | None = None
        self.log = folder.parent / f"{folder.name}.log"

    @property
    def address(self) -> str | Path:
        """Where its database is."""
        return self.settings.get("database_url") or self.data / "openmaas.db"

    def start(self, command: list[str] | None = None) -> None:
        """Start, with another ``command`` than `openmaas serve` if one is given, and wait until it says that it
        serves."""
        serve = [sys.executable, "-m", "openmaas.cli", "serve", "--port", str(free_port()), "--data", str(self.data)]
        command = command or [*serve, "--model", self.model]
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, env=self._environment
            )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said.append(line)
            if " serves " in line:
                self.port = int(line.partition("127.0.0.1:")[2].split()[0])
            if "API key (shown" in line:
                self.key = line.split()[-1]
            if line.startswith("  -H"):
                return
        raise AssertionError(f"it did not start: {self.log.read_text()[-2000:]}")

    def stop(self) -> int:
        """SIGTERM, as systemd does; returns the exit code."""
        self.leave()
        return self.left()

    def end(self) -> None:
        """Stop, and see that the books agree."""
        try:
            assert self.stop() == 0
        finally:
            self.slay()
        audit = self.command("ledger", "audit")
        assert audit.returncode == 0, audit.stdout + audit.stderr

    def leave(self) -> None:
        """SIGTERM alone: the house begins to drain."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def left(self, timeout_s: float = 60) -> int:
        """Wait until a house that was told to leave has left; returns the exit code."""
        assert self._process is not None
        code = self._process.wait(timeout_s)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code

    def slay(self) -> None:
        """``kill -9`` the whole house, when it may have failed to leave: no process survives a failed test."""
        assert self._process is not None
        if self._process.poll() is None:
            everybody = [*self.children("openmaas."), self._process.pid]
            for pid in everybody:
                os.kill(pid, signal.SIGKILL)
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

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
        return subprocess.run(command, capture_output=True, text=True, check=False, env=self._environment)

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, **{f"OPENMAAS_{k.upper()}": v for k, v in self.settings.items()}}

    def ask(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """One request; returns status, headers (lower-case) and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {"authorization": f"Bearer {key or self.key}", "content-type": "application/json", **(headers or {})}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        try:
            connection.request(method, path, data, sent)
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def chat(self, cue: str = "", **fields: Any) -> tuple[int, dict[str, str], bytes]:
        """One chat request, with a cue for the echo engine."""
        body = {"model": self.model, "messages": [{"role": "user", "content": "one two three"}], **fields}
        if cue:
            body["user"] = f"echo:{cue}"
        return self.ask("POST", "/v1/chat/completions", body)

    def receipt(self, request_id: str, status: str | None = None, *, key: str | None = None) -> dict[str, Any]:
        """A receipt; with ``status``, once it has it."""
        deadline = time.monotonic() + 20
        while True:
            code, _, body = self.ask("GET", f"/v1/receipts/{request_id}", key=key)
            found: dict[str, Any] = json.loads(body)
            if code == 200 and (status is None or found["status"] == status):
                return found
            assert time.monotonic() < deadline, (code, found)
            time.sleep(0.05)

    def admin(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """A request to the management API, asked again while a busy machine makes it wait."""
        key, deadline = (self.data / "admin.key").read_text().strip(), time.monotonic() + START_TIMEOUT_S
        while True:
            status, _, answer = self.ask(method, f"/manage/v1{path}", body, key=key)
            if status != 503 or time.monotonic() >= deadline:
                return status, json.loads(answer)
            time.sleep(0.2)

    def organisation(self, credit: str, **key: Any) -> tuple[str, str]:
        """A new customer with money: its id, and a key of its own. Models that the key names are offered."""
        name = f"customer {random.SystemRandom().random()}"
        _, made = self.admin("POST", "/organisations", {"name": name})
        _, project = self.admin("POST", "/projects", {"organisation_id": made["id"], "name": "p"})
        for model in key.get("models", ()):
            self.admin("POST", "/models", {"name": model, "context_tokens": 1})  # 409 when it is there
        status, created = self.admin("POST", "/keys", {"project_id": project["id"], **key})
        assert status == 201, created
        self.admin("POST", f"/organisations/{made['id']}/topups", {"amount": credit, "request_key": name})
        return made["id"], created["key"]

    def subscriber(self, credit: str) -> tuple[str, str]:
        """A new customer whose plan allows so much ``credit`` in five hours: its id, and a key of its own."""
        owner, key = self.organisation("10")
        window = {"name": "5h", "kind": "rolling", "credits": credit, "hours": 5}
        status, plan = self.admin("POST", "/plans", {"name": f"of {owner}", "windows": [window], "price": "1"})
        assert status == 201, plan
        path = f"/organisations/{owner}/subscriptions"
        assert self.admin("POST", path, {"plan_id": plan["id"], "request_key": owner})[0] == 201
        time.sleep(1)  # the relays have heard of it
        return owner, key

    def wallet(self, organisation_id: str) -> dict[str, Any]:
        """The only wallet of a customer: ``posted``, ``leased``, ``free`` as decimal text."""
        accounts = self.admin("GET", f"/accounts?owner={organisation_id}&limit=100")[1]["data"]
        (found,) = [account for account in accounts if account["kind"] == "wallet"]
        return dict(found)

    def settled(self, organisation_id: str) -> Decimal:
        """What a customer's wallet holds once nothing of it is leased any more: no hold is left behind."""
        deadline = time.monotonic() + 20
        while Decimal((found := self.wallet(organisation_id))["leased"]):
            assert time.monotonic() < deadline, found
            time.sleep(0.1)
        assert Decimal(found["free"]) == Decimal(found["posted"]) + Decimal(found["credit"])
        return Decimal(found["posted"])

    def settle_in(self, path: str) -> None:
        """Wait until ``path`` is found: the relay may not have heard of it yet."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while self.ask("GET", path)[0] != 200:
            assert time.monotonic() < deadline, path
            time.sleep(0.05)

    def ready(self, *models: str) -> None:
        """Wait until every model answers, ``models`` among them: the relay may not have heard of a new one yet."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                status, _, page = self.ask("GET", "/readyz")
                if status == 200 and set(models) <= set(json.loads(page)["models"]):
                    return
            except (OSError, http.client.HTTPException):
                pass
            assert time.monotonic() < deadline
            time.sleep(0.05)
