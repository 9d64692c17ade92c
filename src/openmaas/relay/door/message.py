"""A request as it came and the answer to it: what a walk works with. Parsing is the connection's business."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from http import HTTPStatus
from typing import Any, Protocol

import msgspec

from openmaas.core import bounds
from openmaas.core.errors import EncodingUnknown, Malformed, OpenmaasError

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_STATUS = {status: b"HTTP/1.1 %d %b\r\n" % (status, _REASONS.get(status, b"Status")) for status in range(100, 600)}

Body = bytes | bytearray


class Client(Protocol):
    """What a request and its answer ask of the connection they belong to."""

    lost: bool
    pressed: bool
    peer: str
    transport: Any

    @property
    def date(self) -> bytes:
        """The Date header's line."""

    def will_keep(self, request: Request) -> bool:
        """True when the connection goes on after this request's answer."""

    def stop_reading(self) -> None:
        """Take no bytes for now."""

    def read_on(self) -> None:
        """Take bytes again."""

    def say_continue(self) -> None:
        """Tell a client that waits for it to send its body."""


class Front(Protocol):
    """What a door needs to know."""

    draining: bool

    def gathers(self, method: str, path: str) -> bool:
        """True: the walk takes the body ``whole``. False: by ``pieces``."""

    def walk(self, request: Request, answer: Answer) -> Coroutine[Any, Any, None]:
        """Answer one request."""

    def fail(self, error: OpenmaasError) -> tuple[int, bytes]:
        """Status and JSON body for what goes wrong before there is a request."""


class Head(msgspec.Struct, frozen=True):
    """The head of a request. ``headers`` are lower-case, with the repeated ones joined; ``raw_headers`` as they came;
    ``gathers`` when the body is to be whole."""

    method: str = ""
    path: str = ""
    query: str = ""
    headers: dict[bytes, bytes] = {}
    raw_headers: list[tuple[bytes, bytes]] = []
    http10: bool = False
    gathers: bool = False


class Request(msgspec.Struct):
    """One request. ``length`` is the body's in bytes, None when it is chunked. A walk that needs the body asks for it,
    ``whole`` or by ``pieces``: until then no more of it is read than came with the head."""

    client: Client
    head: Head
    length: int | None
    keep_alive: bool
    body: Body = b""
    complete: bool = False
    error: OpenmaasError | None = None  # why the rest of the body will not come
    expects: bool = False  # to be told to go on before it sends its body
    wanted: bool = False  # whole, by its walk
    dropped: bool = False  # it was answered: the rest of the body is read and forgotten
    _pieces: deque[bytes] | None = None
    size_bytes: int = 0  # of the body that has come and is not passed on
    _more: asyncio.Future[None] | None = None

    @property
    def peer(self) -> str:
        """The client's address; empty on a Unix socket."""
        return self.client.peer

    @property
    def upgrade(self) -> bool:
        """True when a websocket is asked for."""
        return self.head.headers.get(b"upgrade", b"").lower() == b"websocket"

    async def pieces(self) -> AsyncIterator[bytes]:
        """A body that is not gathered, as it comes. Raises ``error``, and ``Malformed`` when the client breaks off."""
        self._ask()
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                self.size_bytes -= len(piece)
                if self.size_bytes < bounds.WRITE_BUFFER_BYTES_LOW:
                    self.client.read_on()
                yield piece
            if self.complete:
                return
            if self.client.lost and self.upgrade:
                return
            await self._next()

    async def whole(self) -> Body:
        """A gathered body, when all of it has come. Raises as ``pieces``, and ``EncodingUnknown`` for one that is
        packed."""
        if self.head.headers.get(b"content-encoding", b"identity") != b"identity":
            raise EncodingUnknown(field="content-encoding")
        if not self.complete:
            self.wanted = True
            self._ask()
        while not self.complete or self.error is not None:
            await self._next()
        return self.body

    async def _next(self) -> None:
        """Return when something has changed."""
        if self.client.lost or self.error is not None:
            raise self.error or Malformed("the body ended early")
        self._more = asyncio.get_running_loop().create_future()
        await self._more

    def _ask(self) -> None:
        """Let the client send the body."""
        if self.expects and not self.complete:
            self.client.say_continue()
        self.expects = False
        self.client.read_on()

    def fail(self, error: OpenmaasError) -> None:
        """The rest of the body will not come, or is not wanted: its walk is told ``error``."""
        self.error = self.error or error
        self.wake()

    def drop(self) -> None:
        """Forget the body: what is still to come is read past, so that the next request can be."""
        self.dropped, self.wanted = True, False
        self.body, self._pieces = b"", None
        self.client.read_on()

    def add(self, piece: bytes) -> int:
        """Take in a piece of the body; returns how much of it waits."""
        self.size_bytes += len(piece)
        if self.dropped:
            return self.size_bytes
        if self._pieces is None:
            self._pieces = deque()
        self._pieces.append(piece)
        if not self.head.gathers:
            self.wake()
        return self.size_bytes

    def wake(self) -> None:
        """Something changed for who waits for the body."""
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    @property
    def missing_bytes(self) -> int:
        """How much of a gathered body has not come; 0 when its length is not known."""
        return 0 if self.length is None else self.length - self.size_bytes

    def room(self) -> memoryview:
        """Where the next bytes of a gathered body may be written; grows with what has come, not with what was said."""
        assert self.length is not None
        body, size = self.body, self.size_bytes
        if not isinstance(body, bytearray):
            body = bytearray(min(self.length, 2 * size + bounds.IN_PLACE_BYTES_FIRST))
            body[:size] = b"".join(self._pieces or ())
            self.body, self._pieces = body, None
        elif len(body) == size:
            body.extend(bytes(min(self.length, 2 * size) - size))
        return memoryview(body)[size:]

    def filled(self, size_bytes: int) -> None:
        """So many bytes were written to ``room``."""
        self.size_bytes += size_bytes

    def end(self) -> None:
        """The last byte has come."""
        self.complete = True
        if self.head.gathers and self._pieces is not None:
            self.body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            self._pieces = None
        self.wake()


class Answer(msgspec.Struct):
    """The writing side of one request. ``on_pressure(True)`` asks the source to pause, ``on_gone()`` to stop."""

    client: Client
    request: Request
    gone: bool = False
    extra: bytes = b""  # ready lines for the head, whatever the answer is
    started: bool = False
    ended: bool = False
    stays: bool = False  # its request runs to the end though its client leaves: a job comes back for the answer
    on_gone: Callable[[], object] | None = None
    on_pressure: Callable[[bool], None] | None = None
    last_words: Callable[[OpenmaasError], bytes | None] = lambda _error: None  # of a stream that an error breaks off
    _chunked: bool = False

    @property
    def pressed(self) -> bool:
        """True while the client takes less than we have for it."""
        return self.client.pressed

    def whole(self, status: int, headers: bytes, body: bytes) -> None:
        """The whole answer. ``headers`` are ready lines that end in CRLF; length and date are added."""
        self.started = self.ended = True
        length = b"" if status == 204 or status < 200 else b"content-length: %d\r\n" % len(body)
        head = self._head(status, headers, length)
        if self.request.head.method == "HEAD":
            body = b""
        if len(body) <= bounds.JOIN_BYTES_MAX:
            self._send(head + body)
        else:
            self._send(head, body)

    def start(self, status: int, headers: bytes, length: int | None) -> None:
        """Begin an answer of ``length`` bytes, or of unknown length (chunked; on HTTP/1.0 until we close); after 101
        bytes pass raw."""
        self.started = True
        framing = b""
        if length is not None:
            framing = b"content-length: %d\r\n" % length
        elif self.request.head.http10:
            self.request.keep_alive = False
        elif status >= 200 and status not in (204, 304):
            self._chunked = self.request.head.method != "HEAD"
            framing = b"transfer-encoding: chunked\r\n"
        self._send(self._head(status, headers, framing))

    def write(self, block: bytes) -> None:
        """The next bytes, as one chunk."""
        if not block or self.request.head.method == "HEAD":
            return
        if not self._chunked:
            self._send(block)
        elif len(block) <= bounds.JOIN_BYTES_MAX:
            self._send(b"%x\r\n%b\r\n" % (len(block), block))
        else:
            self._send(b"%x\r\n" % len(block), block, b"\r\n")

    def end(self, block: bytes = b"") -> None:
        """The last bytes."""
        self.ended = True
        if self._chunked:
            self._send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(block), block) if block else b"0\r\n\r\n")
        elif block and self.request.head.method != "HEAD":
            self._send(block)

    def abort(self) -> None:
        """Cut the connection: an answer that cannot be completed must not look complete."""
        self.client.transport.abort()

    def _head(self, status: int, headers: bytes, framing: bytes) -> bytes:
        close = b"" if self.client.will_keep(self.request) or status == 101 else b"connection: close\r\n"
        return b"%b%b%b%b%b%b\r\n" % (_STATUS[status], self.client.date, self.extra, headers, framing, close)

    def _send(self, *parts: bytes) -> None:
        if not self.gone and not self.client.lost:
            self.client.transport.writelines(parts)
