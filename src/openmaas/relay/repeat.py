"""``Idempotency-Key`` on inference: a request sent again gets the first answer and is billed once.

Without the header this costs nothing. With it, the claim stands in the database before the engine hears of the
request, and the answer before its last byte leaves.
"""

from __future__ import annotations

import asyncio
import hashlib
from types import TracebackType

from openmaas.core.bounds import (
    IDEMPOTENCY_KEY_BYTES_MAX,
    IDEMPOTENT_ANSWER_BYTES_MAX,
    IDEMPOTENT_POLL_S,
    IDEMPOTENT_WAIT_S,
)
from openmaas.core.clock import Clock
from openmaas.core.errors import FieldInvalid, Overloaded
from openmaas.identity.face import Caller
from openmaas.ledger.idempotency import Claim, Kept, claim, keep, release
from openmaas.relay.door import Answer, Request
from openmaas.relay.flow import Flow
from openmaas.store.database import Database


class Repeats:
    """Makes a ``Repeat`` of each request."""

    def __init__(self, database: Database, clock: Clock, journal_id: str) -> None:
        self.database = database
        self.clock = clock
        self.journal_id = journal_id

    def claim(self, request: Request, answer: Answer, caller: Caller, request_id: str) -> Repeat:
        """The repeatable form of a request. Raises ``FieldInvalid`` for an overlong key."""
        sent = request.headers.get(b"idempotency-key")
        if sent is None:
            return Repeat(self, answer, None)
        if not 0 < len(sent) <= IDEMPOTENCY_KEY_BYTES_MAX:
            raise FieldInvalid(
                f"Idempotency-Key must have 1 to {IDEMPOTENCY_KEY_BYTES_MAX} bytes", field="Idempotency-Key"
            )
        digest = hashlib.sha256(request.path.encode() + b"\0" + request.body).digest()
        wanted = Claim(caller.key_id, sent.decode("latin-1"), digest, request_id, self.journal_id)
        return Repeat(self, answer, wanted)


class Repeat:
    """One request that may be sent again. ``answered`` says that the first answer was sent in its place."""

    def __init__(self, repeats: Repeats, answer: Answer, wanted: Claim | None) -> None:
        self.answered = False
        self.ran = False  # set once something may be billed: then a repetition must not run again
        self.wanted = wanted
        self._repeats = repeats
        self._answer = answer
        self._ended = False

    async def __aenter__(self) -> Repeat:
        if self.wanted is not None:
            first = await self._first(self.wanted)
            if first is not None:
                self.answered = self._ended = True
                told = f"content-type: {first.content_type}\r\nx-request-id: {first.request_id}\r\n"
                self._answer.whole(first.status, told.encode() + b"idempotent-replayed: true\r\n", first.answer)
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self.wanted is None or self._ended:
            return
        if self.ran:
            await self._repeats.database.run(keep, self.wanted, 0, "", None)
        else:
            await self._repeats.database.run(release, self.wanted)

    async def keep(self, flow: Flow) -> None:
        """Keep the answer that ``flow`` is about to end. Call before its last byte leaves."""
        if self.wanted is None:
            return
        self._ended = True
        content_type, body = flow.transcript()
        whole = not self._answer.gone and len(body) <= IDEMPOTENT_ANSWER_BYTES_MAX
        await self._repeats.database.run(keep, self.wanted, 200, content_type, body if whole else None)

    async def _first(self, wanted: Claim) -> Kept | None:
        """None when the request is ours to run; waits while the first one runs."""
        clock, database = self._repeats.clock, self._repeats.database
        deadline_s = clock.mono_s() + IDEMPOTENT_WAIT_S
        while not self._answer.gone:
            found = await database.run(claim, clock, wanted)
            if isinstance(found, Kept):
                return found
            if found:
                return None
            if clock.mono_s() > deadline_s:
                break
            await asyncio.sleep(IDEMPOTENT_POLL_S)
        raise Overloaded("the first request with this Idempotency-Key still runs", retry_after_s=5)
