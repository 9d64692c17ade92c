"""Connections to engines, kept for reuse while they are young."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial

from openmaas.core import bounds
from openmaas.core.clock import Clock
from openmaas.core.errors import EngineFailed, EngineTimedOut, OpenmaasError
from openmaas.relay.upstream.link import Exchange, Link
from openmaas.relay.upstream.place import Headers, Place, Sink


class Pool:
    """All links of a relay."""

    def __init__(self, clock: Clock) -> None:
        self._now_s = clock.mono_s
        self._idle: dict[str, deque[tuple[float, Link]]] = {}
        self._links: set[Link] = set()

    def post(self, link: Link, place: Place, target: bytes, headers: bytes, body: bytes, sink: Sink) -> Exchange:
        """Send a request with a whole body to ``place``, whose connection ``link`` is: several places may share an
        address, and each has header lines of its own."""
        head = place.head(b"POST", target, b"%bcontent-length: %d\r\n" % (headers, len(body)))
        exchange = Exchange(sink)
        exchange.send(link, (head, body), whole=True)
        return exchange

    async def begin(self, place: Place, method: bytes, target: bytes, headers: bytes, sink: Sink) -> Exchange:
        """Send a head whose body follows by ``write``; ``headers`` must frame it. Raises ``EngineFailed``."""
        exchange = Exchange(sink, bodiless=method == b"HEAD")
        exchange.send(await self.connect(place), (place.head(method, target, headers),), whole=False)
        return exchange

    async def get(self, place: Place, target: bytes) -> tuple[int, Headers, bytes]:
        """A small whole answer, within ``PROBE_TIMEOUT_S``. Raises ``EngineFailed``."""
        return await self._whole(place, (place.head(b"GET", target, b""),), bounds.PROBE_TIMEOUT_S)

    async def ask(self, place: Place, target: bytes, body: bytes) -> tuple[int, Headers, bytes]:
        """The whole answer to a question in JSON that costs nobody anything, within ``COUNT_TIMEOUT_S``. Raises
        ``EngineFailed``."""
        headers = b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body)
        return await self._whole(place, (place.head(b"POST", target, headers), body), bounds.COUNT_TIMEOUT_S)

    async def _whole(self, place: Place, parts: tuple[bytes, ...], timeout_s: float) -> tuple[int, Headers, bytes]:
        sink = _Whole()
        exchange = Exchange(sink)
        exchange.send(self.kept(place) or await self.connect(place), parts, whole=True)
        try:
            # In a task of its own: a walk is none, and a time-out needs one.
            return await asyncio.ensure_future(sink.within(timeout_s))
        except TimeoutError:
            raise EngineTimedOut from None
        finally:
            if not exchange.done:
                exchange.abort()

    def kept(self, place: Place) -> Link | None:
        """A connection that an earlier request left, for one more; without one, ``connect`` makes one."""
        idle = self._idle.get(place.key)
        while idle:
            since_s, link = idle.pop()
            if not link.transport.is_closing() and since_s > self._now_s() - bounds.POOL_IDLE_S:
                return link
            link.transport.close()
        return None

    async def connect(self, place: Place) -> Link:
        """A fresh connection. Raises ``EngineFailed`` and ``EngineTimedOut``."""
        try:
            # In a task of its own: a walk is none, and a time-out needs one.
            link = await asyncio.ensure_future(self._connect(place))
        except TimeoutError:
            raise EngineTimedOut("it did not accept a connection") from None
        except OSError as error:
            raise EngineFailed(f"it cannot be reached ({error.strerror or type(error).__name__})") from None
        self._links.add(link)
        return link

    def sweep_once(self) -> None:
        """Close idle connections that are old and fail exchanges that are late."""
        now_s = self._now_s()
        for idle in self._idle.values():
            while idle and idle[0][0] < now_s - bounds.POOL_IDLE_S:
                idle.popleft()[1].transport.close()
        for link in list(self._links):
            if link.exchange is not None and now_s > link.deadline_s:
                link.exchange.fail(EngineTimedOut())

    async def sweep(self) -> None:
        """``sweep_once`` every ``SWEEP_INTERVAL_S`` until cancelled."""
        while True:
            await asyncio.sleep(bounds.SWEEP_INTERVAL_S)
            self.sweep_once()

    def close(self) -> None:
        """Close everything."""
        for link in list(self._links):
            link.transport.close()

    async def _connect(self, place: Place) -> Link:
        loop = asyncio.get_running_loop()
        fresh = partial(self.connect, place)
        link = Link(place, self._now_s, fresh=fresh, keep=self._keep, forget=self._links.discard)
        async with asyncio.timeout(bounds.CONNECT_TIMEOUT_S):
            if place.path:
                await loop.create_unix_connection(lambda: link, place.path)
            else:
                await loop.create_connection(lambda: link, place.host, place.port, ssl=place.tls)
        return link

    def _keep(self, link: Link) -> None:
        idle = self._idle.setdefault(link.place.key, deque())
        if len(idle) >= bounds.POOL_SIZE_MAX:
            link.transport.close()
        else:
            idle.append((self._now_s(), link))


class _Whole:
    """Gathers a small answer."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[tuple[int, Headers, bytes]] = asyncio.get_running_loop().create_future()
        self._status = 0
        self._headers: Headers = []
        self._blocks: list[bytes] = []
        self._size_bytes = 0

    async def within(self, seconds: float) -> tuple[int, Headers, bytes]:
        """The answer. Raises ``TimeoutError``."""
        async with asyncio.timeout(seconds):  # not `wait_for`, which can lose a cancellation before Python 3.12
            return await self.answer

    def head(self, status: int, headers: Headers) -> None:
        self._status, self._headers = status, headers

    def body(self, block: bytes) -> None:
        self._blocks.append(block)
        self._size_bytes += len(block)
        if self._size_bytes > bounds.COUNT_ANSWER_BYTES_MAX:
            self.lost(EngineFailed("its answer was too long"))

    def end(self) -> None:
        if not self.answer.done():
            self.answer.set_result((self._status, self._headers, b"".join(self._blocks)))

    def lost(self, error: OpenmaasError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
