"""The connection to llama.cpp's own server: one request, its events or its error, by callback or as a whole answer."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import httptools
import msgspec

from openmaas.core.errors import ContextExceeded, EngineFailed, EngineRefused, OpenmaasError


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


class _Whole:
    """Hears one whole answer. An ``inner.Listener``."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._body = b""

    def heard(self, _status: int, data: bytes) -> None:
        """See ``Listener``."""
        self._body += data

    def ended(self, status: int, *, whole: bool) -> None:
        """See ``Listener``."""
        if self.answer.done():
            return
        if whole and status == 200:
            self.answer.set_result(self._body)
        else:
            self.answer.set_exception(refusal(status, self._body) if whole else EngineFailed("llama.cpp broke off"))


async def ask(socket: str, path: str, body: Any) -> Any:
    """One question to llama.cpp, and its answer. Raises ``EngineFailed`` and ``EngineRefused``."""
    listener = _Whole()
    inner = Inner(listener, path, msgspec.json.encode(body))
    try:
        await asyncio.get_running_loop().create_unix_connection(lambda: inner, socket)
    except OSError as error:
        raise EngineFailed(f"llama.cpp cannot be reached: {error}") from None
    try:
        return msgspec.json.decode(await listener.answer)
    finally:
        inner.leave()


def refusal(status: int, body: bytes) -> OpenmaasError:
    """What an error of llama.cpp is in our words."""
    try:
        told = msgspec.json.decode(body)["error"]
        message, kind = str(told.get("message", "")), told.get("type")
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        message, kind = body[:200].decode("utf-8", "replace"), ""
    if kind == "exceed_context_size_error":
        found = ContextExceeded(message, field="messages")
        return found.counted(int(told.get("n_prompt_tokens", 0)), int(told.get("n_ctx", 0)))
    return EngineRefused(message) if 400 <= status < 500 or status == 501 else EngineFailed(message)
