"""Answers that are kept because their caller asked, and conversations that go on from one.

What came before is read before anything is held, so the hold covers it; the answer is written before its last byte
leaves, so that whoever goes on from it finds it, at any relay. When the database is out at that moment the answer
leaves all the same and is written as soon as it can be (``Late``): it was paid for.
"""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from openmaas.core.bounds import RESPONSE_ASKED_BYTES_MAX
from openmaas.core.errors import PreviousUnknown, TooLarge
from openmaas.dialects.dialect import Ask
from openmaas.identity.face import Caller
from openmaas.ledger.writing.records import Opened
from openmaas.relay.flow import Flow
from openmaas.relay.late import Late, Writing
from openmaas.responses.book import Kept, keep
from openmaas.responses.face import Archive


class Keeping:
    """Looks up and keeps, in ``archive``."""

    def __init__(self, archive: Archive, late: Late) -> None:
        self._archive = archive
        self._late = late

    async def recall(self, ask: Ask, caller: Caller) -> None:
        """Put what came before in front of ``ask``, and settle whether its answer is kept: never where the operator or
        the project keeps none, and the answer says so. Raises ``PreviousUnknown``, ``TooLarge``, ``StoreFailed``."""
        memory = ask.memory
        if memory is None or not (memory.follows or memory.keeps):
            return
        memory.term_ms = await self._archive.term_ms(caller.project_id)
        if memory.follows:
            if not memory.term_ms:
                raise PreviousUnknown("no responses are kept here", field="previous_response_id")
            memory.follow(await self._archive.chain(caller.project_id, memory.follows))
        memory.keeps = memory.keeps and memory.term_ms > 0
        if memory.keeps and len(memory.asked) > RESPONSE_ASKED_BYTES_MAX:
            raise TooLarge(f"input that is to be kept may have {RESPONSE_ASKED_BYTES_MAX} bytes", field="store")

    async def keep(self, ask: Ask, opened: Opened, flow: Flow) -> None:
        """Keep the answer that is about to end, when it is to be kept: not one whose client left before its end."""
        memory = ask.memory
        if memory is None or not memory.keeps or flow.gone:
            return
        kept = Kept(
            memory.answer_id,
            opened.organisation_id,
            opened.project_id,
            memory.follows or None,
            opened.opened_ms,
            opened.opened_ms + memory.term_ms,
            memory.asked,
            memory.answer,
        )
        await self._late.write(_Answered(kept))


class _Answered(msgspec.Struct, frozen=True):
    kept: Kept

    @property
    def size_bytes(self) -> int:
        return len(self.kept.asked) + len(self.kept.answer)

    def write(self, tx: sa.Connection) -> None:
        keep(tx, self.kept)

    def lighter(self) -> Writing | None:
        return None

    def __str__(self) -> str:
        return self.kept.id
