"""Receipts: what a request used and cost. Never missing after the last byte has left: what the poster has not posted
yet is read from the journals themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from openmaas.core.errors import ThingUnknown
from openmaas.ledger.journal import Position, read_on
from openmaas.ledger.law import journals, receipts, usage_days
from openmaas.ledger.posting import receipt_row
from openmaas.ledger.records import Closed, Opened
from openmaas.store.database import Database

Row = dict[str, Any]


def find_posted(tx: sa.Connection, request_id: str) -> tuple[Row | None, list[tuple[str, Position]]]:
    """The posted receipt, and where each open journal stood in the same snapshot."""
    row = tx.execute(sa.select(receipts).where(receipts.c.request_id == request_id)).mappings().first()
    tails = tx.execute(
        sa.select(journals.c.id, journals.c.floor_segment, journals.c.floor_offset).where(journals.c.state == "open")
    )
    return (None if row is None else dict(row)), [(id_, Position(segment, offset)) for id_, segment, offset in tails]


def find_journaled(folder: Path, request_id: str, tails: list[tuple[str, Position]]) -> Row | None:
    """The same from the journals' tails: ``status`` is ``journaled``, or ``open`` while the request runs."""
    found: Row | None = None
    for journal_id, at in tails:
        while records := read_on(folder / journal_id, at):
            for record, _ in records:
                if isinstance(record, Closed) and record.opened.request_id == request_id:
                    return {**receipt_row(record, journal_id, None, 0, 0), "status": "journaled"}
                if isinstance(record, Opened) and record.request_id == request_id:
                    opened = {name: getattr(record, name) for name in Opened.__struct_fields__}
                    found = {**opened, "status": "open"}
    return found


async def find(database: Database, folder: Path, request_id: str, organisation_id: str | None) -> Row:
    """The receipt with its ``status``: ``posted``, ``journaled`` or ``open``. With ``organisation_id``, only its own.

    Raises ``ThingUnknown``.
    """
    row, tails = await database.read(find_posted, request_id)
    found = find_journaled(folder, request_id, tails) if row is None else {**row, "status": "posted"}
    if found is None or (organisation_id is not None and found["organisation_id"] != organisation_id):
        raise ThingUnknown(f"there is no receipt for {request_id}", field="request_id")
    return found


def list_receipts(
    tx: sa.Connection, *, organisation_id: str | None, key_id: str | None, model: str | None, after: str, limit: int
) -> list[Row]:
    """Posted receipts, newest first, before ``after`` (a request id; empty to begin)."""
    query = sa.select(receipts).order_by(receipts.c.request_id.desc()).limit(limit)
    wanted = {"organisation_id": organisation_id, "key_id": key_id, "model": model}
    for name, value in wanted.items():
        if value is not None:
            query = query.where(receipts.c[name] == value)
    if after:
        query = query.where(receipts.c.request_id < after)
    return [dict(row) for row in tx.execute(query).mappings()]


def list_usage(
    tx: sa.Connection,
    *,
    by: list[str],
    organisation_id: str | None,
    since_day: str,
    until_day: str,
    offset: int,
    limit: int,
) -> list[Row]:
    """Sums of usage grouped ``by`` any of ``day``, ``organisation_id``, ``project_id``, ``key_id``, ``model``, from
    ``since_day`` to ``until_day`` (both included, UTC), always apart by currency."""
    group = [usage_days.c[name] for name in (*by, "currency")]
    sums = [
        sa.func.sum(usage_days.c[name]).label(name)
        for name in ("requests", "prompt_tokens", "cached_tokens", "completion_tokens", "amount_nanos")
    ]
    query = sa.select(*group, *sums).where(usage_days.c.day.between(since_day, until_day))
    if organisation_id is not None:
        query = query.where(usage_days.c.organisation_id == organisation_id)
    rows = tx.execute(query.group_by(*group).order_by(*group).offset(offset).limit(limit)).mappings()
    return [{name: int(v) if name in sums_names else v for name, v in row.items()} for row in rows]


sums_names = frozenset({"requests", "prompt_tokens", "cached_tokens", "completion_tokens", "amount_nanos"})


def request_ids(tx: sa.Connection) -> list[str]:
    """Every request that has a receipt."""
    return list(tx.execute(sa.select(receipts.c.request_id)).scalars())
