"""Small engines elsewhere, and models that run on them."""

from __future__ import annotations

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

from installation import Installation, free_port


class Engine:
    """A small OpenAI endpoint that answers with its own name, or with an error status."""

    def __init__(self, name: str, port: int = 0) -> None:
        self.name, self.status, self.health, self.asked = name, 200, 200, 0
        self.takes_s = 0.0
        self.running = self.running_most = 0
        self._lock = Lock()
        engine = self

        class Visit(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.tell(engine.health, {"data": []})

            def do_POST(self) -> None:
                with engine._lock:
                    engine.asked += 1
                    engine.running += 1
                    engine.running_most = max(engine.running, engine.running_most)
                model = json.loads(self.rfile.read(int(self.headers["content-length"])))["model"]
                time.sleep(engine.takes_s)
                message = {"role": "assistant", "content": engine.name}
                usage = {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                with engine._lock:
                    engine.running -= 1
                self.tell(engine.status, {"id": "x", "model": model, "choices": [choice], "usage": usage})

            def tell(self, status: int, body: dict[str, Any]) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.send_header("connection", "close")  # one that is stopped serves nobody on an old connection
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", port or free_port()), Visit)
        self.port = self._server.server_port
        Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def offer(house: Installation, model: str, ports: list[int], slots: int = 50) -> None:
    assert house.admin("POST", "/models", {"name": model, "context_tokens": 200_000})[0] == 201
    assert house.admin("POST", "/prices", {"model": model, "input": "1", "output": "1"})[0] == 201
    for port in ports:
        url = f"http://127.0.0.1:{port}/v1"
        made = {"model": model, "kind": "openai_http", "url": url, "slots": slots}
        assert house.admin("POST", "/deployments", made)[0] == 201
    house.ready(model)
    deadline = time.monotonic() + 20
    while len(json.loads(house.ask("GET", "/readyz")[2])["models"].get(model, {"replicas": []})["replicas"]) < len(
        ports
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def said(house: Installation, model: str, text: str = "hello", key: str | None = None) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    status, _, answer = house.ask("POST", "/v1/chat/completions", body, key=key)
    assert status == 200, answer
    return str(json.loads(answer)["choices"][0]["message"]["content"])
