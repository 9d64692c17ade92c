"""``Idempotency-Key``: the same request sent again gets the first answer, and is billed once.

The claim is written before the engine hears of a request; an answer up to ``IDEMPOTENT_ANSWER_BYTES_MAX`` is kept for
``IDEMPOTENT_KEPT_S``. Of a longer one, or one that no relay lived to keep, only the outcome is left: its receipt.
Draft: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from openmaas.core.bounds import IDEMPOTENT_KEPT_S
from openmaas.core.clock import Clock
from openmaas.core.errors import IdempotencyKeyReused, IdempotencyOutcome
from openmaas.ledger.law import idempotency, journals


class Claim(msgspec.Struct, frozen=True):
    """Who asks: one key, one idempotency key, one body."""

    key_id: str
    idempotency_key: str
    body_hash: bytes
    request_id: str
    journal_id: str


class Kept(msgspec.Struct, frozen=True):
    """The first answer, to be sent again."""

    request_id: str
    status: int
    content_type: str
    answer: bytes


def claim(tx: sa.Connection, clock: Clock, wanted: Claim) -> Kept | bool:
    """True: the request is ours to run. ``Kept``: it was answered before. False: it is running, ask again.

    Raises ``IdempotencyKeyReused`` for another body and ``IdempotencyOutcome`` when there is no answer to repeat.
    """
    now_ms = clock.wall_ms()
    tx.execute(idempotency.delete().where(idempotency.c.created_ms < now_ms - IDEMPOTENT_KEPT_S * 1000))
    row = tx.execute(sa.select(idempotency).where(_of(wanted))).first()
    if row is None:
        tx.execute(idempotency.insert().values(**msgspec.structs.asdict(wanted), created_ms=now_ms))
        return True
    if row.body_hash != wanted.body_hash:
        raise IdempotencyKeyReused(f"it stands for the request {row.request_id}", field="Idempotency-Key")
    if row.status is not None and row.answer is not None:
        return Kept(row.request_id, row.status, row.content_type, row.answer)
    state = tx.execute(sa.select(journals.c.state).where(journals.c.id == row.journal_id)).scalar()
    if row.status is not None or state != "open":
        raise IdempotencyOutcome(f"see GET /v1/receipts/{row.request_id}", field="Idempotency-Key")
    return False


def keep(tx: sa.Connection, wanted: Claim, status: int, content_type: str, answer: bytes | None) -> None:
    """The claimed request has ended; ``answer`` is None when it cannot be repeated."""
    tx.execute(idempotency.update().where(_of(wanted)).values(status=status, content_type=content_type, answer=answer))


def release(tx: sa.Connection, wanted: Claim) -> None:
    """Nothing was run: the next request with this key may try."""
    tx.execute(idempotency.delete().where(_of(wanted)))


def _of(wanted: Claim) -> sa.ColumnElement[bool]:
    return (idempotency.c.key_id == wanted.key_id) & (idempotency.c.idempotency_key == wanted.idempotency_key)
