"""``Idempotency-Key``: the same request sent again gets the first answer, and is billed once.

The claim is written before the engine hears of a request; an answer up to ``IDEMPOTENT_ANSWER_BYTES_MAX`` is kept for
``IDEMPOTENT_KEPT_S``. Of a longer one, or one that no relay lived to keep, only the outcome is left: its receipt. A
claim whose relay died before it had run anything is as good as none, and so is one of a job, which is not charged then.
Draft: https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from openmaas.core.bounds import IDEMPOTENT_KEPT_S
from openmaas.core.clock import Clock
from openmaas.core.errors import IdempotencyKeyReused, IdempotencyOutcome
from openmaas.core.parents import comes_back
from openmaas.ledger.law import idempotency, journals, receipts

#: As text, which SQLite and PostgreSQL read alike. Of two that claim at the same moment one inserts nothing, and waits.
_INSERT = sa.text(
    "INSERT INTO idempotency (key_id, idempotency_key, body_hash, request_id, journal_id, created_ms) "
    "VALUES (:key_id, :idempotency_key, :body_hash, :request_id, :journal_id, :created_ms) ON CONFLICT DO NOTHING"
)


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
    row = tx.execute(sa.select(idempotency).where(_key(wanted))).first()
    if row is not None and (row.created_ms < _kept_since(now_ms) or _ran_nothing(tx, row)):
        tx.execute(idempotency.delete().where(_key(wanted)))
        row = None
    if row is None:
        return tx.execute(_INSERT, {**msgspec.structs.asdict(wanted), "created_ms": now_ms}).rowcount == 1
    if row.body_hash != wanted.body_hash:
        raise IdempotencyKeyReused(f"it stands for the request {row.request_id}", field="Idempotency-Key")
    if row.status is not None and row.answer is not None:
        return Kept(row.request_id, row.status, row.content_type, row.answer)
    if row.status is not None or not _lives(tx, row.journal_id):
        raise IdempotencyOutcome(f"see GET /v1/receipts/{row.request_id}", field="Idempotency-Key")
    return False


def keep(tx: sa.Connection, wanted: Claim, status: int, content_type: str, answer: bytes | None) -> None:
    """The claimed request has ended; ``answer`` is None when it cannot be repeated."""
    tx.execute(idempotency.update().where(_own(wanted)).values(status=status, content_type=content_type, answer=answer))


def release(tx: sa.Connection, wanted: Claim) -> None:
    """Nothing was run: the next request with this key may try."""
    tx.execute(idempotency.delete().where(_own(wanted)))


def answered_of(tx: sa.Connection, request_ids: list[str]) -> set[str]:
    """Those whose answer is kept, though nobody lived to close them. Looked for once a relay has died."""
    query = sa.select(idempotency.c.request_id).where(idempotency.c.status.is_not(None))
    return set(tx.execute(query.where(idempotency.c.request_id.in_(request_ids))).scalars()) if request_ids else set()


def forget_job(tx: sa.Connection, key_id: str, job_id: str) -> None:
    """A job is over: nobody asks for the answers to its requests any more, whose keys are ``<job>:<number>``."""
    of_job = idempotency.c.idempotency_key.startswith(f"{job_id}:", autoescape=True)
    tx.execute(idempotency.delete().where(idempotency.c.key_id == key_id, of_job))


def forget(tx: sa.Connection, now_ms: int) -> None:
    """Remove what was kept for ``IDEMPOTENT_KEPT_S``, answers and all."""
    tx.execute(idempotency.delete().where(idempotency.c.created_ms < _kept_since(now_ms)))


def _kept_since(now_ms: int) -> int:
    return now_ms - IDEMPOTENT_KEPT_S * 1000


def _ran_nothing(tx: sa.Connection, row: sa.Row[tuple[Any, ...]]) -> bool:
    """True when the relay of a claim was posted to its end and left no receipt: it died before its ``opened``. Or it
    left one of a job, which paid nothing."""
    if row.status is not None or _lives(tx, row.journal_id):
        return False
    query = sa.select(receipts.c.job_id, receipts.c.outcome).where(receipts.c.request_id == row.request_id)
    receipt = tx.execute(query).first()
    return receipt is None or (comes_back(receipt.job_id or "") and receipt.outcome == "orphaned")


def _lives(tx: sa.Connection, journal_id: str) -> bool:
    """True while the relay of this journal may still write, or what it wrote is not all posted."""
    return tx.execute(sa.select(journals.c.state).where(journals.c.id == journal_id)).scalar() == "open"


def _own(wanted: Claim) -> sa.ColumnElement[bool]:
    return _key(wanted) & (idempotency.c.request_id == wanted.request_id)


def _key(wanted: Claim) -> sa.ColumnElement[bool]:
    return (idempotency.c.key_id == wanted.key_id) & (idempotency.c.idempotency_key == wanted.idempotency_key)
