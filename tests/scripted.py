"""A model that plays a script: it edits a file with the tools of a coding tool, and gets into trouble on cue.

It is an engine on the OpenAI wire, as a vendor's would be, so that everything between it and the coding tool is real.
What it does next it sees from the conversation: how many results have come since the last question. The question names
the file: ``Change OLD to NEW in /path``. The stream of ``coder-cut`` is cut once, the prompt of ``coder-long`` is too
long once, that of ``coder-full`` leaves little room; other names have no trouble.
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from installation import Installation

Json = dict[str, Any]
TASK = re.compile(r"Change (\S+) to (\S+) in (/[\w./-]+)")
#: Names that coding tools have for the tool that reads a file, and the one that changes it.
READERS, EDITORS = ("Read", "read"), ("Edit", "edit")
#: How one spells the parameters of both.
CAMELS = {"file_path": "filePath", "old_string": "oldString", "new_string": "newString"}
#: What one has that runs commands instead.
SHELL = "exec_command"
#: What one says that has no tools: it finds what to change in the text of the answer.
BLOCKS = "SEARCH/REPLACE"
DONE = "The file is changed."
#: What coding tools say when they want the conversation made shorter.
COMPACT = re.compile("a <summary> block|Create a new anchored summary")
#: What it thinks at every step.
THOUGHT = "One thing after the other."
#: Tokens that fit behind the prompt of ``coder-full``.
FITS = 9_000


class Model(ThreadingHTTPServer):
    """``asked`` are the requests of each model, in their order; ``troubles`` says how often each was in trouble, and
    ``tasks`` what each was last told to do."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked: dict[str, list[Json]] = {}
        self.troubles: Counter[str] = Counter()
        self.tasks: dict[str, str] = {}
        super().__init__(("127.0.0.1", 0), Turn)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def offered(self, house: Installation, *models: str) -> None:
        """Offer its models on ``house``."""
        for name in models:
            url = f"http://127.0.0.1:{self.server_port}/v1"
            for path, body in (
                ("/models", {"name": name, "context_tokens": 200_000, "output_tokens_default": 4096}),
                ("/prices", {"model": name, "input": "1", "cached": "0.2", "output": "2"}),
                ("/prices", {"model": name, "currency": "credits", "input": "1", "cached": "0.2", "output": "2"}),
                ("/deployments", {"model": name, "kind": "openai_http", "url": url}),
            ):
                status, told = house.admin("POST", path, body)
                assert status == 201, told
        house.ready(*models)

    def end(self) -> None:
        """Stop."""
        self.shutdown()
        self.server_close()


class Turn(BaseHTTPRequestHandler):
    """One request to the model."""

    server: Model
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/tokenize":
            self.whole(200, {"count": len(json.dumps(asked)) // 4, "max_model_len": 200_000})
            return
        model = asked["model"]
        self.server.asked.setdefault(model, []).append(asked)
        if not COMPACT.search(_words(asked)) and (told := TASK.findall(_words(asked))):
            self.server.tasks[model] = "Change {} to {} in {}".format(*told[-1])
        if model == "coder-long" and _begun(asked) and not self._had(model):
            said = (
                "This model's maximum context length is 200000 tokens. However, your request has 250000 input tokens."
            )
            self.whole(400, {"error": {"message": said, "type": "BadRequestError", "code": 400}})
            return
        if model == "coder-full" and asked["max_tokens"] > FITS:
            said = f"'max_tokens' or 'max_completion_tokens' is too large: {asked['max_tokens']}. This model's maximum "
            said += f"context length is 200000 tokens and your request has {200_000 - FITS} input tokens "
            said += f"({asked['max_tokens']} > 200000 - {200_000 - FITS})."
            self.whole(400, {"error": {"message": said, "type": "BadRequestError", "code": 400}})
            return
        delta = _next(asked)
        if COMPACT.search(_words(asked)):
            delta = {"role": "assistant", "content": f"<summary>{self.server.tasks.get(model)}</summary>"}
        cuts = model == "coder-cut" and asked.get("stream") and _begun(asked) and not self._had(model)
        if asked.get("stream"):
            self.stream(delta, cut=cuts)
        else:
            self.whole(200, {"choices": [_choice(0, "message", delta)], "usage": _usage(asked)})

    def _had(self, model: str) -> bool:
        """True when it was in trouble before."""
        self.server.troubles[model] += 1
        return self.server.troubles[model] > 1

    def stream(self, delta: Json, *, cut: bool) -> None:
        """Events, of which the last do not come when it is ``cut``."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for part in ({"role": "assistant", "reasoning_content": THOUGHT}, {"content": "Well: "}):
            self._event({"choices": [{"index": 0, "delta": part}]})
        if cut:
            self.close_connection = True
            self.connection.close()
            return
        self._event({"choices": [_choice(0, "delta", delta)]})
        self._event({"choices": [], "usage": _usage(delta)})
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def _event(self, told: Json) -> None:
        self.wfile.write(b"data: " + json.dumps(told).encode() + b"\n\n")
        self.wfile.flush()

    def whole(self, status: int, told: Json) -> None:
        """One JSON body."""
        data = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object, **__: object) -> None:
        """Nothing."""


def _choice(index: int, member: str, delta: Json) -> Json:
    calls = "tool_calls" in delta
    return {"index": index, member: delta, "finish_reason": "tool_calls" if calls else "stop"}


def _usage(told: Json) -> Json:
    prompt = max(20, len(json.dumps(told)) // 4)
    details = {"cached_tokens": prompt // 2}
    return {"prompt_tokens": prompt, "completion_tokens": 20, "prompt_tokens_details": details}


def _words(asked: Json) -> str:
    return json.dumps(asked["messages"])


def _results(asked: Json) -> int:
    """How many results have come since the last task was set."""
    count = 0
    for message in reversed(asked["messages"]):
        if message["role"] == "user" and TASK.search(json.dumps(message["content"])):
            break
        count += message["role"] == "tool"
    return count


def _begun(asked: Json) -> bool:
    """True in the middle of the work, when trouble is worst: without tools, at once."""
    return _results(asked) > 0 or BLOCKS in _words(asked)


def _block(asked: Json, old: str, new: str, path: str) -> Json:
    """The file as it was last shown, and as it shall be, for who has no tools."""
    name = path.rpartition("/")[2]
    shown = re.compile(rf"^{re.escape(name)}\n```\n(.*?)```", re.MULTILINE | re.DOTALL)
    *_, text = (found for message in asked["messages"] for found in shown.findall(str(message["content"])))
    block = f"{name}\n```\n<<<<<<< SEARCH\n{text}=======\n{text.replace(old, new)}>>>>>>> REPLACE\n```\n"
    return {"role": "assistant", "content": f"{DONE}\n\n{block}"}


def _next(asked: Json) -> Json:
    """What it says or calls now."""
    tools = {tool["function"]["name"]: tool["function"].get("parameters", {}) for tool in asked.get("tools") or ()}
    reader = next((name for name in READERS if name in tools), None)
    editor = next((name for name in EDITORS if name in tools), None)
    task = None
    for found in TASK.finditer(_words(asked)):
        task = found
    if task is not None and BLOCKS in _words(asked):
        return _block(asked, *task.groups())
    if task is None or ((reader is None or editor is None) and SHELL not in tools):
        return {"role": "assistant", "content": "A quiet title"}
    old, new, path = task.groups()
    turns: list[tuple[str, Json]] = [
        (reader or SHELL, {"file_path": path}),
        (editor or SHELL, {"file_path": path, "old_string": old, "new_string": new}),
    ]
    if SHELL in tools:
        turns = [(SHELL, {"cmd": f"cat {path}"}), (SHELL, {"cmd": f"sed -i s/{old}/{new}/ {path}"})]
    at = _results(asked)
    if at >= len(turns):
        return {"role": "assistant", "content": DONE}
    name, said = turns[at]
    known = tools[name].get("properties", {})
    arguments = {CAMELS[each] if CAMELS.get(each) in known else each: value for each, value in said.items()}
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {
        "role": "assistant",
        "tool_calls": [{"index": 0, "id": f"call_{at}", "type": "function", "function": function}],
    }
