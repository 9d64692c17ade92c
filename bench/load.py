"""A load generator: so many connections, each asking again as soon as it was answered, or at a pace; and what that cost
the server."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

import httptools
import msgspec
import uvloop

from bench.servers import Server, cpu_s

P = TypeVar("P", bound=asyncio.BaseProtocol)
CHAT = "/v1/chat/completions"


def request_of(body: dict[str, Any], key: str, path: str = CHAT) -> bytes:
    """The bytes of one request."""
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {key}\r\n"
    return head.encode() + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(data) + data


def work(server: Server, request: bytes | Iterator[bytes], *, connections: int, seconds: float) -> tuple[float, float]:
    """Requests for each second of the server's CPU, and for each second of the clock; one request on one connection is
    a stream after the other."""
    before = cpu_s(server.pid)
    if connections == 1 and isinstance(request, bytes):
        load = uvloop.run(one_by_one(server.address, request, seconds=seconds))
    else:
        load = uvloop.run(drive(server.address, request, connections=connections, seconds=seconds))
    used = cpu_s(server.pid) - before
    assert load.failed == 0, f"{load.failed} of {load.answered} requests to {server} failed: {load.why!r}"
    return load.answered / max(used, 0.01), load.answered / load.seconds


class Load(msgspec.Struct):
    """What came of one run. ``failed`` counts answers other than 200 and broken connections; ``took_s`` is how long
    each answer took, of requests at a pace."""

    answered: int = 0
    failed: int = 0
    seconds: float = 0.0
    took_s: list[float] = []
    why: bytes = b""  # the last of what was answered instead


class _Client(asyncio.Protocol):
    def __init__(self, requests: Iterator[bytes], load: Load, deadline_s: float) -> None:
        self._requests = requests
        self._load = load
        self._deadline_s = deadline_s
        self._parser = httptools.HttpResponseParser(self)
        self._transport: Any = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, block: bytes) -> None:
        if self._parser.get_status_code() != 200:
            self._load.why = block

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() == 200:
            self._load.answered += 1
        else:
            self._load.failed += 1
        if time.monotonic() < self._deadline_s:
            self._transport.write(next(self._requests))
        else:
            self._transport.close()

    def connection_lost(self, _error: Exception | None) -> None:
        if time.monotonic() < self._deadline_s:
            self._load.failed += 1
        if not self.done.done():
            self.done.set_result(None)


class _Paced(asyncio.Protocol):
    """A connection that asks when it is told to, and says when it was answered."""

    def __init__(self, load: Load, idle: list[_Paced]) -> None:
        self._load, self._idle = load, idle
        self._parser = httptools.HttpResponseParser(self)
        self._asked_s = 0.0
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._idle.append(self)

    def ask(self, request: bytes) -> None:
        self._asked_s = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None or self not in self._idle:
            self._load.failed += 1
            self._load.answered += 1

    def on_message_complete(self) -> None:
        self._load.took_s.append(time.perf_counter() - self._asked_s)
        self._load.answered += 1
        self._load.failed += self._parser.get_status_code() != 200
        self._idle.append(self)


async def drive(address: int | str, request: bytes | Iterator[bytes], *, connections: int, seconds: float) -> Load:
    """Load a port of 127.0.0.1, or a Unix socket, for ``seconds``, with one request again and again or the next of
    many."""
    load, began_s = Load(), time.monotonic()
    requests = itertools.repeat(request) if isinstance(request, bytes) else request
    make = partial(_Client, requests, load, began_s + seconds)
    clients = [await _connected(address, make) for _ in range(connections)]
    await asyncio.gather(*[client.done for client in clients])
    load.seconds = time.monotonic() - began_s
    return load


async def paced(address: int | str, request: bytes, *, rate: float, seconds: float) -> Load:
    """So many requests a second, whether the ones before were answered or not; each on a connection that is free, or a
    new one."""
    load, began_s = Load(took_s=[]), time.perf_counter()
    everybody: list[_Paced] = []
    idle: list[_Paced] = []
    for number in range(round(rate * seconds)):
        due_s = began_s + number / rate
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        if not idle:
            everybody.append(await _connected(address, partial(_Paced, load, idle)))
        idle.pop().ask(request)
    while load.answered < round(rate * seconds):
        await asyncio.sleep(0.01)
    for each in everybody:
        each.transport.close()
    load.seconds = time.perf_counter() - began_s
    return load


async def _connected(address: int | str, make: Callable[[], P]) -> P:
    loop = asyncio.get_running_loop()
    if isinstance(address, str):
        return (await loop.create_unix_connection(make, address))[1]
    return (await loop.create_connection(make, "127.0.0.1", address))[1]


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
