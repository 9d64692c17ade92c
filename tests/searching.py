"""A web to search in: a small server that speaks the JSON which SearXNG documents, and models that ask it.

GET /search with q, format, pageno, time_range, engines, language; ten results a page. What it does wrong is in ``cue``.
https://docs.searxng.org/dev/search_api.html
"""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from installation import Installation, free_port

PAGE = 10


class Web:
    """``pages`` are found by any word of theirs; ``asked`` has what was asked for, one dict each."""

    def __init__(self) -> None:
        self.pages: list[dict[str, Any]] = []
        self.asked: list[dict[str, str]] = []
        self.cue = ""
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.answer(self)

            def log_message(self, *_: Any) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def page(self, title: str, url: str, **more: Any) -> None:
        """One page more."""
        row = {"title": title, "url": url, "content": f"about {title}", "engine": "bing", "category": "general"}
        self.pages.append(row | {"publishedDate": None, "img_src": "", "thumbnail": None} | more)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """One search, or what the cue says."""
        url = urlsplit(handler.path)
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.asked.append(asked)
        status, headers, body = 200, {"content-type": "application/json"}, b""
        if self.cue == "slow":
            time.sleep(3)
        if self.cue == "redirect":
            status, headers = 302, {"location": "file:///etc/passwd"}
        elif self.cue == "forbidden" or url.path != "/search" or asked.get("format") != "json":
            status = 403
        elif self.cue == "nonsense":
            body = b"<html>"
        elif self.cue == "huge":
            body = b'{"results": [' + b" " * 5 * 1024 * 1024 + b"]}"
        else:
            words = [word for word in asked["q"].lower().split() if not word.startswith("site:")]
            found = [row for row in self.pages if any(word in row["title"].lower() for word in words)]
            at = (int(asked.get("pageno", "1")) - 1) * PAGE
            told = {"query": asked["q"], "number_of_results": 0, "results": found[at : at + PAGE], "answers": []}
            body = json.dumps(told | {"suggestions": [], "unresponsive_engines": []}).encode()
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def attach(house: Installation, name: str, task: str, kind: str, options: dict[str, Any], price: str) -> None:
    """A model of this kind at ``price`` a call, by the command line."""
    told = [f"--options={key}={value}" for key, value in options.items()]
    commands = (  # the price before the engine: whoever sees it ready may ask it
        ("add", "--name", name, "--task", task, "--context-tokens", "8192"),
        ("price", name, "--unit", f"call={price}", "--currency", "CNY"),
        ("attach", "--model", name, "--kind", kind, *told),
    )
    for command in commands:
        done = house.command("models", *command)
        assert done.returncode == 0, done.stdout + done.stderr


def library(folder: Path) -> Path:
    """A folder of an operator's own: Markdown, text, HTML in two languages, and what is no text."""
    folder.mkdir()
    (folder / "hr").mkdir()
    (folder / "refunds.md").write_text("# 退款政策\n\n七天内可以退款。\n\n逾期不退。\n", "utf-8")
    (folder / "hr" / "leave.html").write_text(
        "<html><head><title>Annual leave</title><style>p {}</style></head>"
        "<body><h1>Leave</h1><p>Everybody has 25 days.</p><script>var refund</script></body></html>"
    )
    (folder / "old.txt").write_bytes("差旅报销的规定\n高铁二等座。".encode("gb18030"))
    (folder / "picture.png").write_bytes(b"refund")
    return folder
