"""Forgetting what nobody asks for any more, so that a ledger that works for years does not grow in its corners.

Called by the poster, beside living relays, when all that could be posted is. Every bound has a name and a reason in
``core/bounds.py``; receipts, transfers and prices are never forgotten. Folders go before their rows, so that a crash in
between leaves something that the next call finds again.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import sqlalchemy as sa

from openmaas.core.bounds import JOURNAL_KEPT_S, JOURNAL_STRAY_S
from openmaas.ledger.law import journals
from openmaas.ledger.writing import idempotency
from openmaas.ledger.writing.journal import segment_path
from openmaas.store import changes
from openmaas.store.database import Database
from openmaas.store.files import lock


def forget_rows(database: Database, now_ms: int) -> None:
    """Repetitions that are over, and changes that every follower has heard of."""

    def forget(tx: sa.Connection) -> None:
        idempotency.forget(tx, now_ms)
        changes.forget(tx)

    database.call(forget)


def forget_journals(database: Database, folder: Path, now_ms: int) -> None:
    """Journals that were posted long ago. One that was written off leaves its row: that is the record of it."""
    replayed: list[str] = []
    for journal_id, state in database.look(_old, now_ms - JOURNAL_KEPT_S * 1000):
        shutil.rmtree(folder / journal_id, ignore_errors=True)
        if state == "replayed" and not (folder / journal_id).exists():
            replayed.append(journal_id)
    if replayed:
        database.call(_delete, replayed)


def forget_segments(folder: Path, journal_id: str, floor_segment: int) -> None:
    """The segments of a living relay's journal that were posted long ago."""
    number = floor_segment - 1
    while number > 0 and (path := segment_path(folder / journal_id, number)).exists():
        if time.time() - path.stat().st_mtime > JOURNAL_KEPT_S:
            path.unlink()
        number -= 1


def forget_strays(database: Database, folder: Path) -> None:
    """Folders of relays that died before they had registered their journal: nothing can have been opened there.

    A relay makes its folder, locks it, and then registers it. So a folder that is old, whose lock is free and that the
    database does not know *after* we hold the lock will never be known.
    """
    before_s = time.time() - JOURNAL_STRAY_S
    known = set(database.look(_known))
    for stray in folder.iterdir() if folder.is_dir() else ():
        if stray.name in known or stray.stat().st_mtime > before_s or (held := lock(stray / "lock")) is None:
            continue
        try:
            if stray.name not in database.look(_known):
                shutil.rmtree(stray, ignore_errors=True)
        finally:
            os.close(held)


def _old(tx: sa.Connection, before_ms: int) -> list[tuple[str, str]]:
    query = sa.select(journals.c.id, journals.c.state)
    old = query.where(journals.c.state != "open", journals.c.started_ms < before_ms)
    return [(row.id, row.state) for row in tx.execute(old)]


def _delete(tx: sa.Connection, journal_ids: list[str]) -> None:
    one = journals.delete().where(journals.c.id == sa.bindparam("gone"))
    tx.execute(one, [{"gone": journal_id} for journal_id in journal_ids])


def _known(tx: sa.Connection) -> list[str]:
    return list(tx.execute(sa.select(journals.c.id)).scalars())
