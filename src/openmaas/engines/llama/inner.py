"""The connection to llama.cpp's own server: one request, its events or its error, by callback."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import httptools


class Listener(Protocol):
    """Who hears what llama.cpp says."""

    def heard(self, status: int, data: bytes) -> None:
        """Bytes of the body."""

    def ended(self, status: int, *, whole: bool) -> None:
        """Nothing more comes; ``whole`` says whether the answer was complete."""


class Inner(asyncio.Protocol):
    """One request to llama.cpp."""

    def __init__(self, listener: Listener, path: str, body: bytes) -> None:
        self._listener: Listener | None = listener
        self._request = (
            b"POST %b HTTP/1.1\r\nHost: llama\r\nConnection: close\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % (path.encode(), len(body))
        )
        self._body = body
        self._parser = httptools.HttpResponseParser(self)
        self._transport: Any = None
        self._whole = False
        self._parts: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        self._transport = transport
        if self._listener is None:
            self._transport.abort()
        else:
            self._transport.writelines([self._request, self._body])

    def data_received(self, data: bytes) -> None:
        """Pass the body on."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()
            return
        if self._parts and self._listener is not None:
            parts, self._parts = self._parts, []
            self._listener.heard(self._parser.get_status_code(), b"".join(parts))
        if self._whole and self._listener is not None:
            listener, self._listener = self._listener, None
            listener.ended(self._parser.get_status_code(), whole=True)

    def connection_lost(self, _error: Exception | None) -> None:
        """Say so, unless the answer was complete."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.ended(0, whole=False)

    def on_body(self, part: bytes) -> None:
        """Part of httptools' protocol."""
        self._parts.append(part)

    def on_message_complete(self) -> None:
        """Part of httptools' protocol."""
        self._whole = True

    def read(self, *, go: bool) -> None:
        """Take bytes, or do not."""
        if self._transport is not None and not self._transport.is_closing():
            (self._transport.resume_reading if go else self._transport.pause_reading)()

    def leave(self) -> None:
        """Cut the connection: llama.cpp stops within one batch. The listener hears no more."""
        self._listener = None
        if self._transport is not None:
            self._transport.abort()
