"""A load generator: so many connections, each sending the same request again as soon as it was answered."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

import httptools
import msgspec


class Load(msgspec.Struct):
    """What came of one run. ``failed`` counts answers other than 200 and broken connections."""

    answered: int = 0
    failed: int = 0
    seconds: float = 0.0


class _Client(asyncio.Protocol):
    def __init__(self, request: bytes, load: Load, deadline_s: float) -> None:
        self._request = request
        self._load = load
        self._deadline_s = deadline_s
        self._parser = httptools.HttpResponseParser(self)
        self._transport: Any = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() == 200:
            self._load.answered += 1
        else:
            self._load.failed += 1
        if time.monotonic() < self._deadline_s:
            self._transport.write(self._request)
        else:
            self._transport.close()

    def connection_lost(self, _error: Exception | None) -> None:
        if time.monotonic() < self._deadline_s:
            self._load.failed += 1
        if not self.done.done():
            self.done.set_result(None)


async def drive(address: int | str, request: bytes, *, connections: int, seconds: float) -> Load:
    """Load a port of 127.0.0.1, or a Unix socket, for ``seconds``."""
    load, began_s = Load(), time.monotonic()
    loop = asyncio.get_running_loop()
    clients = []
    make = partial(_Client, request, load, began_s + seconds)
    for _ in range(connections):
        if isinstance(address, str):
            _, client = await loop.create_unix_connection(make, address)
        else:
            _, client = await loop.create_connection(make, "127.0.0.1", address)
        clients.append(client)
    await asyncio.gather(*[client.done for client in clients])
    load.seconds = time.monotonic() - began_s
    return load


async def one_by_one(address: int | str, request: bytes, *, seconds: float) -> Load:
    """Streams, each on a connection of its own, the next when the last has ended (llama.cpp closes after each)."""
    load, began_s = Load(), time.monotonic()
    while time.monotonic() - began_s < seconds:
        if isinstance(address, str):
            reader, writer = await asyncio.open_unix_connection(address)
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", address)
        writer.write(request)
        answer = b""
        while b"data: [DONE]" not in answer and (block := await reader.read(65536)):
            answer += block
        load.answered += answer.startswith(b"HTTP/1.1 200") and b"data: [DONE]" in answer
        load.failed += b"data: [DONE]" not in answer
        writer.close()
    load.seconds = time.monotonic() - began_s
    return load
