"""Receipts: what a request used and cost. Never missing after the last byte has left: what the poster has not posted
yet is read from the journals themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from openmaas.core.bounds import RECEIPT_POLL_S, RECEIPT_WAIT_S
from openmaas.core.errors import ThingUnknown
from openmaas.core.usage import UNITS
from openmaas.ledger.law import corrections, journals, receipts, usage_days
from openmaas.ledger.posting.rows import charge_rows, charges_of, receipt_row
from openmaas.ledger.selling.explaining import explain
from openmaas.ledger.writing.journal import Position, read_on
from openmaas.ledger.writing.records import Closed, Opened
from openmaas.store.database import Database

Row = dict[str, Any]


def find_posted(tx: sa.Connection, request_id: str) -> tuple[Row | None, list[tuple[str, Position]]]:
    """The posted receipt, and where each open journal stood in the same snapshot."""
    row = tx.execute(sa.select(receipts).where(receipts.c.request_id == request_id)).mappings().first()
    here = (journals.c.state == "open") & (journals.c.home != "")
    tails = tx.execute(sa.select(journals.c.id, journals.c.floor_segment, journals.c.floor_offset).where(here))
    found = None
    if row is not None:
        found = {**row, "charges": _lines(dict(line) for line in tx.execute(charges_of([request_id])).mappings())}
        found["corrections"] = _corrections(tx, request_id)
        found["explanation"] = explain(tx, found)
    return found, [(id_, Position(segment, offset)) for id_, segment, offset in tails]


def _lines(rows: Iterable[Mapping[str, Any]]) -> list[Row]:
    """What each account paid or counted, in order."""
    hidden = ("request_id", "transfer_id")
    rows = sorted(rows, key=lambda row: (row["leg"], row["part"]))
    return [{name: value for name, value in row.items() if name not in hidden} for row in rows]


def _corrections(tx: sa.Connection, request_id: str) -> list[Row]:
    """What was given back (above 0) or taken later, after a price was corrected, in order."""
    names = ("account_id", "price_version", "change_nanos", "at_ms")
    query = sa.select(*(corrections.c[name] for name in names)).where(corrections.c.request_id == request_id)
    rows = tx.execute(query.order_by(corrections.c.price_version, corrections.c.account_id)).mappings()
    return [dict(row) for row in rows]


def find_journaled(folder: Path, request_id: str, tails: list[tuple[str, Position]]) -> Row | None:
    """The same from the journals' tails: ``status`` is ``journaled``, or ``open`` while the request runs."""
    found: Row | None = None
    for journal_id, at in tails:
        while records := read_on(folder / journal_id, at):
            for record, _ in records:
                if isinstance(record, Closed) and record.opened.request_id == request_id:
                    lines = _lines(charge_rows(record))
                    return {**receipt_row(record, journal_id, 0, 0), "charges": lines, "status": "journaled"}
                if isinstance(record, Opened) and record.request_id == request_id:
                    opened = {name: getattr(record, name) for name in Opened.__struct_fields__ if name != "legs"}
                    found = {**opened, "status": "open"}
    return found


class Finder:
    """Finds one receipt, wherever it is. Journals are read in a thread, for one caller at a time: who asks for receipts
    that do not exist slows down who does the same, and nobody else."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._folder = folder
        self._reading = asyncio.Lock()

    async def find(self, request_id: str, organisation_id: str | None) -> Row:
        """The receipt with its ``status``: ``posted``, ``journaled`` or ``open``. With ``organisation_id``, only its
        own. Raises ``ThingUnknown``."""
        row, _ = await self._database.read(find_posted, request_id)
        found = await self._read_journals(request_id) if row is None else {**row, "status": "posted"}
        if found is None or (organisation_id is not None and found["organisation_id"] != organisation_id):
            raise ThingUnknown(f"there is no receipt for {request_id}", field="request_id")
        return found

    async def _read_journals(self, request_id: str) -> Row | None:
        async with self._reading:
            row, tails = await self._database.read(find_posted, request_id)  # again: we may have waited
            if row is not None:
                return {**row, "status": "posted"}
            found = await asyncio.to_thread(find_journaled, self._folder, request_id, tails)
        elsewhere = [life for life, _ in tails if not (self._folder / life).exists()]
        return await self._posted_soon(request_id) if found is None and elsewhere else found

    async def _posted_soon(self, request_id: str) -> Row | None:
        """A journal in another data folder cannot be read from here; its poster posts it in less than this."""
        for _ in range(round(RECEIPT_WAIT_S / RECEIPT_POLL_S)):
            await asyncio.sleep(RECEIPT_POLL_S)
            row, _ = await self._database.read(find_posted, request_id)
            if row is not None:
                return {**row, "status": "posted"}
        return None


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
    limit: int | None,
) -> list[Row]:
    """Sums of usage grouped ``by`` any of ``day``, ``organisation_id``, ``project_id``, ``key_id``, ``model``, from
    ``since_day`` to ``until_day`` (both included, UTC), always apart by currency; all of them without ``limit``.
    ``units`` are those that were used."""
    group = [usage_days.c[name] for name in (*by, "currency")]
    sums = [sa.func.sum(usage_days.c[name]).label(name) for name in (*_SUMS, *_UNITS.values())]
    query = sa.select(*group, *sums).where(usage_days.c.day.between(since_day, until_day))
    if organisation_id is not None:
        query = query.where(usage_days.c.organisation_id == organisation_id)
    rows = tx.execute(query.group_by(*group).order_by(*group).offset(offset).limit(limit)).mappings()
    return [
        {
            **{name: row[name] for name in (*by, "currency")},
            **{name: int(row[name]) for name in _SUMS},
            "units": {unit: int(row[name]) for unit, name in _UNITS.items() if row[name]},
        }
        for row in rows
    ]


_SUMS = ("requests", "prompt_tokens", "cached_tokens", "completion_tokens", "amount_nanos")
_UNITS = {unit: f"units_{unit}" for unit in UNITS}


def request_ids(tx: sa.Connection) -> list[str]:
    """Every request that has a receipt."""
    return list(tx.execute(sa.select(receipts.c.request_id)).scalars())
