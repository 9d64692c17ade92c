"""Asks the relay, as any client would: HTTP over a private socket, on behalf of whoever pays.

One connection a request; who no longer wants the answer closes it. What the answer means for a job is judged here too,
in one table: whether the answer is final, whether to ask again, whether the whole job must wait or stop.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from enum import Enum

import httptools
import msgspec

from openmaas.core.bounds import ASK_TIMEOUT_S, READ_BYTES


class Told(msgspec.Struct, frozen=True):
    """An answer; ``status`` 0 when none came."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def request_id(self) -> str:
        """The receipt's name."""
        return _called(self.headers)


def _called(headers: dict[bytes, bytes]) -> str:
    return headers.get(b"x-request-id", b"").decode("latin-1")


NOBODY = Told(0, {}, b"")
#: What it is when a relay is not there, breaks off, or takes too long (a TimeoutError is an OSError).
LOST = (OSError, httptools.HttpParserError)


class Verdict(Enum):
    """What an answer means for whoever asked."""

    DONE = "it is the answer"
    FAILED = "it will never be answered otherwise"
    AGAIN = "an engine failed: ask again, not for ever"
    LATER = "nobody could take it: ask again"
    WAIT = "the whole job must wait"
    BROKE = "there is no money for it"
    STOP = "nothing may be asked under this key any more"


class Said(msgspec.Struct):
    """An error, as OpenAI's wire and Zhipu's say it; Anthropic's has no code but a type."""

    message: str = ""
    code: str | int | None = None
    type: str | None = None
    param: str | None = None


class _Outer(msgspec.Struct):
    error: Said = msgspec.field(default_factory=Said)


#: By code, for statuses that mean more than one thing; a code that is not here is judged by its status. Numbers are
#: Zhipu's.
_BY_CODE = {
    "expired_token": Verdict.LATER,
    "missing_scope": Verdict.STOP,
    "insufficient_quota": Verdict.BROKE,
    "budget_exceeded": Verdict.BROKE,
    "plan_exhausted": Verdict.WAIT,
    "request_over_limit": Verdict.FAILED,
    "1113": Verdict.BROKE,
    "1309": Verdict.FAILED,
    "1311": Verdict.FAILED,
}
_BY_STATUS = {
    0: Verdict.LATER,
    200: Verdict.DONE,
    401: Verdict.STOP,
    402: Verdict.BROKE,  # Anthropic's
    408: Verdict.AGAIN,
    429: Verdict.WAIT,
    500: Verdict.AGAIN,
    502: Verdict.AGAIN,
    503: Verdict.LATER,
    504: Verdict.AGAIN,
    529: Verdict.LATER,  # Anthropic's
}


def judge(told: Told) -> tuple[Verdict, float]:
    """The verdict, and for how long the relay says to wait (seconds; 0 when it does not say)."""
    wait_s = 0.0
    if (said := told.headers.get(b"retry-after-ms", b"")).isdigit():
        wait_s = int(said) / 1000
    elif (said := told.headers.get(b"retry-after", b"")).isdigit():
        wait_s = float(said)
    verdict = _BY_STATUS.get(told.status, Verdict.FAILED)
    if told.status not in (0, 200):
        verdict = _BY_CODE.get(error_of(told)[0], verdict)
    return verdict, wait_s


def said_by(told: Told) -> Said:
    """The error that an answer is; empty when it says none."""
    try:
        return msgspec.json.decode(told.body, type=_Outer).error
    except msgspec.MsgspecError:
        return Said()


def error_of(told: Told) -> tuple[str, str]:
    """Code and message of an error."""
    error = said_by(told)
    return str(error.code or error.type or ""), error.message


class Relays:
    """The relays of this house, by their private sockets; each is asked in its turn."""

    def __init__(self, sockets: Sequence[str]) -> None:
        self._turns = itertools.cycle(sockets)

    async def post(self, target: str, token: str, once: str, body: bytes) -> Told:
        """The answer, or ``NOBODY`` when none came. ``once`` is the Idempotency-Key: asked again, it gets the first
        answer, whoever asked and died meanwhile."""
        try:
            async with self.ask(target, token, body, {"idempotency-key": once}) as answer:
                return await answer.whole()
        except LOST:
            return NOBODY

    @asynccontextmanager
    async def ask(self, target: str, token: str, body: bytes, headers: Mapping[str, str]) -> AsyncIterator[Answer]:
        """An answer whose head has come; the rest is there to be read, and the relay is left when the context ends.
        Raises ``LOST`` when the relay is not there, breaks off or takes too long."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = (
            f"POST {target} HTTP/1.1\r\nhost: relay\r\nconnection: close\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {token}\r\n{lines}content-length: {len(body)}\r\n\r\n"
        )
        async with asyncio.timeout(ASK_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(next(self._turns))
            try:
                writer.writelines((head.encode("latin-1"), body))
                answer = Answer(reader)
                await answer.begin()
                yield answer
            finally:
                writer.close()


class Answer:
    """An answer of a relay on its way. Its methods raise ``LOST``."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self.headers: dict[bytes, bytes] = {}
        self._reader = reader
        self._parser = httptools.HttpResponseParser(self)
        self._blocks: list[bytes] = []
        self._begun = self._ended = False

    @property
    def status(self) -> int:
        """The status code."""
        return int(self._parser.get_status_code())

    @property
    def request_id(self) -> str:
        """The receipt's name."""
        return _called(self.headers)

    async def begin(self) -> None:
        """Read the head."""
        while not self._begun:
            await self._read()

    async def blocks(self) -> AsyncIterator[bytes]:
        """The body as it comes."""
        while True:
            block, self._blocks = b"".join(self._blocks), []
            if block:
                yield block
            elif self._ended:
                return
            else:
                await self._read()

    async def whole(self) -> Told:
        """All of it."""
        return Told(self.status, self.headers, b"".join([block async for block in self.blocks()]))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Told by httptools, as are the others."""
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._begun = True

    def on_body(self, block: bytes) -> None:
        """A piece of the body."""
        self._blocks.append(block)

    def on_message_complete(self) -> None:
        """That was all."""
        self._ended = True

    async def _read(self) -> None:
        block = await self._reader.read(READ_BYTES)
        if not block:
            raise ConnectionResetError("the relay broke off")
        self._parser.feed_data(block)
