"""A customer's server that hears webhooks, checks each signature by the specification, and answers as it is told to."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: How old a delivery may be, as our page for customers says.
FRESH_S = 300


class Listener(ThreadingHTTPServer):
    """``heard`` are the bodies of deliveries whose signature was right; ``answers`` says how the next ones are
    answered, a status each (a negative one: after so many seconds), 200 when there is none. ``now_s`` is its clock."""

    daemon_threads = True

    def __init__(self, now_s: Callable[[], float] = time.time) -> None:
        self.now_s = now_s
        self.secrets: list[str] = []
        self.heard: list[dict[str, Any]] = []
        self.signatures: list[int] = []  # how many there were
        self.refused = 0
        self.answers: deque[int] = deque()
        super().__init__(("127.0.0.1", 0), _Visit)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}/hook?a=b"

    def stop(self) -> None:
        """Listen no more."""
        self.shutdown()
        self._thread.join()
        self.server_close()

    def wait(self, count: int, timeout_s: float = 10) -> list[dict[str, Any]]:
        """The first ``count`` that were heard."""
        deadline = time.monotonic() + timeout_s
        while len(self.heard) < count:
            assert time.monotonic() < deadline, (self.heard, self.refused)
            time.sleep(0.02)
        return self.heard[:count]


class _Visit(BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        marks = self.headers["webhook-signature"].split(" ")
        content = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + body
        right = [
            "v1," + base64.b64encode(hmac.new(base64.b64decode(s[6:]), content, hashlib.sha256).digest()).decode()
            for s in self.server.secrets
        ]
        fresh = abs(int(self.headers["webhook-timestamp"]) - self.server.now_s()) < FRESH_S
        told = json.loads(body)
        if fresh and set(marks) & set(right) and told["id"] == self.headers["webhook-id"]:
            self.server.heard.append(told)
            self.server.signatures.append(len(marks))
        else:
            self.server.refused += 1
        status = self.server.answers.popleft() if self.server.answers else 200
        if status < 0:
            time.sleep(-status)
            status = 200
        self.send_response(status)
        if status == 302:
            self.send_header("location", self.server.url)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: Any) -> None:
        """Nothing."""
