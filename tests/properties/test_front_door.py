"""The front door: any split of the bytes is the same, and what two parsers could read differently is refused."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmaas.core import bounds
from openmaas.core.clock import Clock
from openmaas.core.errors import OpenmaasError
from openmaas.relay.door import Answer, Doorkeeper, Request

GET = b"GET /one?q=1 HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /gather HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"POST /gather HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n"
STREAMED = b"POST /stream HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\nstreams"
SEEN = {
    GET: ("GET", "/one", b""),
    POST: ("POST", "/gather", b"hello"),
    CHUNKED: ("POST", "/gather", b"hello"),
    STREAMED: ("POST", "/stream", b"streams"),
}


class Recorder:
    """A front that notes what came through the door."""

    draining = False

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, bytes]] = []

    def gathers(self, _method: str, path: str) -> bool:
        return path != "/stream"

    async def walk(self, request: Request, answer: Answer) -> None:
        body = request.body
        if request.path == "/stream":
            async for piece in request.pieces():
                body += piece
        self.seen.append((request.method, request.path, body))
        await asyncio.sleep(0)
        answer.whole(200, b"", request.path.encode())

    def fail(self, _error: OpenmaasError) -> tuple[int, bytes]:
        return 400, b"{}"


async def _talk(pieces: list[bytes], front: Recorder, act: Callable[[Doorkeeper], None] | None) -> bytes:
    keeper = Doorkeeper(front, Clock())
    server = await asyncio.get_running_loop().create_server(keeper.connection, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    found = b""
    try:
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0)
        if act is not None:
            await asyncio.sleep(0.02)
            act(keeper)
        while block := await asyncio.wait_for(reader.read(65536), 0.08):
            found += block
    except (TimeoutError, ConnectionError):
        pass
    writer.close()
    await keeper.drain(0.0)
    server.close()
    await server.wait_closed()
    return found


def talk(pieces: list[bytes], act: Callable[[Doorkeeper], None] | None = None) -> tuple[Recorder, bytes]:
    """Send ``pieces`` one by one; returns what the front saw and what came back."""
    front = Recorder()
    return front, asyncio.run(_talk(pieces, front, act))


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """``data`` cut at ``places``."""
    marks = sorted({place % len(data) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(marks)]


@settings(max_examples=60, deadline=None)
@given(
    requests=st.lists(st.sampled_from(sorted(SEEN)), min_size=1, max_size=5),
    places=st.lists(st.integers(0, 2_000), max_size=12),
)
def test_any_split_of_the_bytes_gives_the_same_result(requests: list[bytes], places: list[int]) -> None:
    front, answers = talk(cut(b"".join(requests), places))
    assert front.seen == [SEEN[request] for request in requests]
    assert re.findall(rb"\r\n\r\n(/[a-z]+)", answers) == [SEEN[request][1].encode() for request in requests]


SMUGGLING = {
    "both lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nhello",
    "the same length twice": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a signed length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
    "a hexadecimal length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello",
    "another coding": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "an obscured coding": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked twice": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked on HTTP/1.0": b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a bad chunk size": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    "a chunk without its end": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
    "a folded coding": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    "bare line feeds": b"GET / HTTP/1.1\nHost: a\n\n",
    "a bare carriage return": b"GET / HTTP/1.1\r\nHost: a\r\nX: b\rY: c\r\n\r\n",
    "a NUL in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "two credentials": b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n",
    "a target with a control byte": b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
    "a target without a slash": b"GET one HTTP/1.1\r\nHost: a\r\n\r\n",
    "CONNECT": b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an unknown expectation": b"POST / HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\nContent-Length: 1\r\n\r\nx",
    "a head that is too long": b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * (bounds.HEADER_BYTES_MAX + 1),
    "a target that is too long": b"GET /" + b"x" * bounds.URL_BYTES_MAX + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "too many headers": b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 101 + b"\r\n",
    "a body that is too long": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n",
}


@pytest.mark.parametrize("name", SMUGGLING)
def test_what_could_be_read_in_two_ways_is_refused_and_closed(name: str) -> None:
    front, answers = talk([SMUGGLING[name] + GET])
    assert front.seen == []
    assert re.match(rb"HTTP/1.1 [45]\d\d ", answers), answers
    assert b"connection: close\r\n" in answers
    assert answers.count(b"HTTP/1.1 ") == 1


@settings(max_examples=150, deadline=None)
@given(
    data=st.sampled_from(sorted(SEEN)),
    changes=st.lists(st.tuples(st.integers(0, 500), st.binary(max_size=4)), min_size=1, max_size=4),
    places=st.lists(st.integers(0, 500), max_size=4),
)
def test_mutated_requests_never_break_the_door(
    data: bytes, changes: list[tuple[int, bytes]], places: list[int]
) -> None:
    for number, piece in changes:
        at = number % len(data)
        data = data[:at] + piece + data[at + len(piece) :]
    _, answers = talk(cut(data + GET, places))
    assert not answers or re.match(rb"HTTP/1.1 [1-5]\d\d ", answers)
    assert b"HTTP/1.1 500" not in answers


def test_expect_is_answered_before_the_body_comes() -> None:
    head = b"POST /gather HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    front, answers = talk([head])
    assert answers == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert front.seen == []
    front, answers = talk([head, b"hello"])
    assert front.seen == [("POST", "/gather", b"hello")]


def test_head_has_no_body_and_http_1_0_is_closed() -> None:
    _, answers = talk([b"HEAD /one HTTP/1.1\r\nHost: a\r\n\r\n"])
    assert answers.endswith(b"\r\n\r\n")
    assert b"content-length: 4\r\n" in answers
    _, answers = talk([b"GET /one HTTP/1.0\r\n\r\n"])
    assert answers.count(b"HTTP/1.1 200") == 1
    assert b"connection: close" in answers


@pytest.mark.parametrize("half", [b"GET / HTTP/1.1\r\nHo", POST[:-2]])
def test_half_a_request_is_given_up_after_its_deadline(half: bytes) -> None:
    def later(keeper: Doorkeeper) -> None:
        for connection in list(keeper._connections):
            connection.check(keeper.now_s + max(bounds.HEADER_TIMEOUT_S, bounds.BODY_TIMEOUT_S) + 1)

    front, answers = talk([half], later)
    assert front.seen == []
    assert answers.startswith(b"HTTP/1.1 408 ")
