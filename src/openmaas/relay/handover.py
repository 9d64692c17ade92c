"""Everything that is not inference goes to the control plane: bodies streamed both ways, upgrades tunnelled.

What says who is asking is ours to say: such headers from outside are dropped (RFC 9110 §7.6.1 names the hop-by-hop
ones), and the control plane verifies the credential itself.
"""

from __future__ import annotations

import asyncio

from openmaas.core.errors import EngineFailed, Failed, OpenmaasError, Overloaded
from openmaas.relay.door import Answer, Request
from openmaas.relay.upstream import Exchange, Headers, Place, Pool

_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer transfer-encoding"
    b" upgrade content-length expect host date".split()
)
_IDENTITY = (b"x-openmaas-", b"x-forwarded-", b"forwarded", b"x-real-ip", b"x-request-id")


async def hand_over(request: Request, answer: Answer, pool: Pool, place: Place, extra: bytes) -> None:
    """Pass one request to ``place`` and its answer back. Raises ``Overloaded`` when nobody is there."""
    headers = _forwarded(request.raw_headers, request.headers.get(b"connection", b""))
    headers += extra + b"x-forwarded-for: %b\r\n" % (request.peer or "unix").encode()
    if request.upgrade:
        headers += b"connection: upgrade\r\nupgrade: websocket\r\n"
    elif request.length is None:
        headers += b"transfer-encoding: chunked\r\n"
    elif request.length or request.method in ("POST", "PUT", "PATCH"):
        headers += b"content-length: %d\r\n" % request.length
    target = request.path + (f"?{request.query}" if request.query else "")
    back = _Back(answer)
    try:
        exchange = await pool.begin(place, request.method, target, headers, back)
    except EngineFailed:
        raise Overloaded("the control plane is starting", retry_after_s=1) from None
    back.attach(exchange)
    await _send_body(request, exchange)
    await back.finished
    answer.on_gone = answer.on_pressure = None
    if back.error is not None and not answer.gone:
        if answer.started:
            answer.abort()
        else:
            raise Failed("the control plane broke off") from back.error


async def _send_body(request: Request, exchange: Exchange) -> None:
    if request.upgrade:
        return
    async for piece in request.pieces():
        if request.length is None:
            exchange.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        else:
            exchange.write(piece)
        await exchange.drained()
    if request.length is None:
        exchange.write(b"0\r\n\r\n")


class _Back:
    """The control plane's answer on its way to the client. An ``upstream.Sink``."""

    def __init__(self, answer: Answer) -> None:
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.error: OpenmaasError | None = None
        self._answer = answer
        self._exchange: Exchange | None = None
        self._tunnel = False

    def attach(self, exchange: Exchange) -> None:
        """The client's pace and presence reach the control plane."""
        self._exchange = exchange
        self._answer.on_pressure = self._press
        self._answer.on_gone = self._leave
        if self._answer.gone:
            self._leave()

    def head(self, status: int, headers: Headers) -> None:
        if self._answer.gone:
            return
        named = b",".join(value for name, value in headers if name.lower() == b"connection")
        lines = _forwarded(headers, named)
        if status == 101:
            self._tunnel = True
            accept = b"".join(b"%b: %b\r\n" % h for h in headers if h[0].lower() in (b"upgrade", b"connection"))
            self._answer.tunnel(lines + accept, self._up)
            return
        length = next((int(value) for name, value in headers if name.lower() == b"content-length"), None)
        self._answer.start(status, lines, length)

    def body(self, parts: list[bytes]) -> None:
        if self._tunnel:
            self._answer.raw(b"".join(parts))
        elif not self._answer.gone:
            self._answer.write(parts)

    def end(self) -> None:
        if not self._answer.gone:
            self._answer.end()
        self._finish()

    def lost(self, error: OpenmaasError) -> None:
        if self._tunnel:
            self._answer.abort()
        else:
            self.error = error
        self._finish()

    def _finish(self) -> None:
        if not self.finished.done():
            self.finished.set_result(None)

    def _up(self, data: bytes) -> None:
        assert self._exchange is not None
        self._exchange.write(data)

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
