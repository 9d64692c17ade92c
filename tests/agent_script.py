"""A model that plays an agent's script behind the OpenAI wire: each step says what the request must tell the model, and
what it answers. A request that does not tell it gets 409, so an observation that was dropped fails the test."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Step:
    """``tells`` must stand in the last message, or in any if ``anywhere``; ``says`` is the answer's content, ``calls``
    its tool calls as (name, arguments)."""

    says: str = ""
    tells: Sequence[str] = ()
    anywhere: bool = False
    calls: Sequence[tuple[str, Any]] = ()
    waits_s: float = 0.0
    status: int = 200
    whole: dict[str, Any] | None = None  # the body of the answer, in place of all else


@dataclass
class Script(ThreadingHTTPServer):
    """``asked`` are the bodies, in their order. After the last step it repeats that one when ``loops``."""

    steps: Sequence[Step]
    loops: bool = False
    asked: list[dict[str, Any]] = field(default_factory=list)
    daemon_threads = True

    def __post_init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Turn)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    __hash__ = object.__hash__  # type: ignore[assignment]

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Script:
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()

    def answered(self, body: dict[str, Any]) -> tuple[int, dict[str, Any], float]:
        """What comes of a request."""
        number = len(self.asked)
        self.asked.append(body)
        if number >= len(self.steps) and not self.loops:
            return 409, {"error": {"message": f"the script has {len(self.steps)} steps"}}, 0.0
        step = self.steps[min(number, len(self.steps) - 1)]
        shown = json.dumps(body["messages"] if step.anywhere else body["messages"][-1], ensure_ascii=False)
        missing = [each for each in step.tells if json.dumps(each, ensure_ascii=False)[1:-1] not in shown]
        if missing:
            return 409, {"error": {"message": f"step {number + 1} was not told {missing[0]!r}: {shown}"}}, 0.0
        if step.status != 200:
            return step.status, {"error": {"message": "as the script says"}}, 0.0
        if step.whole is not None:
            return 200, step.whole, step.waits_s
        message: dict[str, Any] = {"role": "assistant", "content": step.says}
        if step.calls:
            message["tool_calls"] = [
                {"id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": json.dumps(said)}}
                for n, (name, said) in enumerate(step.calls)
            ]
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if step.calls else "stop"}
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        whole = {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [choice],
            "usage": usage,
        }
        return 200, whole, step.waits_s


class _Turn(BaseHTTPRequestHandler):
    server: Script
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        status, answer, waits_s = self.server.answered(body)
        time.sleep(waits_s)
        self._give(status, answer)

    def do_GET(self) -> None:
        self._give(404, {"error": {"message": "there is nothing here"}})

    def _give(self, status: int, answer: dict[str, Any]) -> None:
        data = json.dumps(answer).encode()
        try:
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except ConnectionError:
            pass  # the agent was cancelled

    def log_message(self, *_: object) -> None:
        """Say nothing."""
