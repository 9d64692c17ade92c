"""A vendor that is sloppy or hostile: a server on a plain socket that does what the model it is asked for is called."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from typing import Any

from installation import free_port

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
ERROR = {"error": {"message": "the vendor is out of sorts", "type": "server_error", "code": None}}
WORDS = 5
Ask = dict[str, Any]


class Vendor(socketserver.ThreadingTCPServer):
    """``asked`` are the bodies that came, by the model they name."""

    daemon_threads = True

    def __init__(self) -> None:
        self.asked: dict[str, Ask] = {}
        self.written = 0  #: words of the deaf one …
        self.cut = threading.Event()  #: … until somebody cut its connection
        super().__init__(("127.0.0.1", free_port()), Visit)


class Visit(socketserver.StreamRequestHandler):
    """One request to the vendor."""

    server: Vendor
    request: socket.socket

    def handle(self) -> None:
        length = 0
        while line := self.rfile.readline().strip():
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        if not length:
            return
        ask = json.loads(self.rfile.read(length))
        self.server.asked[ask["model"]] = ask
        WAYS[ask["model"]](self, ask)

    def whole(self, body: Ask) -> None:
        """An answer that is one JSON body."""
        data = json.dumps(body).encode()
        self.request.sendall(
            b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (len(data), data)
        )

    def chunk(self, data: bytes) -> None:
        """A piece of a chunked body; the empty one ends it."""
        self.request.sendall(b"%x\r\n%b\r\n" % (len(data), data))

    def words(self, count: int, *, end: bytes = b"\n\n", **members: Any) -> None:
        """The head of a stream, the role, and ``count`` words, each an event of its own."""
        self.request.sendall(HEAD)
        for delta in [{"role": "assistant"}, *[{"content": "word"}] * count]:
            self.chunk(event({**members, "choices": [{"index": 0, "delta": delta}]}, end))


def finished(**delta: str) -> bytes:
    """The event that says why an answer ended, as all vendors send it; some put the last word into it."""
    return event({"choices": [{"index": 0, "delta": delta, "finish_reason": "stop"}]})


def event(body: Ask, end: bytes = b"\n\n") -> bytes:
    """A server-sent event."""
    return b"data: " + json.dumps(body).encode() + end


def polite(visit: Visit, ask: Ask) -> None:
    visit.whole({"choices": [{"index": 0, "message": {"content": "word " * WORDS}}], "usage": USAGE})


def ends_lines_its_own_way(visit: Visit, ask: Ask) -> None:
    visit.words(WORDS, end=b"\r\n\r\n")
    visit.chunk(event({"choices": [], "usage": USAGE}, b"\r\n\r\n") + b"data: [DONE]\r\n\r\n")
    visit.chunk(b"")


def counts_in_every_event(visit: Visit, ask: Ask) -> None:
    visit.request.sendall(HEAD)
    for count in range(WORDS + 1):
        usage = {"prompt_tokens": 7, "completion_tokens": count}
        visit.chunk(event({"choices": [{"index": 0, "delta": {"content": "word"}}], "usage": usage}))
    visit.chunk(b"data: [DONE]\n\n")
    visit.chunk(b"")


def counts_and_breaks_off(visit: Visit, ask: Ask) -> None:
    visit.words(WORDS, usage={"prompt_tokens": 7, "completion_tokens": 3})


def counts_nothing(visit: Visit, ask: Ask) -> None:
    if not ask.get("stream"):
        visit.whole({"choices": [{"index": 0, "message": {"content": "word " * WORDS}}]})
        return
    visit.words(WORDS)
    visit.chunk(finished())
    visit.chunk(b"data: [DONE]\n\n")
    visit.chunk(b"")


def frames_wrongly(visit: Visit, ask: Ask) -> None:
    visit.words(WORDS)
    visit.request.sendall(b"zz\r\nnonsense\r\n")
    time.sleep(1)  # and does not even close


def breaks_off(visit: Visit, ask: Ask) -> None:
    visit.words(WORDS)


def ends_and_breaks_off(visit: Visit, ask: Ask) -> None:
    """All of a stream in one packet, but for the end of its framing."""
    words = [event({"choices": [{"index": 0, "delta": {"content": "word"}}]})] * WORDS
    data = b"".join([*words, finished(), event({"choices": [], "usage": USAGE}), b"data: [DONE]\n\n"])
    visit.request.sendall(HEAD + b"%x\r\n%b\r\n" % (len(data), data))


def finishes_and_breaks_off(visit: Visit, ask: Ask) -> None:
    visit.words(WORDS)
    visit.chunk(finished())


def finishes_in_a_word_and_breaks_off(visit: Visit, ask: Ask) -> None:
    visit.words(WORDS - 1)
    visit.chunk(finished(content="word"))


def breaks_off_at_once(visit: Visit, ask: Ask) -> None:
    visit.request.sendall(HEAD)


def errs_with_200(visit: Visit, ask: Ask) -> None:
    if ask.get("stream"):
        visit.request.sendall(HEAD)
        visit.chunk(event(ERROR))
        visit.chunk(b"")
    else:
        visit.whole(ERROR)


def writes_calls_as_text(visit: Visit, ask: Ask) -> None:
    """A model of the GLM line behind a server that does not read its calls; two tokens of text at a time."""
    call = "<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n</tool_call>"
    says(visit, ask, f"<think>which city</think>It is {call}")


def answers_by_schema(visit: Visit, ask: Ask) -> None:
    """Ignores ``tool_choice``, keeps a JSON schema: calls when it was sent one, and talks when it was not."""
    wanted = "response_format" in ask and "tools" not in ask
    says(visit, ask, '{"name": "weather", "arguments": {"city": "Paris"}}' if wanted else "I would rather talk.")


def only_talks(visit: Visit, ask: Ask) -> None:
    """Keeps neither."""
    says(visit, ask, "I would rather talk.")


def says(visit: Visit, ask: Ask, text: str) -> None:
    """``text`` as an answer, whole or in small pieces."""
    if not ask.get("stream"):
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        visit.whole({"choices": [choice], "usage": USAGE})
        return
    visit.request.sendall(HEAD)
    for at in range(0, len(text), 7):
        visit.chunk(event({"choices": [{"index": 0, "delta": {"content": text[at : at + 7]}}]}))
    visit.chunk(event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
    visit.chunk(event({"choices": [], "usage": USAGE}) + b"data: [DONE]\n\n")
    visit.chunk(b"")


def stalls(visit: Visit, ask: Ask) -> None:
    visit.request.sendall(HEAD)
    visit.rfile.read()  # until the other side has had enough


def is_deaf(visit: Visit, ask: Ask) -> None:
    try:
        visit.words(0)
        while visit.server.written < 10_000:
            visit.chunk(event({"choices": [{"index": 0, "delta": {"content": "word"}}]}))
            visit.server.written += 1
            time.sleep(0.005)
    except OSError:
        visit.server.cut.set()


def overcharges(visit: Visit, ask: Ask) -> None:
    visit.whole(
        {"choices": [{"index": 0, "message": {"content": "word"}}], "usage": {**USAGE, "completion_tokens": 10**30}}
    )


def completes(visit: Visit, ask: Ask) -> None:
    visit.whole({"choices": [{"index": i, "text": "word"} for i in range(4)], "usage": USAGE})


WAYS: dict[str, Callable[[Visit, Ask], None]] = {
    way.__name__: way
    for way in (
        polite,
        ends_lines_its_own_way,
        counts_in_every_event,
        counts_and_breaks_off,
        counts_nothing,
        frames_wrongly,
        breaks_off,
        ends_and_breaks_off,
        finishes_and_breaks_off,
        finishes_in_a_word_and_breaks_off,
        breaks_off_at_once,
        errs_with_200,
        writes_calls_as_text,
        answers_by_schema,
        only_talks,
        stalls,
        is_deaf,
        overcharges,
        completes,
    )
}

#: What a deployment must say of a vendor, when it is not the ordinary one.
OPTIONS = {
    "writes_calls_as_text": {"calls": "glm"},
    "answers_by_schema": {"tool_choice": "ignored"},
    "only_talks": {"tool_choice": "ignored"},
}
