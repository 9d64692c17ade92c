"""Endpoints of other vendors, who each know their own part of the wire: no cap on what they generate is lost on them.

The vendor here is a real server that generates as much as it is let, 1000 tokens when nothing that it knows says less.
A lenient one ignores what it does not know, a strict one refuses it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from typing import Any

import pytest

from installation import Installation

NAMES = {"max_tokens", "max_completion_tokens"}
#: Which names a vendor knows, whether it refuses the others, and what the deployment must say; as they are found.
VENDORS: dict[str, tuple[set[str], bool, dict[str, str]]] = {
    "old": ({"max_tokens"}, False, {}),
    "old-strict": ({"max_tokens"}, True, {}),
    "modern": (NAMES, False, {}),
    "new": ({"max_completion_tokens"}, False, {"cap": "max_completion_tokens"}),
    "new-strict": ({"max_completion_tokens"}, True, {"cap": "max_completion_tokens"}),
    "unknown": ({"max_completion_tokens"}, False, {"cap": "both"}),
}


class Vendor(BaseHTTPRequestHandler):
    """One request to the vendor that the path names."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["content-length"])))
        known, strict, _ = VENDORS[self.path.split("/")[1]]
        sent = NAMES & set(body)
        if strict and sent - known:
            self.tell(400, {"error": {"message": f"unsupported parameter: {sent - known}"}})
            return
        tokens = min((body[name] for name in sent & known), default=1000)
        message = {"role": "assistant", "content": "x " * tokens}
        usage = {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": 1 + tokens}
        self.tell(200, {"model": "theirs", "choices": [{"index": 0, "message": message}], "usage": usage})

    def tell(self, status: int, answer: dict[str, Any]) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_request(self, *_: object, **__: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def house(echo: Installation) -> Iterator[Installation]:
    """A house with an endpoint at every vendor."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Vendor)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, (_, _, options) in VENDORS.items():
        url = f"http://127.0.0.1:{server.server_port}/{name}/v1"
        deployment = {"model": name, "kind": "openai_http", "url": url, "served_name": "theirs", "options": options}
        for path, body in (
            ("/models", {"name": name, "context_tokens": 8192, "output_tokens_default": 20}),
            ("/prices", {"model": name, "input": "1", "output": "1"}),
            ("/deployments", deployment),
        ):
            status, told = echo.admin("POST", path, body)
            assert status == 201, told
    echo.ready(*VENDORS)
    yield echo
    for deployment in echo.admin("GET", "/deployments?limit=100")[1]["data"]:
        if deployment["model"] in VENDORS:
            echo.admin("PATCH", f"/deployments/{deployment['id']}", {"wanted": "stopped"})
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("vendor", "named"), [*product(VENDORS, [*sorted(NAMES), ""])])
def test_the_cap_reaches_every_vendor_by_a_name_it_knows(house: Installation, vendor: str, named: str) -> None:
    asked = {named: 7} if named else {}
    body = {"model": vendor, "messages": [{"role": "user", "content": "hi"}], **asked}
    status, headers, answer = house.ask("POST", "/v1/chat/completions", body)
    assert status == 200, answer
    assert json.loads(answer)["usage"]["completion_tokens"] == (7 if named else 20)
    assert house.receipt(headers["x-request-id"], "posted")["completion_tokens"] == (7 if named else 20)
