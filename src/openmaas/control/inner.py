"""What a request asks of the relay in its turn, on its customer's behalf, and how the answer is passed on.

The relay admits, holds, bills and journals each inner request as if the customer had sent it; nothing is billed here.
When the customer leaves, the inner request is left too, and its engine stops. Which requests are asked is for others to
know: ``composed`` and ``agents``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from openmaas.control.rooms import Rooms
from openmaas.core.errors import Overloaded
from openmaas.core.parents import REQUEST
from openmaas.identity.behalf import mint_inner
from openmaas.identity.face import Caller
from openmaas.work.asking import LOST, Answer, Told

#: What the inner request has of the outer one.
_PASSED_ON = ("accept-language", "accept")
#: Of one connection, not of the answer (RFC 9110 §7.6.1); the length may change.
_OWN = frozenset((b"connection", b"content-length", b"transfer-encoding", b"date", b"server"))
_ONCE = "idempotency-key"


class Inner:
    """The inner requests of ``outer``, which ``who`` sent. They are known by its id (``parent_id``), and none is
    composed again: the token that they come with is a job's, and the control plane takes none. ``once`` is the
    Idempotency-Key of the outer one, or empty."""

    def __init__(self, rooms: Rooms, who: Caller, outer: Request) -> None:
        self._relays = rooms.relays
        self.parent_id = outer.headers.get("x-request-id") or rooms.clock.new_id(REQUEST)
        self.once = outer.headers.get(_ONCE, "")
        self._headers = {name: outer.headers[name] for name in _PASSED_ON if name in outer.headers}
        ids = who.organisation_id, who.project_id, who.key_id
        self._token = mint_inner(rooms.master, ids, self.parent_id, rooms.clock.wall_ms())

    @asynccontextmanager
    async def ask(self, path: str, body: bytes, part: str = "") -> AsyncIterator[Answer]:
        """An answer of the relay. ``part`` tells the inner requests of one outer one apart, when that has an
        Idempotency-Key: sent again, each of them gets its first answer. Raises ``Overloaded``, and ``LOST`` for an
        answer that breaks off."""
        headers = self._headers | ({_ONCE: self.once + part} if self.once else {})
        begun = False
        try:
            async with self._relays.ask(path, self._token, body, headers) as answer:
                begun = True
                yield answer
        except LOST:
            if begun:
                raise
            raise Overloaded("no relay answers", retry_after_s=1) from None

    async def whole(self, path: str, body: bytes, part: str = "") -> Told:
        """The same, when all of it is there. Raises ``Overloaded``."""
        async with self.ask(path, body, part) as answer:
            return await whole(answer)


async def whole(answer: Answer) -> Told:
    """All of an answer, of which the customer has seen nothing yet. Raises ``Overloaded``."""
    try:
        return await answer.whole()
    except LOST:
        raise Overloaded("a relay broke off", retry_after_s=1) from None


class Teller:
    """Tells a customer an answer."""

    def __init__(self, send: Send) -> None:
        self._send = send

    async def begin(self, answer: Answer) -> None:
        """The head of an inner answer, whose body may become another one."""
        await self._head(answer.status, answer.headers)

    async def say(self, block: bytes) -> None:
        """The next bytes; waits while the customer takes none."""
        if block:
            await self._send({"type": "http.response.body", "body": block, "more_body": True})

    async def end(self) -> None:
        """That was all."""
        await self._send({"type": "http.response.body", "body": b""})

    async def whole(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> None:
        """A whole answer."""
        await self._head(status, headers, (b"content-length", b"%d" % len(body)))
        await self._send({"type": "http.response.body", "body": body})

    async def pass_on(self, answer: Answer, change: Callable[[bytes], bytes] = bytes) -> None:
        """An inner answer as it is, or its body in blocks that ``change`` has changed."""
        await self.begin(answer)
        async for block in answer.blocks():
            await self.say(change(block))
        await self.end()

    async def _head(self, status: int, headers: Mapping[bytes, bytes], *more: tuple[bytes, bytes]) -> None:
        kept = [(name, value) for name, value in headers.items() if name not in _OWN]
        await self._send({"type": "http.response.start", "status": status, "headers": [*kept, *more]})


class Attended(Response):
    """An answer that is made while its customer waits, and is given up when they leave."""

    def __init__(self, tell: Callable[[Teller], Awaitable[None]]) -> None:
        super().__init__()
        self._tell = tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Part of ASGI."""
        telling = asyncio.ensure_future(self._tell(Teller(send)))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait((telling, leaving), return_when=asyncio.FIRST_COMPLETED)
            if telling.done():
                telling.result()
        finally:
            for each in (telling, leaving):
                each.cancel()
            await asyncio.gather(telling, leaving, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
