"""Bytes become requests: what llhttp reads, less what a proxy must not let pass (a second Host, a folded header).

It knows HTTP/1.1 (RFC 9110, 9112) and nothing of what a request means. Bytes come into one buffer that all connections
share, for they are used up before the next read; a long body is read to where it stays.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import httptools

from openmaas.core import bounds
from openmaas.core.errors import Malformed, OpenmaasError, TooLarge
from openmaas.relay.door.again import Again, remember
from openmaas.relay.door.message import Client, Head, Request
from openmaas.relay.door.strict import check_head, target_of


class Reader:
    """Reads one connection. ``requests`` wait for their walk; ``begun`` is true between the first byte of a request and
    its last; ``incoming`` has a head and not yet all of its body; after an ``error`` the framing is lost."""

    def __init__(self, client: Client, gathers: Callable[[str, str], bool], buffer: memoryview) -> None:
        self.requests: deque[Request] = deque()
        self.begun = False
        self.incoming: Request | None = None
        self.error: OpenmaasError | None = None
        self._client = client
        self._gathers = gathers
        self._buffer = buffer
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._fresh: memoryview | None = None  # a read that a request begins with, until its head is complete
        self._again: Again | None = None
        self._filling = False  # the rest of the incoming body is taken past the parser
        self._tunnel: Request | None = None  # it was upgraded: all that comes is its body

    def room(self) -> memoryview:
        """Where the next bytes are to be written."""
        request = self.incoming
        if request is None:
            return self._buffer
        if not self._filling and request.wanted and request.missing_bytes > bounds.IN_PLACE_BYTES_MIN:
            self._filling = True
        if not self._filling:
            return self._buffer
        return request.room() if request.wanted else self._buffer[: request.missing_bytes]

    def take(self, size: int) -> None:
        """``size`` bytes were written to ``room``."""
        if self._filling:
            self._fill(size)
            return
        data = self._buffer[:size]
        if self._tunnel is not None:
            self._add(self._tunnel, bytes(data))
            return
        while data and self._again is not None and not self.begun:
            rest = self._take_again(self._again, data)
            if rest is None:
                break
            data = rest
        if data:
            self._fresh = None if self.begun else data
            self._feed(data)
            self._fresh = None

    # ── called by the parser ───────────────────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        self.begun = True
        self._url = b""
        self._headers = []
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.incoming is None:  # a trailer is dropped: it was not looked at when the head was (RFC 9110 §6.5.1)
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self.error is not None:
            return
        parser = self._parser
        method = parser.get_method().decode()
        http10 = parser.get_http_version() == "1.0"
        try:
            size = len(self._url) + sum(len(name) + len(value) + 4 for name, value in self._headers)
            if size > bounds.HEADER_BYTES_MAX:
                raise TooLarge(f"the head may have {bounds.HEADER_BYTES_MAX} bytes", field="headers")
            path, query = target_of(self._url, method)
            headers, length = check_head(self._headers, http10=http10)
            gathers = self._gathers(method, path)
            if gathers and length is not None and length > bounds.BODY_BYTES_MAX:
                raise TooLarge(f"a body may have {bounds.BODY_BYTES_MAX} bytes")
            expect = headers.get(b"expect")
            if expect is not None and expect.lower() != b"100-continue":
                raise Malformed("only Expect: 100-continue is known", field="expect")
        except OpenmaasError as error:
            self.error = error
            return
        head = Head(method, path, query, headers, self._headers, http10, gathers)
        keep_alive = parser.should_keep_alive()
        self._again = remember(self._fresh, head, keep_alive=keep_alive) if self._fresh is not None else None
        self._fresh = None
        self.incoming = request = Request(self._client, head, length, keep_alive)
        request.expects = expect is not None and length != 0 and not http10
        self.requests.append(request)

    def on_body(self, piece: bytes) -> None:
        if self.incoming is not None and self.error is None:
            self._add(self.incoming, piece)

    def on_message_complete(self) -> None:
        request, self.incoming = self.incoming, None
        self.begun = False
        if request is None or self.error is not None:
            return
        request.end()

    # ── the ways that bytes come in ────────────────────────────────────────────────────────────────────────────

    def _feed(self, data: memoryview) -> None:
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as switch:
            self._switch(data[switch.args[0] :])
        except httptools.HttpParserError as error:
            self.error = self.error or Malformed(str(error))
        if not self.begun or self.error is not None:
            return
        if self.incoming is None and self._head_bytes > bounds.HEADER_BYTES_MAX:
            self.error = TooLarge(f"the head may have {bounds.HEADER_BYTES_MAX} bytes", field="headers")

    def _take_again(self, again: Again, data: memoryview) -> memoryview | None:
        """Take in a request whose head is the last one's; returns what comes behind it, None when it is not."""
        found = again.match(data)
        if found is None:
            return None
        at, length = found
        end = at + length
        if end > len(data):
            self.incoming = request = Request(self._client, again.head, length, True)
            request.add(bytes(data[at:]))
            self.requests.append(request)
            self.begun = self._filling = True
        else:
            self.requests.append(Request(self._client, again.head, length, True, bytes(data[at:end]), True))
        return data[end:]

    def _fill(self, size: int) -> None:
        """So many bytes of a body came, never more than it lacks; a wanted one's are where they stay."""
        request = self.incoming
        assert request is not None
        if request.wanted:
            request.filled(size)
        else:
            request.add(bytes(self._buffer[:size]))
        if request.missing_bytes == 0:
            self._filling = False
            self._parser = httptools.HttpRequestParser(self)  # the old one still waits for the body
            self.on_message_complete()

    def _switch(self, rest: memoryview) -> None:
        """llhttp stops at an Upgrade. A websocket goes on raw; any other offer is declined by ignoring it."""
        request = self.requests[-1] if self.requests else None
        if request is not None and request.upgrade and not request.head.gathers:
            request.complete = request.keep_alive = False
            self._tunnel = request
            if rest:
                self._add(request, bytes(rest))
            return
        self._parser = httptools.HttpRequestParser(self)
        if rest:
            self._feed(rest)

    def _add(self, request: Request, piece: bytes) -> None:
        waiting = request.add(piece)
        if request.head.gathers or request.dropped:
            if waiting > bounds.BODY_BYTES_MAX:
                self.error = TooLarge(f"a body may have {bounds.BODY_BYTES_MAX} bytes")
        elif waiting > bounds.WRITE_BUFFER_BYTES_HIGH:
            self._client.stop_reading()
