"""The engine's side: requests to an engine, its answer by callback, and the connections kept between them.

A ``Sink`` is told of everything synchronously, once a read, so that bytes flow to the client without waking a
coroutine. ``cancel`` closes our sending side only: an engine of ours stops and still says what it counted.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

import httptools
import msgspec

from openmaas.core import bounds
from openmaas.core.clock import Clock
from openmaas.core.errors import EngineFailed, EngineTimedOut, OpenmaasError

_NEVER = float("inf")
#: Buffers that a transport writes as they are.
Part = bytes | memoryview | msgspec.Raw
Headers = list[tuple[bytes, bytes]]


class Place(msgspec.Struct, frozen=True):
    """Where an engine listens: a Unix socket, or a host with or without TLS. ``headers`` are ready lines."""

    path: str = ""
    host: str = ""
    port: int = 0
    tls: ssl.SSLContext | None = None
    prefix: bytes = b""
    headers: bytes = b""

    @property
    def authority(self) -> bytes:
        """For the Host header."""
        return b"engine" if self.path else f"{self.host}:{self.port}".encode()


class Sink(Protocol):
    """Who gets an answer."""

    def head(self, status: int, headers: Headers) -> None:
        """Status and headers have come."""

    def body(self, parts: list[bytes]) -> None:
        """One read's worth of the body."""

    def end(self) -> None:
        """The answer is complete."""

    def lost(self, error: OpenmaasError) -> None:
        """The answer broke off; nothing more will come."""


class Exchange:
    """One request and its answer."""

    __slots__ = ("_line", "_parts", "_place", "_pool", "_retry", "cancelled", "done", "sink")

    def __init__(self, pool: Pool, place: Place, sink: Sink) -> None:
        self.sink = sink
        self.done = self.cancelled = False
        self._pool = pool
        self._place = place
        self._line: Line | None = None
        self._parts: list[Part] | None = None
        self._retry: asyncio.Task[None] | None = None

    def send(self, line: Line, parts: list[Part], *, again: bool) -> None:
        """Write the request; with ``again`` it may be written once more when a kept connection turns out closed."""
        self._line = line
        self._parts = parts if again else None
        line.begin(self)
        line.transport.writelines(parts)

    def write(self, data: bytes) -> None:
        """More of a streamed request body, or of a tunnel."""
        if self._line is not None and not self.done:
            self._line.transport.write(data)

    async def drained(self) -> None:
        """Return when the engine has taken most of what was written."""
        while self._line is not None and self._line.pressed and not self.done:
            await asyncio.sleep(0.005)

    def pause(self) -> None:
        """Take no more from the engine for now."""
        if self._line is not None:
            self._line.read(go=False)

    def resume(self) -> None:
        """Take from the engine again."""
        if self._line is not None:
            self._line.read(go=True)

    def cancel(self) -> None:
        """The answer is not wanted any more: half-close, and wait a moment for the last word."""
        if self.done or self.cancelled:
            return
        self.cancelled = True
        line = self._line
        if line is None or not line.transport.can_write_eof():
            self.fail(EngineFailed("cancelled"))
            return
        line.read(go=True)
        line.transport.write_eof()
        line.deadline_s = self._pool.now_s() + bounds.CANCEL_TIMEOUT_S

    def abort(self) -> None:
        """Cut the connection; the sink hears no more."""
        self.done = True
        if self._line is not None:
            self._line.exchange = None
            self._line.transport.abort()
            self._line = None

    def fail(self, error: OpenmaasError) -> None:
        """Cut the connection and tell the sink."""
        if not self.done:
            self.abort()
            self.sink.lost(error)

    def complete(self) -> None:
        """The answer is whole."""
        self.done = True
        self._line = None
        self.sink.end()

    def broken(self, line: Line, *, answered: bool) -> None:
        """The connection closed before the end."""
        self._line = None
        if self._parts is not None and not answered and line.used > 1 and not self.cancelled:
            self._retry = asyncio.ensure_future(self._again())
        elif not self.done:
            self.done = True
            self.sink.lost(EngineFailed("it closed the connection"))

    def heard(self) -> None:
        """Something came: the request will not be written again."""
        self._parts = None

    async def _again(self) -> None:
        parts, self._parts = self._parts, None
        try:
            line = await self._pool.connect(self._place)
        except OpenmaasError as error:
            if not self.done:
                self.done = True
                self.sink.lost(error)
            return
        if self.done or parts is None:
            line.transport.abort()
        else:
            self.send(line, parts, again=False)


class Line(asyncio.Protocol):
    """One connection to an engine."""

    def __init__(self, pool: Pool, place: Place) -> None:
        self.transport: Any = None
        self.exchange: Exchange | None = None
        self.deadline_s = _NEVER
        self.used = 0
        self.pressed = False
        self.place = place
        self._pool = pool
        self._parser = httptools.HttpResponseParser(self)
        self._headers: Headers = []
        self._fragments: list[bytes] = []
        self._status = 0
        self._sized = self._done = self._close = self._answered = self._raw = False
        self._reading = True

    def begin(self, exchange: Exchange) -> None:
        """Belong to ``exchange`` until its answer is complete."""
        self.exchange = exchange
        self.used += 1
        self._status = 0
        self._answered = self._done = self._close = False
        self.deadline_s = self._pool.now_s() + bounds.FIRST_BYTE_TIMEOUT_S

    def read(self, *, go: bool) -> None:
        """Take bytes, or do not."""
        if go and not self._reading:
            self._reading = True
            self.transport.resume_reading()
            self.deadline_s = self._pool.now_s() + bounds.STALL_TIMEOUT_S
        elif not go and self._reading:
            self._reading = False
            self.transport.pause_reading()
            self.deadline_s = _NEVER  # the client's pace is not the engine's fault

    # ── the transport ──────────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(bounds.WRITE_BUFFER_BYTES_HIGH, bounds.WRITE_BUFFER_BYTES_LOW)

    def pause_writing(self) -> None:
        self.pressed = True

    def resume_writing(self) -> None:
        self.pressed = False

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            self.transport.abort()  # an engine that speaks unasked is not to be trusted with the next request
            return
        if self._raw:
            exchange.sink.body([data])
            return
        if not self._answered:
            self._answered = True
            exchange.heard()
        self._close_after(self._feed(data), exchange)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, _error: Exception | None) -> None:
        self._pool.forget(self)
        exchange, self.exchange = self.exchange, None
        if exchange is None or exchange.done:
            return
        if self._status >= 200 and not self._sized:
            exchange.complete()  # a body that ends with the connection (RFC 9112 §6.3)
        else:
            exchange.broken(self, answered=self._answered)

    # ── the parser ─────────────────────────────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        self._headers = []
        self._sized = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))
        lower = name.lower()
        if lower in (b"content-length", b"transfer-encoding"):
            self._sized = True

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200 and status != 101:
            return
        self._status = status
        if self.exchange is not None:
            self.exchange.sink.head(status, self._headers)

    def on_body(self, piece: bytes) -> None:
        self._fragments.append(piece)

    def on_message_complete(self) -> None:
        if self._status >= 200:
            self._done = True
            self._close = not self._parser.should_keep_alive()

    def _feed(self, data: bytes) -> OpenmaasError | None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as switch:
            self._raw = True
            rest = data[switch.args[0] :]
            if rest:
                self._fragments.append(rest)
        except httptools.HttpParserError as error:
            return EngineFailed(f"its answer is not HTTP: {error}")
        return None

    def _close_after(self, error: OpenmaasError | None, exchange: Exchange) -> None:
        self.deadline_s = self._pool.now_s() + (
            bounds.CANCEL_TIMEOUT_S if exchange.cancelled else bounds.STALL_TIMEOUT_S
        )
        if self._fragments:
            parts, self._fragments = self._fragments, []
            exchange.sink.body(parts)
        if exchange.done:  # the sink had enough
            return
        if error is not None:
            exchange.fail(error)
        elif self._done:
            self.exchange = None
            self.deadline_s = _NEVER
            if self._close or exchange.cancelled:
                self.transport.close()
            else:
                self._pool.keep(self)
            exchange.complete()


class Pool:
    """Connections to engines, kept for reuse while they are young."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._idle: dict[Place, deque[tuple[float, Line]]] = {}
        self._lines: set[Line] = set()
        self.now_s = clock.mono_s

    async def open(
        self, place: Place, method: str, path: str, headers: bytes, body: Sequence[Part], sink: Sink
    ) -> Exchange:
        """Send a request with a whole body. Raises ``EngineFailed`` when nobody can be reached."""
        size = sum(len(memoryview(part)) for part in body)
        framing = b"" if method == "GET" and not size else b"content-length: %d\r\n" % size
        parts: list[Part] = [_head(place, method, path, headers + framing), *body]
        exchange = Exchange(self, place, sink)
        line = self._take(place)
        again = line is not None
        exchange.send(line or await self.connect(place), parts, again=again)
        return exchange

    async def begin(self, place: Place, method: str, path: str, headers: bytes, sink: Sink) -> Exchange:
        """Send a head whose body follows by ``write``; ``headers`` must frame it."""
        exchange = Exchange(self, place, sink)
        exchange.send(await self.connect(place), [_head(place, method, path, headers)], again=False)
        return exchange

    async def fetch(
        self, place: Place, method: str, path: str, headers: bytes, body: bytes
    ) -> tuple[int, Headers, bytes]:
        """A small whole answer, within ``PROBE_TIMEOUT_S``. Raises ``EngineFailed``."""
        sink = _Whole()
        root = msgspec.structs.replace(place, prefix=b"")
        exchange = await self.open(root, method, path, headers, [body] if body else [], sink)
        try:
            return await asyncio.wait_for(sink.answer, bounds.PROBE_TIMEOUT_S)
        except TimeoutError:
            raise EngineTimedOut from None
        finally:
            if not exchange.done:
                exchange.abort()

    async def connect(self, place: Place) -> Line:
        """A fresh connection. Raises ``EngineFailed`` and ``EngineTimedOut``."""
        loop = asyncio.get_running_loop()
        line = Line(self, place)
        try:
            async with asyncio.timeout(bounds.CONNECT_TIMEOUT_S):
                if place.path:
                    await loop.create_unix_connection(lambda: line, place.path)
                else:
                    await loop.create_connection(lambda: line, place.host, place.port, ssl=place.tls)
        except TimeoutError:
            raise EngineTimedOut("it did not accept a connection") from None
        except OSError as error:
            raise EngineFailed(f"it cannot be reached ({error.strerror or type(error).__name__})") from None
        self._lines.add(line)
        return line

    def keep(self, line: Line) -> None:
        """Keep a connection for the next request."""
        idle = self._idle.setdefault(line.place, deque())
        if len(idle) >= bounds.POOL_SIZE_MAX:
            line.transport.close()
        else:
            idle.append((self.now_s(), line))

    def forget(self, line: Line) -> None:
        """It is closed."""
        self._lines.discard(line)

    def sweep_once(self) -> None:
        """Close idle connections that are old and fail exchanges that are late."""
        now_s = self.now_s()
        for idle in self._idle.values():
            while idle and idle[0][0] < now_s - bounds.POOL_IDLE_S:
                idle.popleft()[1].transport.close()
        for line in list(self._lines):
            if line.exchange is not None and now_s > line.deadline_s:
                line.exchange.fail(EngineTimedOut())

    async def sweep(self) -> None:
        """``sweep_once`` every ``SWEEP_INTERVAL_S`` until cancelled."""
        while True:
            await asyncio.sleep(bounds.SWEEP_INTERVAL_S)
            self.sweep_once()

    def close(self) -> None:
        """Close everything."""
        for line in list(self._lines):
            line.transport.close()

    def _take(self, place: Place) -> Line | None:
        idle = self._idle.get(place)
        while idle:
            began_s, line = idle.pop()
            if not line.transport.is_closing() and began_s > self.now_s() - bounds.POOL_IDLE_S:
                return line
            line.transport.close()
        return None


class _Whole:
    """Gathers a small answer."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[tuple[int, Headers, bytes]] = asyncio.get_running_loop().create_future()
        self._status = 0
        self._headers: Headers = []
        self._parts: list[bytes] = []

    def head(self, status: int, headers: Headers) -> None:
        self._status, self._headers = status, headers

    def body(self, parts: list[bytes]) -> None:
        self._parts.extend(parts)

    def end(self) -> None:
        if not self.answer.done():
            self.answer.set_result((self._status, self._headers, b"".join(self._parts)))

    def lost(self, error: OpenmaasError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


def _head(place: Place, method: str, path: str, headers: bytes) -> bytes:
    return b"%b %b%b HTTP/1.1\r\nhost: %b\r\n%b%b\r\n" % (
        method.encode(),
        place.prefix,
        path.encode(),
        place.authority,
        place.headers,
        headers,
    )
