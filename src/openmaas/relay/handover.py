"""Everything that is not inference goes to the control plane: bodies streamed both ways, upgrades tunnelled. So does
inference that is made of several requests; its body has been gathered.

What says who is asking is ours to say: such headers from outside are dropped (RFC 9110 §7.6.1 names the hop-by-hop
ones), and the control plane verifies the credential itself.
"""

from __future__ import annotations

import asyncio

from openmaas.core.errors import EngineFailed, Failed, OpenmaasError, Overloaded
from openmaas.relay.door.message import Answer, Request
from openmaas.relay.upstream.link import Exchange
from openmaas.relay.upstream.place import Headers, Place
from openmaas.relay.upstream.pool import Pool

_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer transfer-encoding"
    b" upgrade content-length expect host date".split()
)
#: The header by which an answer is called.
_NAME = b"x-request-id"
_IDENTITY = (b"x-openmaas-", b"x-forwarded-", b"forwarded", b"x-real-ip", b"x-request-id")


class Handover:
    """The way to the control plane, which is at ``place``."""

    def __init__(self, pool: Pool, place: Place) -> None:
        self._pool = pool
        self._place = place

    async def pass_on(self, request: Request, answer: Answer, extra: bytes) -> None:
        """Pass one request on and its answer back. ``extra`` are the header lines that name the request, on both ways;
        an answer that has another name keeps it. Raises ``Overloaded`` when nobody is there."""
        head = request.head
        headers = _forwarded(head.raw_headers, head.headers.get(b"connection", b""))
        headers += extra + b"x-forwarded-for: %b\r\n" % (request.peer or "unix").encode()
        tunnel = request.upgrade and not head.gathers
        if tunnel:
            headers += b"connection: upgrade\r\nupgrade: websocket\r\n"
        elif head.gathers:
            headers += b"content-length: %d\r\n" % len(request.body)
        elif request.length is None:
            headers += b"transfer-encoding: chunked\r\n"
        elif request.length or head.method in ("POST", "PUT", "PATCH"):
            headers += b"content-length: %d\r\n" % request.length
        target = head.path + (f"?{head.query}" if head.query else "")
        back = _Back(answer, extra)
        try:
            exchange = await self._pool.begin(self._place, head.method.encode(), target.encode(), headers, back)
        except EngineFailed:
            raise Overloaded("the control plane is starting", retry_after_s=1) from None
        back.attach(exchange)
        try:
            if not tunnel or await back.switched:
                await _send_body(request, exchange)
        except OpenmaasError:
            exchange.abort()
            raise
        await back.finished
        answer.on_gone = answer.on_pressure = None
        if back.error is not None and not answer.gone:
            if answer.started:
                answer.abort()
            elif head.method in ("GET", "HEAD"):  # nothing was changed: it may be asked again
                raise Overloaded("the control plane broke off", retry_after_s=1) from back.error
            else:
                raise Failed("the control plane broke off") from back.error


async def _send_body(request: Request, exchange: Exchange) -> None:
    """The client's bytes, at the pace of the control plane, until it has answered."""
    if request.head.gathers:
        exchange.write(bytes(request.body))
        return
    chunked = request.length is None
    async for piece in request.pieces():
        if exchange.done:
            return
        exchange.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        await exchange.drained()
    if chunked:
        exchange.write(b"0\r\n\r\n")


class _Back:
    """The control plane's answer on its way to the client. A ``Sink``; ``switched`` tells whether it is a tunnel."""

    def __init__(self, answer: Answer, extra: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.finished: asyncio.Future[None] = loop.create_future()
        self.switched: asyncio.Future[bool] = loop.create_future()
        self.error: OpenmaasError | None = None
        self._answer = answer
        self._extra = extra
        self._exchange: Exchange | None = None

    def attach(self, exchange: Exchange) -> None:
        """The client's pace and presence reach the control plane."""
        self._exchange = exchange
        self._answer.on_pressure = self._press
        self._answer.on_gone = self._leave
        if self._answer.gone:
            self._leave()

    def head(self, status: int, headers: Headers) -> None:
        named = b",".join(value for name, value in headers if name.lower() == b"connection")
        called = next((value for name, value in headers if name.lower() == _NAME), None)
        lines = self._extra if called is None else b"%b: %b\r\n" % (_NAME, called)
        lines += _forwarded(headers, named)
        length = next((int(value) for name, value in headers if name.lower() == b"content-length"), None)
        if status == 101:
            lines += b"".join(b"%b: %b\r\n" % h for h in headers if h[0].lower() in (b"upgrade", b"connection"))
        if not self._answer.gone:
            self._answer.start(status, lines, length)
        self._switch(tunnel=status == 101)

    def body(self, block: bytes) -> None:
        if not self._answer.gone:
            self._answer.write(block)

    def end(self) -> None:
        if not self._answer.gone:
            self._answer.end()
        self._finish()

    def lost(self, error: OpenmaasError) -> None:
        if self._tunnel:
            self.end()  # its far end is closed, and that is all
        else:
            self.error = error
            self._finish()

    @property
    def _tunnel(self) -> bool:
        return self.switched.done() and self.switched.result()

    def _switch(self, *, tunnel: bool) -> None:
        if not self.switched.done():
            self.switched.set_result(tunnel)

    def _finish(self) -> None:
        self._switch(tunnel=False)
        if not self.finished.done():
            self.finished.set_result(None)
        if self._tunnel:
            self._answer.request.end()

    def _press(self, stop: bool) -> None:
        if self._exchange is not None:
            (self._exchange.pause if stop else self._exchange.resume)()

    def _leave(self) -> None:
        if self._exchange is not None:
            self._exchange.abort()
        self._finish()


def _forwarded(headers: Headers, connection: bytes) -> bytes:
    """Ready lines of the headers that go on."""
    dropped = _HOP_BY_HOP | {name.strip().lower() for name in connection.split(b",")}
    return b"".join(
        b"%b: %b\r\n" % (name, value)
        for name, value in headers
        if (lower := name.lower()) not in dropped and not lower.startswith(_IDENTITY)
    )
