"""The front door: any split of the bytes is the same, and what two parsers could read differently is refused."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import pairwise

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from openmaas.core import bounds
from openmaas.core.clock import Clock
from openmaas.core.errors import KeyUnknown, OpenmaasError
from openmaas.dialects.openai.errors import render
from openmaas.relay.door.keeper import Doorkeeper
from openmaas.relay.door.message import Answer, Request

Open = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]

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
        self.raw_headers: list[list[tuple[bytes, bytes]]] = []

    def gathers(self, _method: str, path: str) -> bool:
        return path != "/stream"

    async def walk(self, request: Request, answer: Answer) -> None:
        body: bytes | bytearray = b""
        try:
            if request.head.path == "/no":
                raise KeyUnknown
            if request.head.path == "/stream":
                async for piece in request.pieces():
                    body += piece
            else:
                body = await request.whole()
        except OpenmaasError as error:
            answer.whole(self.fail(error)[0], b"", b"")
            return
        self.seen.append((request.head.method, request.head.path, bytes(body)))
        self.raw_headers.append(request.head.raw_headers)
        await asyncio.sleep(0)
        answer.whole(200, b"", request.head.path.encode() * (200_000 if request.head.path == "/big" else 1))

    def fail(self, error: OpenmaasError) -> tuple[int, bytes]:
        return render(error)[0], b"{}"


async def _talk(pieces: list[bytes], front: Recorder, act: Callable[[Doorkeeper], None] | None) -> bytes:
    keeper = Doorkeeper(front, Clock())
    server = await asyncio.get_running_loop().create_server(keeper.connection, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    found = b""
    try:
        for piece in pieces:
            if writer.transport.is_closing():  # refused before all was sent
                break
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
    return front, uvloop.run(_talk(pieces, front, act))


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


@settings(max_examples=30, deadline=None)
@given(
    length=st.integers(1, 4 * bounds.IN_PLACE_BYTES_FIRST),
    places=st.lists(st.integers(0, 4 * bounds.IN_PLACE_BYTES_FIRST), max_size=6),
)
def test_a_long_body_is_whole_however_it_comes_and_the_next_request_follows(length: int, places: list[int]) -> None:
    body = random.Random(length).randbytes(length)
    head = b"POST /gather HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length
    front, answers = talk(cut(head + body + GET, places))
    assert [path for _, path, _ in front.seen] == ["/gather", "/one"]
    assert front.seen[0][2] == body
    assert answers.count(b"HTTP/1.1 200") == 2


def test_a_trailer_is_dropped() -> None:
    trailed = CHUNKED.removesuffix(b"\r\n") + b"Authorization: Bearer x\r\n\r\n"
    front, _ = talk([trailed + GET])
    assert front.seen == [SEEN[CHUNKED], SEEN[GET]]
    assert [name for name, _ in front.raw_headers[0]] == [b"Host", b"Transfer-Encoding"]


def test_many_small_requests_sent_ahead_are_answered_in_order() -> None:
    front, answers = talk([GET * 1_000 + POST])
    assert len(front.seen) == 1_001
    assert answers.count(b"HTTP/1.1 200") == 1_001


def test_a_client_that_asks_and_does_not_read_is_not_answered_further() -> None:
    asked = 200

    async def story() -> None:
        front = Recorder()
        keeper = Doorkeeper(front, Clock())
        server = await asyncio.get_running_loop().create_server(keeper.connection, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), limit=1024)
        writer.write(GET.replace(b"/one", b"/big") * asked)
        await asyncio.sleep(0.3)
        assert 0 < len(front.seen) < asked / 4  # what the kernel's buffers hold, and one more
        while len(front.seen) < asked:
            await asyncio.wait_for(reader.read(1024 * 1024), 5)
        writer.close()
        await keeper.drain(0.0)
        server.close()

    uvloop.run(story())


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
    "a head of 100 KB": b"GET / HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (b"x" * 100_000),
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
        for connection in list(keeper.hall.connections):
            connection.check(keeper.hall.now_s + max(bounds.HEADER_TIMEOUT_S, bounds.BODY_TIMEOUT_S) + 1)

    front, answers = talk([half], later)
    assert front.seen == []
    assert answers.startswith(b"HTTP/1.1 408 ")


# ── bodies and memory ─────────────────────────────────────────────────────────────────────────────────────────────

REFUSED = b"POST /no HTTP/1.1\r\nHost: a\r\n"


def chunked(body: bytes) -> bytes:
    """A body of unknown length, in chunks of 1000 bytes."""
    pieces = [body[at : at + 1000] for at in range(0, len(body), 1000)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@settings(max_examples=30, deadline=None)
@given(length=st.integers(1, 300_000), places=st.lists(st.integers(0, 600_000), max_size=6), framed=st.booleans())
def test_a_body_nobody_wants_is_read_past_and_the_next_request_is_answered(
    length: int, places: list[int], framed: bool
) -> None:
    body = random.Random(length).randbytes(length)
    framing = b"Content-Length: %d\r\n\r\n%b" % (length, body)
    if not framed:
        framing = b"Transfer-Encoding: chunked\r\n\r\n" + chunked(body)
    front, answers = talk(cut((REFUSED + framing) * 2 + GET, places))
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"401", b"401", b"200"]
    assert front.seen == [SEEN[GET]]


def test_one_who_is_refused_before_sending_the_body_is_not_asked_for_it() -> None:
    _, answers = talk([REFUSED + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"])
    assert answers.startswith(b"HTTP/1.1 401 ")
    assert b"connection: close\r\n" in answers  # it may send the body all the same, or not


class Hesitant(Recorder):
    """A front that takes its time to recognise a key."""

    def __init__(self) -> None:
        super().__init__()
        self.known = asyncio.Event()

    async def walk(self, request: Request, answer: Answer) -> None:
        await self.known.wait()
        await super().walk(request, answer)


async def _meet(front: Recorder, act: Callable[[Doorkeeper, Open], Awaitable[None]]) -> None:
    keeper = Doorkeeper(front, Clock())
    server = await asyncio.get_running_loop().create_server(keeper.connection, "127.0.0.1", 0)
    try:
        await act(keeper, partial(asyncio.open_connection, *server.sockets[0].getsockname()))
    finally:
        await keeper.drain(0.0)
        server.close()
    assert keeper.hall.body_bytes == 0


@pytest.mark.parametrize("again", [False, True], ids=["a new head", "a head that was seen"])
def test_no_more_of_a_body_is_read_than_came_with_its_head_until_the_key_is_known(again: bool) -> None:
    length = 8 << 20
    asked = b"POST /gather HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
    front = Hesitant()

    async def story(keeper: Doorkeeper, connect: Open) -> None:
        reader, writer = await connect()
        if again:
            front.known.set()
            writer.write(asked % 2 + b"ok")
            await reader.readuntil(b"/gather")
            front.known.clear()
        writer.write(asked % length + bytes(length))
        await asyncio.sleep(0.2)
        (connection,) = keeper.hall.connections
        incoming = connection._reader.incoming
        assert incoming is not None
        assert incoming.size_bytes <= bounds.READ_BYTES
        connection.check(keeper.hall.now_s + 1_000)  # it is we who do not read
        front.known.set()
        assert (await asyncio.wait_for(reader.readuntil(b"/gather"), 10)).startswith(b"HTTP/1.1 200 ")
        assert len(front.seen[-1][2]) == length
        writer.close()

    uvloop.run(_meet(front, story))


def test_all_bodies_together_have_one_bound_and_who_is_over_it_is_told_to_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounds, "BODIES_BYTES_MAX", 3 << 20)
    asked = b"POST /gather HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (2 << 20)

    async def story(keeper: Doorkeeper, connect: Open) -> None:
        first, first_writer = await connect()
        first_writer.write(asked + bytes((2 << 20) - 1))
        await asyncio.sleep(0.1)
        second, second_writer = await connect()
        second_writer.write(asked + bytes(2 << 20))
        assert (await asyncio.wait_for(second.readuntil(b"\r\n\r\n"), 5)).startswith(b"HTTP/1.1 503 ")
        assert keeper.hall.body_bytes < 3 << 20
        first_writer.write(b"x")
        assert (await asyncio.wait_for(first.readuntil(b"/gather"), 5)).startswith(b"HTTP/1.1 200 ")
        second_writer.write(asked + bytes(2 << 20))  # on the same connection: what was refused was read past
        assert (await asyncio.wait_for(second.readuntil(b"/gather"), 5)).startswith(b"HTTP/1.1 200 ")
        for writer in (first_writer, second_writer):
            writer.close()

    uvloop.run(_meet(Recorder(), story))
