"""One connection to an engine, and one request on it with its answer.

``cancel`` closes our sending side only: an engine of ours stops and still says what it counted. A request on a kept
connection that turns out to be closed is written once more on a fresh one; when it closes later, or after a byte of
an answer, the engine may have begun, and what was begun is not begun again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import httptools
import msgspec

from openmaas.core import bounds
from openmaas.core.errors import EngineFailed, OpenmaasError
from openmaas.relay.upstream.place import Headers, Place, Sink

_NEVER = float("inf")
_SIZES = (b"content-length", b"transfer-encoding")


class Exchange(msgspec.Struct):
    """One request and its answer, which goes to ``sink``."""

    sink: Sink
    bodiless: bool = False  # an answer to HEAD ends with its head, whatever length that speaks of
    done: bool = False
    cancelled: bool = False
    _link: Link | None = None
    _parts: tuple[bytes, ...] | None = None
    _again_until_s: float = 0.0
    _retry: asyncio.Task[None] | None = None

    def send(self, link: Link, parts: tuple[bytes, ...], *, whole: bool) -> None:
        """Write the request; what is ``whole`` may be written again when ``link`` was kept and turns out closed."""
        self._link = link
        self._parts = parts if whole and link.kept else None
        self._again_until_s = link.now_s() + bounds.CLOSED_NOTICE_S
        link.begin(self)
        if link.lost:
            self.broken(link)
        elif not link.transport.is_closing():  # else we are told in a moment that it is lost
            link.transport.writelines(parts)

    def write(self, data: bytes) -> None:
        """More of a streamed request body, or of a tunnel."""
        if self._link is not None and not self.done:
            self._link.transport.write(data)

    async def drained(self) -> None:
        """Return when the engine has taken most of what was written, or takes no more."""
        if self._link is not None and not self.done:
            await self._link.drained()

    def pause(self) -> None:
        """Take no more from the engine for now."""
        if self._link is not None:
            self._link.read(go=False)

    def resume(self) -> None:
        """Take from the engine again."""
        if self._link is not None:
            self._link.read(go=True)

    def cancel(self) -> None:
        """The answer is not wanted any more: half-close, and wait a moment for the last word."""
        if self.done or self.cancelled:
            return
        self.cancelled = True
        if self._link is None or not self._link.half_close():
            self.fail(EngineFailed("cancelled"))

    def abort(self) -> None:
        """Cut the connection; the sink hears no more."""
        self.done = True
        link, self._link = self._link, None
        if link is not None:
            link.exchange = None
            link.transport.abort()

    def fail(self, error: OpenmaasError) -> None:
        """Cut the connection and tell the sink."""
        if not self.done:
            self.abort()
            self.sink.lost(error)

    def heard(self) -> None:
        """Something came: the request will not be written again."""
        self._parts = None

    def complete(self) -> None:
        """The answer is whole."""
        self.done = True
        self._link = None
        self.sink.end()

    def broken(self, link: Link) -> None:
        """The connection closed before the end."""
        self._link = None
        parts, self._parts = self._parts, None
        if parts is not None and not self.cancelled and link.now_s() < self._again_until_s:
            self._retry = asyncio.ensure_future(self._again(link, parts))
        else:
            self.fail(EngineFailed("it closed the connection"))

    async def _again(self, closed: Link, parts: tuple[bytes, ...]) -> None:
        try:
            link = await closed.fresh()
        except OpenmaasError as error:
            self.fail(error)
            return
        if self.done:
            link.transport.abort()
        else:
            self.send(link, parts, whole=False)


class Link(asyncio.Protocol):
    """One connection to an engine.

    ``now_s`` is a clock; ``fresh`` makes another connection to the same place; ``keep`` takes this one back when its
    answer is complete, ``forget`` is told when it is closed.
    """

    def __init__(
        self,
        place: Place,
        now_s: Callable[[], float],
        *,
        fresh: Callable[[], Coroutine[Any, Any, Link]],
        keep: Callable[[Link], None],
        forget: Callable[[Link], None],
    ) -> None:
        self.place = place
        self.fresh = fresh
        self.transport: Any = None
        self.exchange: Exchange | None = None
        self.deadline_s = _NEVER
        self.kept = False
        self.lost = False
        self.now_s = now_s
        self._keep = keep
        self._forget = forget
        self._parser = httptools.HttpResponseParser(self)
        self._status = 0
        self._headers: Headers = []
        self._fragments: list[bytes] = []
        self._done = self._keeps = self._raw = False
        self._reading = True
        self._pressed = False
        self._taken: asyncio.Future[None] | None = None

    def begin(self, exchange: Exchange) -> None:
        """Belong to ``exchange`` until its answer is complete."""
        self.exchange = exchange
        self._status = 0
        self._headers = []
        self._done = False
        self.deadline_s = self.now_s() + bounds.FIRST_BYTE_TIMEOUT_S

    def give_back(self) -> None:
        """Keep it for the next request: it was not needed."""
        if not self.transport.is_closing():
            self.kept = True
            self._keep(self)

    def read(self, *, go: bool) -> None:
        """Take bytes, or do not."""
        if go and not self._reading:
            self._reading = True
            self.transport.resume_reading()
            self.deadline_s = self.now_s() + bounds.STALL_TIMEOUT_S
        elif not go and self._reading:
            self._reading = False
            self.transport.pause_reading()
            self.deadline_s = _NEVER  # the client's pace is not the engine's fault

    def half_close(self) -> bool:
        """Say that we send no more, and wait ``CANCEL_TIMEOUT_S`` for the rest; False where TLS cannot."""
        if not self.transport.can_write_eof():
            return False
        self.read(go=True)
        self.transport.write_eof()
        self.deadline_s = self.now_s() + bounds.CANCEL_TIMEOUT_S
        return True

    async def drained(self) -> None:
        """Return when less is waiting to be written."""
        if self._pressed:
            self._taken = asyncio.get_running_loop().create_future()
            await self._taken

    # ── the transport ──────────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(bounds.WRITE_BUFFER_BYTES_HIGH, bounds.WRITE_BUFFER_BYTES_LOW)

    def pause_writing(self) -> None:
        self._pressed = True

    def resume_writing(self) -> None:
        self._pressed = False
        if self._taken is not None and not self._taken.done():
            self._taken.set_result(None)

    def data_received(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            self.transport.abort()  # an engine that speaks unasked is not to be trusted with the next request
            return
        if self._raw:
            exchange.sink.body(data)
            return
        exchange.heard()
        if not exchange.cancelled:  # one who was told to stop has one moment for all its last words
            self.deadline_s = self.now_s() + bounds.STALL_TIMEOUT_S
        error: OpenmaasError | None = None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as switch:
            self._raw = True
            self.deadline_s = _NEVER  # a tunnel may be quiet
            self._fragments.append(data[switch.args[0] :])
        except httptools.HttpParserError as broken:
            error = EngineFailed(f"its answer is not HTTP: {broken}")
        if self._fragments:
            block = self._fragments[0] if len(self._fragments) == 1 else b"".join(self._fragments)
            self._fragments = []
            exchange.sink.body(block)
        if exchange.done:  # the sink had enough
            return
        if error is not None:
            exchange.fail(error)
        elif self._done:
            self._finish(exchange)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, _error: Exception | None) -> None:
        self.lost = True
        self._forget(self)
        self.resume_writing()
        exchange, self.exchange = self.exchange, None
        if exchange is None or exchange.done:
            return
        if self._status >= 200 and not any(name.lower() in _SIZES for name, _ in self._headers):
            exchange.complete()  # a body that ends with the connection (RFC 9112 §6.3)
        else:
            exchange.broken(self)

    # ── the parser ─────────────────────────────────────────────────────────────────────────────────────────────

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200 and status != 101:
            self._headers = []  # of an interim answer
            return
        self._status = status
        if self.exchange is not None:
            self.exchange.sink.head(status, self._headers)
            self._done = self.exchange.bodiless

    def on_body(self, piece: bytes) -> None:
        self._fragments.append(piece)

    def on_message_complete(self) -> None:
        if self._status >= 200:
            self._done = True
            self._keeps = self._parser.should_keep_alive()  # llhttp knows it only here

    def _finish(self, exchange: Exchange) -> None:
        self.exchange = None
        self.deadline_s = _NEVER
        if self._keeps and not exchange.cancelled and not self.transport.get_write_buffer_size():
            self.give_back()
        else:
            self.transport.close()
        exchange.complete()
