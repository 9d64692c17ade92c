"""``Idempotency-Key`` on inference: a request sent again gets the first answer and is billed once.

Without the header this costs nothing. With it, the claim stands in the database before the engine hears of the
request, and the answer before its last byte leaves. When the database is out at that moment, the answer leaves all the
same, and ``Late`` writes what became of the request as soon as it can.
"""

from __future__ import annotations

import asyncio
import hashlib
from types import TracebackType

import msgspec
import sqlalchemy as sa

from openmaas.core.bounds import (
    IDEMPOTENCY_KEY_BYTES_MAX,
    IDEMPOTENT_ANSWER_BYTES_MAX,
    IDEMPOTENT_JOB_BYTES_MAX,
    IDEMPOTENT_POLL_S,
    IDEMPOTENT_WAIT_S,
)
from openmaas.core.clock import Clock
from openmaas.core.errors import FieldInvalid, Overloaded
from openmaas.identity.face import Caller
from openmaas.ledger.writing.idempotency import Claim, Kept, claim, keep, release
from openmaas.relay.door.message import Answer, Request
from openmaas.relay.flow import Flow
from openmaas.relay.late import Late
from openmaas.store.database import Database

HEADER = b"idempotency-key"


class Ended(msgspec.Struct, frozen=True):
    """What became of a claimed request; ``status`` None: nothing was run, and ``answer`` None: it is not kept."""

    claim: Claim
    status: int | None = None
    content_type: str = ""
    answer: bytes | None = None

    @property
    def size_bytes(self) -> int:
        """See ``Writing``."""
        return len(self.answer or b"")

    def lighter(self) -> Ended:
        """Without the answer: that it was paid for is not given up."""
        return msgspec.structs.replace(self, answer=None)

    def __str__(self) -> str:
        return f"how {self.claim.request_id} ended"

    def write(self, tx: sa.Connection) -> None:
        """Write it into the claim."""
        if self.status is None:
            release(tx, self.claim)
        else:
            keep(tx, self.claim, self.status, self.content_type, self.answer)


class Repeats:
    """Makes a ``Repeat`` of each request; ``late`` writes how it ended, when the database can take it."""

    def __init__(self, database: Database, clock: Clock, journal_id: str, late: Late) -> None:
        self.database = database
        self.clock = clock
        self.journal_id = journal_id
        self.late = late

    def claim(self, request: Request, answer: Answer, caller: Caller, request_id: str) -> Repeat:
        """The repeatable form of a request that has the header. Raises ``FieldInvalid`` for an overlong key."""
        sent = request.head.headers[HEADER]
        if not 0 < len(sent) <= IDEMPOTENCY_KEY_BYTES_MAX:
            raise FieldInvalid(
                f"Idempotency-Key must have 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes", field="Idempotency-Key"
            )
        digest = hashlib.sha256(request.head.path.encode() + b"\0" + request.body).digest()
        wanted = Claim(caller.key_id, sent.decode("latin-1"), digest, request_id, self.journal_id)
        return Repeat(self, answer, wanted)


class Repeat:
    """One request that may be sent again. ``answered`` says that the first answer was sent in its place."""

    def __init__(self, repeats: Repeats, answer: Answer, wanted: Claim) -> None:
        self.answered = False
        self._flow: Flow | None = None  # once it has charged something, a repetition must not run again
        self._wanted = wanted
        self._repeats = repeats
        self._answer = answer
        self._ended = False

    async def __aenter__(self) -> Repeat:
        first = await self._first()
        if first is not None:
            self.answered = self._ended = True
            told = f"content-type: {first.content_type}\r\nx-request-id: {first.request_id}\r\n"
            self._answer.whole(first.status, told.encode() + b"idempotent-replayed: true\r\n", first.answer)
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._ended:
            return
        ran = self._flow is not None and self._flow.charged
        await self._repeats.late.write(Ended(self._wanted, 0 if ran else None))

    def record(self, flow: Flow) -> None:
        """Keep a copy of what the client is told."""
        self._flow = flow
        flow.record(IDEMPOTENT_JOB_BYTES_MAX if self._answer.stays else IDEMPOTENT_ANSWER_BYTES_MAX)

    async def keep(self, flow: Flow) -> None:
        """Keep the answer that ``flow`` is about to end. Call before its last byte leaves."""
        self._ended = True
        content_type, body = flow.transcript()
        await self._repeats.late.write(Ended(self._wanted, 200, content_type, None if self._answer.gone else body))

    async def _first(self) -> Kept | None:
        """None when the request is ours to run; waits while the first one runs."""
        clock, database = self._repeats.clock, self._repeats.database
        deadline_s = clock.mono_s() + IDEMPOTENT_WAIT_S
        while not self._answer.gone:
            found = await database.run(claim, clock, self._wanted)
            if isinstance(found, Kept):
                return found
            if found:
                return None
            if clock.mono_s() > deadline_s:
                break
            await asyncio.sleep(IDEMPOTENT_POLL_S)
        raise Overloaded("the first request with this Idempotency-Key still runs", retry_after_s=5)
