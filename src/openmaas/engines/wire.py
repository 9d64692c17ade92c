"""HTTP/1.1 on a Unix socket, as every engine speaks it: small, fast, for one trusted relay.

A ``Connection`` parses (llhttp), hands each request as an ``Exchange`` to the engine, and writes the answer. It knows
framing, keep-alive, half-close and back-pressure; it knows no model and counts no token. A relay that closes its
writing side while an answer runs means "stop and tell me what was used": the running work is told by ``cancel``.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

import httptools
import msgspec

from openmaas.core import bounds
from openmaas.core.errors import (
    BadRequest,
    ContextExceeded,
    Malformed,
    MethodUnknown,
    NotFound,
    OpenmaasError,
    Overloaded,
    Refused,
    TooLarge,
)

_REASONS = {200: b"OK", 400: b"Bad Request", 404: b"Not Found", 405: b"Method Not Allowed", 499: b"Cancelled"}
#: Of what an engine itself refuses. The table of our callers' dialect stands in a room beside this one, which an engine
#: may not know and need not load; a test sees that the two say the same.
_STATUS: tuple[tuple[type[OpenmaasError], int], ...] = (
    (TooLarge, 413),
    (MethodUnknown, 405),
    (NotFound, 404),
    (BadRequest, 400),
    (Overloaded, 503),
)
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n"
)


class Work(Protocol):
    """What runs behind one exchange, told of what happens to its caller. All calls come from the event loop."""

    def cancel(self) -> None:
        """The relay half-closed: stop, and answer with the counts so far."""

    def lost(self) -> None:
        """The connection is gone: stop and keep the counts."""

    def pause(self) -> None:
        """The relay reads slower than we write."""

    def resume(self) -> None:
        """The relay has caught up."""


def status_of(error: OpenmaasError) -> int:
    """The HTTP status of ``error``."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def error_body(error: OpenmaasError) -> bytes:
    """``error`` in the form of the OpenAI wire."""
    kind = "invalid_request_error" if isinstance(error, Refused) else "server_error"
    said: dict[str, object] = {"message": error.message, "type": kind, "param": error.field, "code": error.code}
    if isinstance(error, ContextExceeded):
        said |= {"prompt_tokens": error.prompt_tokens, "context_tokens": error.context_tokens}
    return msgspec.json.encode({"error": said})


class Exchange:
    """One request, and the right to answer it once: plainly, or as a stream of events."""

    __slots__ = ("_connection", "_keep_alive", "adapter", "body", "cue", "path", "request_id", "streaming", "work")

    def __init__(self, connection: Connection, path: str, body: bytes, keep_alive: bool) -> None:
        self._connection = connection
        self._keep_alive = keep_alive
        self.path = path
        self.body = body
        self.request_id = ""
        self.adapter = ""  # the header x-adapter: a file over the base's weights; only llama.cpp looks at it
        self.cue = ""  # the header x-echo; only the echo engine looks at it
        self.streaming = False
        self.work: Work | None = None

    @property
    def paused(self) -> bool:
        """Whether writing should wait for ``Work.resume``."""
        return self._connection.paused

    def answer(self, status: int, body: bytes) -> None:
        """Send a whole JSON answer in one write."""
        keep = self._keep_alive and not self._connection.ending
        self._connection.write(
            b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n%b"
            % (status, _REASONS.get(status, b"Error"), len(body), b"" if keep else b"Connection: close\r\n", body)
        )
        self._connection.finished(keep)

    def refuse(self, error: OpenmaasError) -> None:
        """Send ``error`` as a whole answer."""
        self.answer(status_of(error), error_body(error))

    def events(self, events: list[bytes], headers: bytes = b"") -> None:
        """Send events, each its own chunk, in one write; the first call opens the stream, with ``headers`` beside its
        own."""
        chunks = [b"%x\r\ndata: %b\n\n\r\n" % (len(event) + 8, event) for event in events]
        if not self.streaming:
            self.streaming = True
            keep = self._keep_alive and not self._connection.ending
            chunks.insert(0, _STREAM_HEAD + headers + (b"\r\n" if keep else b"Connection: close\r\n\r\n"))
        self._connection.write(b"".join(chunks))

    def end(self, events: list[bytes], *, keep: bool = True) -> None:
        """Send the last events and close the stream; ``keep`` lets the connection serve on."""
        self.events(events)
        self._connection.write(b"0\r\n\r\n")
        self._connection.finished(keep and self._keep_alive)

    def cut(self) -> None:
        """Drop the connection in mid-answer, after what was already written."""
        self._connection.finished(False)


class Connection(asyncio.Protocol):
    """One connection of the relay: one running exchange, and the pipelined ones behind it."""

    def __init__(self, serve: Callable[[Exchange, str], None], connections: set[Connection]) -> None:
        self._serve = serve
        self._connections = connections
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[Exchange, str]] = deque()
        self._running: Exchange | None = None
        self._transport: asyncio.Transport | None = None
        self.paused = False
        self.ending = False
        self._reset()

    def _reset(self) -> None:
        self._url = b""
        self._request_id = b""
        self._cue = b""
        self._adapter = b""
        self._parts: list[bytes] = []
        self._body_bytes = 0

    # ── the transport's side ──────────────────────────────────────────────────────────────────────────────────
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport and the limits of its buffer."""
        transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it
        transport.set_write_buffer_limits(bounds.WRITE_BUFFER_BYTES_HIGH, bounds.WRITE_BUFFER_BYTES_LOW)
        self._transport = transport
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; what it cannot read closes the connection."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as wrong:
            self._refuse_bytes(Malformed(str(wrong)))

    def eof_received(self) -> bool:
        """Half-close: cancel the running answer and keep our side open to report it."""
        self.ending = True
        if self._running is None:
            return False
        self._waiting.clear()
        if self._running.work:
            self._running.work.cancel()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the running work that nobody listens any more."""
        self._connections.discard(self)
        self._transport = None
        self._waiting.clear()
        running, self._running = self._running, None
        if running and running.work:
            running.work.lost()
            running.work = None

    def pause_writing(self) -> None:
        """Back-pressure from the kernel, passed on to the work."""
        self.paused = True
        if self._running and self._running.work:
            self._running.work.pause()

    def resume_writing(self) -> None:
        """The end of back-pressure, passed on to the work."""
        self.paused = False
        if self._running and self._running.work:
            self._running.work.resume()

    # ── the parser's side ─────────────────────────────────────────────────────────────────────────────────────
    def on_message_begin(self) -> None:
        """A request starts."""
        self._reset()

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the three headers an engine looks at."""
        length = len(name)
        if length == 12 and name.lower() == b"x-request-id":
            self._request_id = value
        elif length == 6 and name.lower() == b"x-echo":
            self._cue = value
        elif length == 9 and name.lower() == b"x-adapter":
            self._adapter = value

    def on_body(self, part: bytes) -> None:
        """Gather the body up to its bound."""
        self._body_bytes += len(part)
        if self._body_bytes <= bounds.BODY_BYTES_MAX:
            self._parts.append(part)

    def on_message_complete(self) -> None:
        """A whole request is here: run it, or let it wait for the one before."""
        if self.ending:
            return
        parts = self._parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        path = self._url.partition(b"?")[0].decode("latin-1")
        exchange = Exchange(self, path, body, self._parser.should_keep_alive())
        exchange.request_id = self._request_id.decode("latin-1")
        exchange.cue = self._cue.decode("latin-1")
        exchange.adapter = self._adapter.decode("utf-8", "replace")
        method = self._parser.get_method().decode("latin-1")
        if self._body_bytes > bounds.BODY_BYTES_MAX:
            method = "TOO LARGE"
        if self._running is None:
            self._start(exchange, method)
        elif len(self._waiting) < bounds.PIPELINED_MAX:
            self._waiting.append((exchange, method))
        else:
            self._refuse_bytes(Malformed("too many pipelined requests"))

    def _start(self, exchange: Exchange, method: str) -> None:
        self._running = exchange
        self._serve(exchange, method)

    # ── the exchange's side ───────────────────────────────────────────────────────────────────────────────────
    def write(self, data: bytes) -> None:
        """Send bytes, if anybody is there."""
        if self._transport is not None:
            self._transport.write(data)

    def finished(self, keep: bool) -> None:
        """The running exchange is answered; start the next one or close."""
        if self._running is not None:
            self._running.work = None  # and with it all that it held
        self._running = None
        if self._transport is None:
            return
        if self.ending or not keep:
            self._transport.close()
        elif self._waiting:
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        if self._running is None and self._waiting:
            self._start(*self._waiting.popleft())

    def close_idle(self) -> None:
        """Close now, or as soon as the running answer has ended."""
        self.ending = True
        if self._running is None and self._transport is not None:
            self._transport.close()

    @property
    def idle(self) -> bool:
        """Whether no answer is running."""
        return self._running is None

    def _refuse_bytes(self, error: OpenmaasError) -> None:
        self.ending = True
        if self._running is None:
            Exchange(self, "", b"", False).refuse(error)
        elif self._transport is not None:
            self._transport.close()
