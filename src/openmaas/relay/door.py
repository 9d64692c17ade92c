"""The client's side of the socket: bytes become requests here, and answers become bytes.

It knows HTTP/1.1 (RFC 9110, 9112) and nothing of what a request means: that is ``Front``'s. One walk runs at a time on
a connection; requests that were sent ahead wait in order. What llhttp lets pass and a proxy must not (a second Host,
a folded header) is refused here, with the connection closed. A client that closes its sending side while we answer is
taken for gone. Deadlines are looked at by one sweep for all connections, so a request costs no timer.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Protocol

import httptools

from openmaas.core import bounds
from openmaas.core.clock import Clock
from openmaas.core.errors import Internal, Malformed, OpenmaasError, Overloaded, TooLarge
from openmaas.relay.strict import check_head, target_of

log = logging.getLogger(__name__)

_NEVER = float("inf")
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_STATUS = {status: b"HTTP/1.1 %d %b\r\n" % (status, _REASONS.get(status, b"Status")) for status in range(100, 600)}
#: Answers up to this many bytes are joined with their framing; longer ones are written beside it, not copied.
_JOIN_BYTES_MAX = 16 * 1024


class Front(Protocol):
    """What a door needs to know."""

    draining: bool

    def gathers(self, method: str, path: str) -> bool:
        """True: the walk begins when the body is complete. False: at the end of the head."""

    async def walk(self, request: Request, answer: Answer) -> None:
        """Answer one request."""

    def fail(self, error: OpenmaasError) -> tuple[int, bytes]:
        """Status and JSON body for what goes wrong before there is a request."""


class Request:
    """One request. ``headers`` are lower-case, with the repeated ones joined; ``raw_headers`` as they came."""

    __slots__ = (
        "_more",
        "_pieces",
        "_size_bytes",
        "body",
        "complete",
        "connection",
        "head_only",
        "headers",
        "http10",
        "keep_alive",
        "length",
        "method",
        "path",
        "peer",
        "query",
        "raw_headers",
        "upgrade",
    )

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.method = self.path = self.query = self.peer = ""
        self.headers: dict[bytes, bytes] = {}
        self.raw_headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.length: int | None = 0  # None: chunked
        self.complete = self.keep_alive = self.http10 = self.head_only = self.upgrade = False
        self._pieces: deque[bytes] = deque()
        self._size_bytes = 0
        self._more: asyncio.Future[None] | None = None

    async def pieces(self) -> AsyncIterator[bytes]:
        """A body that is not gathered, as it comes. Raises ``Malformed`` when the client breaks off."""
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                self._size_bytes -= len(piece)
                if self._size_bytes < bounds.WRITE_BUFFER_BYTES_LOW:
                    self.connection.read_on()
                yield piece
            if self.complete:
                return
            if self.connection.lost:
                raise Malformed("the body ended early")
            self._more = asyncio.get_running_loop().create_future()
            await self._more

    def add(self, piece: bytes) -> int:
        """Take in a piece of the body; returns how much of it waits."""
        self._pieces.append(piece)
        self._size_bytes += len(piece)
        self.wake()
        return self._size_bytes

    def wake(self) -> None:
        """Something changed for who reads the pieces."""
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    def gather(self) -> None:
        """Make ``body`` of the pieces."""
        pieces = self._pieces
        self.body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()


class Answer:
    """The writing side of one request. ``on_pressure(True)`` asks the source to pause, ``on_gone()`` to stop."""

    __slots__ = (
        "_chunked",
        "_connection",
        "_request",
        "bytes_sent",
        "ended",
        "gone",
        "on_gone",
        "on_pressure",
        "started",
    )

    def __init__(self, connection: Connection, request: Request) -> None:
        self._connection = connection
        self._request = request
        self._chunked = False
        self.gone = connection.lost
        self.started = self.ended = False
        self.bytes_sent = 0
        self.on_gone: Callable[[], None] | None = None
        self.on_pressure: Callable[[bool], None] | None = None

    @property
    def pressed(self) -> bool:
        """True while the client takes less than we have for it."""
        return self._connection.pressed

    def whole(self, status: int, headers: bytes, body: bytes) -> None:
        """The whole answer. ``headers`` are ready lines that end in CRLF; length and date are added."""
        self.started = self.ended = True
        length = b"" if status == 204 or status < 200 else b"content-length: %d\r\n" % len(body)
        head = self._head(status, headers, length)
        if self._request.head_only:
            body = b""
        self._send(head + body) if len(body) <= _JOIN_BYTES_MAX else self._send(head, body)

    def start(self, status: int, headers: bytes, length: int | None) -> None:
        """Begin an answer of ``length`` bytes, or of unknown length (chunked; on HTTP/1.0 until we close)."""
        self.started = True
        framing = b""
        if length is not None:
            framing = b"content-length: %d\r\n" % length
        elif self._request.http10:
            self._request.keep_alive = False
        elif status >= 200 and status not in (204, 304):
            self._chunked = not self._request.head_only
            framing = b"transfer-encoding: chunked\r\n"
        self._send(self._head(status, headers, framing))

    def write(self, parts: list[bytes]) -> None:
        """The next bytes, as one chunk."""
        block = parts[0] if len(parts) == 1 else b"".join(parts)
        if not block or self._request.head_only:
            return
        if not self._chunked:
            self._send(block)
        elif len(block) <= _JOIN_BYTES_MAX:
            self._send(b"%x\r\n%b\r\n" % (len(block), block))
        else:
            self._send(b"%x\r\n" % len(block), block, b"\r\n")

    def end(self, parts: list[bytes] | None = None) -> None:
        """The last bytes."""
        block = b"".join(parts or ())
        self.ended = True
        if self._chunked:
            self._send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(block), block) if block else b"0\r\n\r\n")
        elif block and not self._request.head_only:
            self._send(block)

    def tunnel(self, headers: bytes, receive: Callable[[bytes], None]) -> None:
        """Switch protocols (101): from here on bytes pass raw, ours with ``raw``, theirs to ``receive``."""
        self.started = True
        self._request.keep_alive = False
        self._send(_STATUS[101] + headers + b"\r\n")
        self._connection.tunnel(receive)

    def raw(self, data: bytes) -> None:
        """Bytes of a tunnel."""
        self._send(data)

    def pause_reading(self, stop: bool) -> None:
        """Stop or go on taking bytes of a tunnel."""
        if stop:
            self._connection.transport.pause_reading()
        else:
            self._connection.read_on()

    def abort(self) -> None:
        """Cut the connection: an answer that cannot be completed must not look complete."""
        self._connection.transport.abort()

    def _head(self, status: int, headers: bytes, framing: bytes) -> bytes:
        close = b"" if self._connection.will_keep(self._request) else b"connection: close\r\n"
        return b"%bdate: %b\r\n%b%b%b\r\n" % (_STATUS[status], self._connection.keeper.date, headers, framing, close)

    def _send(self, *parts: bytes) -> None:
        if self.gone:
            return
        transport = self._connection.transport
        if len(parts) == 1:
            transport.write(parts[0])
        else:
            transport.writelines(parts)
        self.bytes_sent += sum(map(len, parts))


class Connection(asyncio.Protocol):
    """One client connection."""

    def __init__(self, keeper: Doorkeeper) -> None:
        self.keeper = keeper
        self.transport: Any = None
        self.lost = False
        self.pressed = False
        self.deadline_s = _NEVER
        self.peer = ""
        self._front = keeper.front
        self._parser = httptools.HttpRequestParser(self)
        self._incoming: Request | None = None
        self._head_bytes = 0
        self._url = b""
        self._queue: deque[Request] = deque()
        self._answer: Answer | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._continue_due = False
        self._receive: Callable[[bytes], None] | None = None
        self._error: OpenmaasError | None = None
        self._reading = True
        self._written = 0

    # ── the transport ──────────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(bounds.WRITE_BUFFER_BYTES_HIGH, bounds.WRITE_BUFFER_BYTES_LOW)
        raw = transport.get_extra_info("socket")
        if raw is not None and raw.family != socket.AF_UNIX:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            name = transport.get_extra_info("peername")
            self.peer = str(name[0]) if name else ""
        if not self.keeper.admit(self):
            self._refuse(Overloaded("too many connections", retry_after_s=1))
        self.deadline_s = self.keeper.now_s + bounds.KEEPALIVE_TIMEOUT_S

    def data_received(self, data: bytes) -> None:
        if self._receive is not None:
            self._receive(data)
            return
        if self._closing:
            return
        if self._incoming is None:
            self._head_bytes = 0
            self.deadline_s = self.keeper.now_s + bounds.HEADER_TIMEOUT_S
        self._head_bytes += len(data)
        self._feed(data)

    def eof_received(self) -> bool:
        self._gone()
        return False

    def connection_lost(self, _error: Exception | None) -> None:
        self.lost = True
        self.keeper.forget(self)
        self._gone()
        if self._incoming is not None:
            self._incoming.wake()

    def pause_writing(self) -> None:
        self.pressed = True
        if self._answer is not None and self._answer.on_pressure is not None:
            self._answer.on_pressure(True)

    def resume_writing(self) -> None:
        self.pressed = False
        if self._answer is not None and self._answer.on_pressure is not None:
            self._answer.on_pressure(False)

    # ── the parser ─────────────────────────────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        self._incoming = Request(self)
        self._url = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        assert self._incoming is not None
        self._incoming.raw_headers.append((name, value))

    def on_headers_complete(self) -> None:
        request = self._incoming
        assert request is not None
        if self._error is not None or self._closing:
            return
        try:
            request.method = self._parser.get_method().decode()
            request.http10 = self._parser.get_http_version() == "1.0"
            request.path, request.query = target_of(self._url, request.method)
            request.headers, request.length = check_head(request.raw_headers, http10=request.http10)
            request.head_only = request.method == "HEAD"
            request.peer = self.peer
            gathers = self._front.gathers(request.method, request.path)
            self._expect(request, gathers)
        except OpenmaasError as error:
            self._error = error
            return
        request.keep_alive = self._parser.should_keep_alive()
        request.upgrade = request.headers.get(b"upgrade", b"").lower() == b"websocket"
        self.deadline_s = self.keeper.now_s + bounds.BODY_TIMEOUT_S
        if not gathers:
            self._enqueue(request)

    def on_body(self, piece: bytes) -> None:
        request = self._incoming
        assert request is not None
        if self._error is not None or self._closing:
            return
        waiting = request.add(piece)
        self.deadline_s = self.keeper.now_s + bounds.BODY_TIMEOUT_S
        if self._front.gathers(request.method, request.path):
            if waiting > bounds.BODY_BYTES_MAX:
                self._error = TooLarge(f"a body may have {bounds.BODY_BYTES_MAX} bytes")
        elif waiting > bounds.WRITE_BUFFER_BYTES_HIGH:
            self._stop_reading()

    def on_message_complete(self) -> None:
        request = self._incoming
        assert request is not None
        self._incoming = None
        self._head_bytes = 0
        self.deadline_s = _NEVER
        if self._error is not None or self._closing:
            return
        request.complete = True
        if self._front.gathers(request.method, request.path):
            request.gather()
            self._enqueue(request)
        else:
            request.wake()

    # ── one walk after the other ───────────────────────────────────────────────────────────────────────────────

    def will_keep(self, request: Request) -> bool:
        """True when the connection goes on after this request's answer."""
        return request.keep_alive and not self._closing and not self._front.draining

    def tunnel(self, receive: Callable[[bytes], None]) -> None:
        """Pass everything that comes to ``receive``."""
        self._receive = receive
        self.deadline_s = _NEVER

    def read_on(self) -> None:
        """Take bytes again."""
        if not self._reading and not self.lost:
            self._reading = True
            self.transport.resume_reading()

    @property
    def idle(self) -> bool:
        """True between requests."""
        return self._task is None and self._incoming is None and not self._queue

    def check(self, now_s: float) -> None:
        """Called by the sweep."""
        if self.pressed:
            sent = self._answer.bytes_sent - self.transport.get_write_buffer_size() if self._answer else 0
            if sent != self._written or self.deadline_s == _NEVER:
                self._written, self.deadline_s = sent, now_s + bounds.WRITE_TIMEOUT_S
        elif self._task is not None and self._incoming is None:
            self.deadline_s = _NEVER
        if now_s < self.deadline_s:
            return
        if self.pressed or self.idle or self._task is not None:
            self.transport.abort()
        else:
            self._refuse(Malformed("the request took too long"), status=408)

    def close_when_idle(self) -> None:
        """Part of draining."""
        if self.idle:
            self.transport.close()

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as switch:
            self._switch(data[switch.args[0] :])
        except httptools.HttpParserError as error:
            self._error = self._error or Malformed(str(error))
        if self._error is not None:
            self._refuse(self._error)
        elif self._incoming is not None and not self._incoming.method and self._head_bytes > bounds.HEADER_BYTES_MAX:
            self._refuse(TooLarge(f"the head may have {bounds.HEADER_BYTES_MAX} bytes"), status=431)

    def _switch(self, rest: bytes) -> None:
        """llhttp stops at an Upgrade. A websocket goes on raw; any other offer is declined by ignoring it."""
        current = self._queue[-1] if self._queue else (self._answer and self._answer._request)
        if current and current.upgrade:
            held: list[bytes] = [rest] if rest else []
            self._receive = held.append  # until the tunnel stands
            return
        self._parser = httptools.HttpRequestParser(self)
        if rest:
            self._feed(rest)

    def _expect(self, request: Request, gathers: bool) -> None:
        if gathers and (request.length or 0) > bounds.BODY_BYTES_MAX:
            raise TooLarge(f"a body may have {bounds.BODY_BYTES_MAX} bytes")
        expect = request.headers.get(b"expect")
        if expect is None:
            return
        if expect.lower() != b"100-continue":
            raise Malformed("only Expect: 100-continue is known", field="expect")
        if request.length == 0 or request.http10:
            return
        if self._task is None:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        else:
            self._continue_due = True  # after the answer that is on its way

    def _enqueue(self, request: Request) -> None:
        if self._task is None:
            self._begin(request)
            return
        self._queue.append(request)
        if len(self._queue) >= bounds.PIPELINED_MAX:
            self._stop_reading()

    def _begin(self, request: Request) -> None:
        self._answer = answer = Answer(self, request)
        self._task = self.keeper.loop.create_task(self._walk(request, answer))

    async def _walk(self, request: Request, answer: Answer) -> None:
        try:
            await self._front.walk(request, answer)
        except Exception:
            log.exception("a walk broke")
            if not answer.started:
                status, body = self._front.fail(Internal())
                answer.whole(status, b"content-type: application/json\r\n", body)
        if not answer.ended and not self.lost:
            self.transport.abort()  # an answer cut short must not look complete
        self._next(request)

    def _next(self, request: Request) -> None:
        self._task = self._answer = None
        if self.lost:
            return
        if not self.will_keep(request) or not request.complete:
            self._closing = True
            self.transport.close()
            return
        if self._queue:
            self._begin(self._queue.popleft())
        else:
            self.deadline_s = self.keeper.now_s + bounds.KEEPALIVE_TIMEOUT_S
            if self._continue_due:
                self._continue_due = False
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not self._reading:
            self.read_on()

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self.transport.pause_reading()

    def _refuse(self, error: OpenmaasError, status: int | None = None) -> None:
        """An error that loses the framing: answered when nothing is on its way, then closed."""
        if self._closing:
            return
        self._closing = True
        if self._task is None:
            default, body = self._front.fail(error)
            answer = Answer(self, self._incoming or Request(self))
            answer.whole(status or _HTTP_STATUS.get(error.field or "", default), _JSON, body)
            self.transport.close()
        elif self._incoming is not None:
            self._incoming.wake()

    def _gone(self) -> None:
        answer = self._answer
        if answer is not None and not answer.gone:
            answer.gone = True
            if answer.on_gone is not None:
                answer.on_gone()


_JSON = b"content-type: application/json\r\n"
#: Statuses of HTTP's own for a few malformed parts.
_HTTP_STATUS = {"expect": 417, "url": 414, "headers": 431, "transfer-encoding": 501, "method": 405, "version": 505}


class Doorkeeper:
    """All connections of a relay: admits them, sweeps their deadlines, drains them."""

    def __init__(self, front: Front, clock: Clock) -> None:
        self.front = front
        self.now_s = clock.mono_s()
        self.date = formatdate(usegmt=True).encode()
        self.loop: asyncio.AbstractEventLoop = None  # type: ignore[assignment]  # set with the first connection
        self._clock = clock
        self._connections: set[Connection] = set()

    def __len__(self) -> int:
        return len(self._connections)

    def connection(self) -> Connection:
        """A protocol for ``loop.create_server``."""
        self.loop = asyncio.get_running_loop()
        return Connection(self)

    def admit(self, connection: Connection) -> bool:
        """False when there are too many."""
        self._connections.add(connection)
        return len(self._connections) <= bounds.CONNECTIONS_MAX

    def forget(self, connection: Connection) -> None:
        """It is closed."""
        self._connections.discard(connection)

    def sweep_once(self) -> None:
        """Look at every deadline."""
        self.now_s = self._clock.mono_s()
        self.date = formatdate(self._clock.wall_ms() / 1000, usegmt=True).encode()
        for connection in list(self._connections):
            connection.check(self.now_s)

    async def sweep(self) -> None:
        """Look every ``SWEEP_INTERVAL_S`` until cancelled."""
        while True:
            await asyncio.sleep(bounds.SWEEP_INTERVAL_S)
            self.sweep_once()

    async def drain(self, timeout_s: float) -> None:
        """Close idle connections, let the others finish, cut what is left after ``timeout_s``."""
        deadline_s = self._clock.mono_s() + timeout_s
        while self._connections and self._clock.mono_s() < deadline_s:
            for connection in list(self._connections):
                connection.close_when_idle()
            await asyncio.sleep(0.02)
        for connection in list(self._connections):
            connection.transport.abort()
        await asyncio.sleep(0)
