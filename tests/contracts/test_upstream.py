"""The engine's side of the relay, against small real servers that behave and misbehave as engines do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from openmaas.core.bounds import CLOSED_NOTICE_S, PROBE_INTERVAL_S
from openmaas.core.clock import Clock
from openmaas.core.errors import EngineFailed, OpenmaasError
from openmaas.relay.lines.replica import Replica
from openmaas.relay.lines.replicas import Replicas
from openmaas.relay.upstream.link import Exchange
from openmaas.relay.upstream.place import Headers, Place
from openmaas.relay.upstream.pool import Pool

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Told:
    """A sink that notes what it was told."""

    def __init__(self) -> None:
        self.status = 0
        self.block = b""
        self.error: OpenmaasError | None = None
        self.over = asyncio.Event()

    def head(self, status: int, _headers: Headers) -> None:
        self.status = status

    def body(self, block: bytes) -> None:
        self.block += block

    def end(self) -> None:
        self.over.set()

    def lost(self, error: OpenmaasError) -> None:
        self.error = error
        self.over.set()


class Engine:
    """A server on a Unix socket; ``handler`` is called with each connection."""

    def __init__(self, path: Path, handler: Handler) -> None:
        self.connections = 0
        self.place = Place(path=str(path))
        self._handler = handler

    async def __aenter__(self) -> Engine:
        self._server = await asyncio.start_unix_server(self._serve, self.place.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._handler(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def request(reader: asyncio.StreamReader, length: int = 2) -> None:
    """Read a head and a body of ``length`` bytes."""
    await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(length)


async def ask(pool: Pool, place: Place, body: bytes = b"{}") -> Told:
    told = Told()
    pool.post(pool.kept(place) or await pool.connect(place), place, b"/", b"", body, told)
    await asyncio.wait_for(told.over.wait(), 10)
    return told


def run(path: Path, handler: Handler, story: Callable[[Pool, Engine], Awaitable[None]]) -> None:
    """Play ``story`` with a pool and an engine that does as ``handler`` says."""

    async def play() -> None:
        pool = Pool(Clock())
        async with Engine(path / "e.sock", handler) as engine:
            await story(pool, engine)
            pool.close()
            await asyncio.sleep(0.01)

    asyncio.run(play())


def test_requests_one_after_the_other_share_a_connection(tmp_path: Path) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request(reader)
            writer.write(OK)

    async def story(pool: Pool, engine: Engine) -> None:
        for _ in range(5):
            assert (await ask(pool, engine.place)).block == b"ok"
        assert engine.connections == 1

    run(tmp_path, handler, story)


def test_a_connection_that_the_engine_means_to_close_is_not_kept(tmp_path: Path) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(OK.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
        await reader.read()

    async def story(pool: Pool, engine: Engine) -> None:
        for _ in range(3):
            assert (await ask(pool, engine.place)).block == b"ok"
        assert engine.connections == 3

    run(tmp_path, handler, story)


def test_a_kept_connection_that_was_closed_meanwhile_costs_nothing_but_a_new_one(tmp_path: Path) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(OK)
        await request(reader)  # and closes without a word

    async def story(pool: Pool, engine: Engine) -> None:
        assert (await ask(pool, engine.place)).block == b"ok"
        again = await ask(pool, engine.place)
        assert (again.block, again.error) == (b"ok", None)
        assert engine.connections == 2

    run(tmp_path, handler, story)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n"], ids=["it closes later", "it begins to answer"])
def test_what_an_engine_may_have_begun_is_not_asked_again(tmp_path: Path, said: bytes) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(OK)
        await request(reader)
        writer.write(said)
        await asyncio.sleep(0 if said else CLOSED_NOTICE_S + 0.2)  # it works on it, and dies of it

    async def story(pool: Pool, engine: Engine) -> None:
        assert (await ask(pool, engine.place)).block == b"ok"
        assert isinstance((await ask(pool, engine.place)).error, EngineFailed)
        assert engine.connections == 1

    run(tmp_path, handler, story)


def test_a_request_is_written_again_once_and_not_more(tmp_path: Path) -> None:
    asked = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        while True:
            await request(reader)
            asked += 1
            if asked > 1:
                return  # every request but the first ends its connection
            writer.write(OK)

    async def story(pool: Pool, engine: Engine) -> None:
        assert (await ask(pool, engine.place)).block == b"ok"
        assert isinstance((await ask(pool, engine.place)).error, EngineFailed)
        assert (asked, engine.connections) == (3, 2)

    run(tmp_path, handler, story)


def test_a_hanging_engine_does_not_delay_what_is_known_of_another(tmp_path: Path) -> None:
    async def healthy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK)

    async def hanging(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def story() -> None:
        pool = Pool(Clock())
        replicas = Replicas(pool, Clock())
        async with Engine(tmp_path / "hanging.sock", hanging) as stalled:
            good = Engine(tmp_path / "good.sock", healthy)
            places = {"stalled": stalled.place, "good": good.place}
            made = {name: Replica(name, name, place, 1, local=True) for name, place in places.items()}
            replicas.renew({name: [replica] for name, replica in made.items()})
            probing = asyncio.ensure_future(replicas.probe())
            await asyncio.sleep(2 * PROBE_INTERVAL_S)
            assert not made["good"].ready
            async with good:
                await asyncio.sleep(3 * PROBE_INTERVAL_S)
                assert made["good"].ready
                assert not made["stalled"].ready
            assert stalled.connections == 1  # it is not asked again before it has answered
            probing.cancel()
            await asyncio.wait([probing])
            pool.close()
            await asyncio.sleep(0.01)

    asyncio.run(story())


def test_a_fresh_connection_that_breaks_is_not_tried_again(tmp_path: Path) -> None:
    async def handler(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await request(reader)

    async def story(pool: Pool, engine: Engine) -> None:
        assert isinstance((await ask(pool, engine.place)).error, EngineFailed)
        assert engine.connections == 1

    run(tmp_path, handler, story)


def test_a_connection_that_is_lost_before_anything_was_written_fails_the_request(tmp_path: Path) -> None:
    """An engine killed between its accepting and our writing: nobody would ever tell a request that is sent there."""

    async def leave(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None: ...

    async def story(pool: Pool, engine: Engine) -> None:
        link, told = await pool.connect(engine.place), Told()
        while not link.lost:
            await asyncio.sleep(0.01)
        Exchange(told).send(link, (b"POST / HTTP/1.1\r\n\r\n",), whole=True)
        await asyncio.wait_for(told.over.wait(), 10)
        assert isinstance(told.error, EngineFailed)

    run(tmp_path, leave, story)


@pytest.mark.parametrize(
    ("answer", "block"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n", b"ok"),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
    ],
    ids=["an interim answer", "chunks", "until it closes"],
)
@pytest.mark.parametrize("step", [1, 7, 1_000])
def test_an_answer_is_whole_however_it_is_framed_and_cut(
    tmp_path: Path, answer: bytes, block: bytes, step: int
) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        for at in range(0, len(answer), step):
            writer.write(answer[at : at + step])
            await writer.drain()
            await asyncio.sleep(0)

    async def story(pool: Pool, engine: Engine) -> None:
        told = await ask(pool, engine.place)
        assert (told.status, told.block, told.error) == (200, block, None)

    run(tmp_path, handler, story)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok", b"hello\r\n\r\n", b""])
def test_half_an_answer_is_a_failure(tmp_path: Path, answer: bytes) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(answer)

    async def story(pool: Pool, engine: Engine) -> None:
        assert isinstance((await ask(pool, engine.place)).error, EngineFailed)

    run(tmp_path, handler, story)


def test_a_cancelled_engine_still_says_its_last_word(tmp_path: Path) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        assert await reader.read() == b""  # our side is closed
        writer.write(b"5\r\ncount\r\n0\r\n\r\n")

    async def story(pool: Pool, engine: Engine) -> None:
        told = Told()
        exchange = pool.post(await pool.connect(engine.place), engine.place, b"/", b"", b"{}", told)
        while not told.block:
            await asyncio.sleep(0.001)
        exchange.cancel()
        await asyncio.wait_for(told.over.wait(), 10)
        assert (told.block, told.error) == (b"onecount", None)

    run(tmp_path, handler, story)


def test_an_engine_that_answers_before_it_has_read_all_is_not_asked_again_on_that_connection(tmp_path: Path) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await asyncio.sleep(5)

    async def story(pool: Pool, engine: Engine) -> None:
        assert (await ask(pool, engine.place, bytes(8 * 1024 * 1024))).block == b"ok"
        assert (await ask(pool, engine.place)).block == b"ok"
        assert engine.connections == 2

    run(tmp_path, handler, story)


def test_nobody_there_is_said_in_words(tmp_path: Path) -> None:
    async def story() -> None:
        with pytest.raises(EngineFailed, match="cannot be reached"):
            await ask(Pool(Clock()), Place(path=str(tmp_path / "nobody.sock")))

    asyncio.run(story())
