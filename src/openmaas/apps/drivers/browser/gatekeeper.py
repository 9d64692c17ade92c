"""The gate of a browser: a forward proxy that lets through what is listed, and nothing else.

The browser knows no other way out and resolves no name (``chromium.py``), so it does not matter who asks: an address
that a model typed, a page's script, a redirect, a worker, a picture. It understands ``CONNECT`` and requests with a
whole address in their first line (RFC 9112 §3.2.2 and .3), it connects to the address that it looked up and judged, and
it never looks into what it passes on. One connection is one request to one place.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from openmaas.apps.drivers.browser.allowed import Allowed
from openmaas.core.bounds import (
    GATE_CONNECT_S,
    GATE_CONNECTIONS_MAX,
    GATE_HEAD_S,
    GATE_PIECE_BYTES,
    GATE_REFUSALS_MAX,
    HEADER_BYTES_MAX,
)

log = logging.getLogger(__name__)
#: What is said between a client and its proxy, and goes no further.
_BETWEEN_US = (b"connection", b"keep-alive", b"proxy-connection", b"proxy-authorization", b"proxy-authenticate")


@dataclass(frozen=True)
class Refusal:
    """Somewhere the browser wanted to go and did not."""

    host: str
    port: int
    why: str


class _No(Exception):  # noqa: N818 - an answer, which ends a connection
    def __init__(self, status: str, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


class Gatekeeper:
    """A proxy on a port of loopback. ``refused`` has the last of what it did not let through."""

    def __init__(self, allowed: Allowed) -> None:
        self.allowed = allowed
        self.refused: deque[Refusal] = deque(maxlen=GATE_REFUSALS_MAX)
        self.port = 0
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen. A gatekeeper is opened once."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=HEADER_BYTES_MAX)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Cut what still flows, and listen no more."""
        if self._server is not None:
            self._server.close()
        for connection in tuple(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= GATE_CONNECTIONS_MAX:
            writer.close()
            return
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, EOFError, TimeoutError):
            try:
                async with asyncio.timeout(GATE_HEAD_S):
                    line, headers = await _head(reader)
                method, target, _ = line.split(b" ", 2)
                if method == b"CONNECT":
                    await self._tunnel(target.decode("ascii"), reader, writer)
                else:
                    await self._pass_on(method, target.decode("ascii"), headers, reader, writer)
            except _No as no:
                said = f"{no.why}\n".encode()
                head = f"HTTP/1.1 {no.status}\r\nContent-Type: text/plain\r\nContent-Length: {len(said)}\r\n"
                writer.write(f"{head}Connection: close\r\n\r\n".encode() + said)
                await writer.drain()
            except (ValueError, asyncio.LimitOverrunError):
                writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    async def _tunnel(self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = urlsplit(f"//{target}")
        far_reader, far_writer = await self._connect(there.hostname or "", there.port or 443)
        with contextlib.closing(far_writer):
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await _both(_flow(reader, far_writer), _flow(far_reader, writer))

    async def _pass_on(
        self,
        method: bytes,
        target: str,
        headers: list[bytes],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        url = urlsplit(target)
        if url.scheme != "http":
            raise _No("400 Bad Request", "a proxy is asked for a whole address of http")
        far_reader, far_writer = await self._connect(url.hostname or "", url.port or 80)
        with contextlib.closing(far_writer):
            path = (url.path or "/") + (f"?{url.query}" if url.query else "")
            far_writer.write(_joined(method + b" " + path.encode("ascii") + b" HTTP/1.1", headers))
            await _both(_flow(reader, far_writer), _answer(far_reader, writer))

    async def _connect(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to what was judged: the address is looked up once, so that it cannot change its mind."""
        if not self.allowed.name(host, port):
            raise self._refuse(host, port, "not listed")
        try:
            async with asyncio.timeout(GATE_CONNECT_S):
                found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
                addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
                open_to = [address for address in addresses if self.allowed.address(address, port)]
                if not open_to:
                    raise self._refuse(host, port, f"leads to {addresses[0]}, which is not public and not listed")
                return await _first(open_to, port)
        except (OSError, UnicodeError) as error:
            raise _No("502 Bad Gateway", f"{host} does not answer: {error}") from error

    def _refuse(self, host: str, port: int, why: str) -> _No:
        self.refused.append(Refusal(host, port, why))
        log.info("the browser was not let through to %s:%d: %s", host, port, why)
        return _No("403 Forbidden", f"{host}:{port} is refused: {why}")


async def _head(reader: asyncio.StreamReader) -> tuple[bytes, list[bytes]]:
    line, *headers = (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
    return line, headers


def _joined(line: bytes, headers: list[bytes]) -> bytes:
    """A head that says that this connection ends with it, whatever it said before."""
    kept = [header for header in headers if header.partition(b":")[0].strip().lower() not in _BETWEEN_US]
    return b"\r\n".join([line, *kept, b"Connection: close", b"", b""])


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        line, headers = await _head(reader)
        interim = line.split(b" ")[1:2] < [b"200"]
        writer.write(b"\r\n".join([line, *headers, b"", b""]) if interim else _joined(line, headers))
        if not interim:
            return await _flow(reader, writer)


async def _flow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(GATE_PIECE_BYTES):
        writer.write(piece)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def _both(up: Coroutine[Any, Any, None], down: Coroutine[Any, Any, None]) -> None:
    """Both ways until the answer has ended or one of them breaks: whoever asks may have said all before that."""
    asking = asyncio.create_task(up)
    try:
        await down
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def _first(addresses: list[str], port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The first of them that answers."""
    for address in addresses[:-1]:
        with contextlib.suppress(OSError):
            return await asyncio.open_connection(address, port, limit=HEADER_BYTES_MAX)
    return await asyncio.open_connection(addresses[-1], port, limit=HEADER_BYTES_MAX)
