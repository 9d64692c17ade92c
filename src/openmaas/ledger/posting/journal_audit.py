"""The audit of journals and engines' counts: what a journal closed is posted or waits, and no request is in neither."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from openmaas.core.clock import made_ms
from openmaas.ledger.law import journals, write_offs
from openmaas.ledger.writing.journal import Position, broken, first_segment, read_on
from openmaas.ledger.writing.records import Closed, Opened

_OURS = "req_"  #: What relays call a request; engines count probes under other names.


def check_journals(
    tx: sa.Connection, folder: Path, rows: dict[str, Any], lines: dict[str, list[Any]]
) -> tuple[dict[str, bool], list[str]]:
    """The requests without a receipt that journals account for, each with whether it waits to be posted; sentences."""
    waiting: dict[str, bool] = {}
    found: list[str] = []
    for journal in tx.execute(sa.select(journals)):
        at, cursor = Position(first_segment(folder / journal.id), 0), (journal.cursor_segment, journal.cursor_offset)
        while records := read_on(folder / journal.id, at):
            for record, position in records:
                if isinstance(record, Opened) and journal.state != "replayed" and record.request_id not in rows:
                    waiting[record.request_id] = False
                if not isinstance(record, Closed):
                    continue
                row = rows.get(record.opened.request_id)
                if row is None and journal.state != "replayed" and position >= cursor:
                    # If not open, it was written off: that is on record.
                    waiting[record.opened.request_id] = journal.state == "open"
                elif row is None:
                    found.append(f"journal {journal.id} closed {record.opened.request_id}, there is no receipt")
                elif row.excess_nanos != record.excess_nanos or any(
                    line.amount_nanos != record.paid_nanos[line.leg] for line in lines[row.request_id]
                ):
                    found.append(f"receipt {row.request_id} differs from its journal")
        if said := broken(folder / journal.id, at):
            found.append(said)
    return waiting, found


def check_counted(tx: sa.Connection, folder: Path, counted: list[str]) -> list[str]:
    """What no journal that is here accounts for; ``counted`` has no receipt. Not probes, and not what was asked while a
    relay lived whose journal is not here: that something was lost with it is on record (``Report.lost``)."""
    until = sa.select(journals.c.id, journals.c.started_ms, write_offs.c.at_ms)
    gone = until.join(write_offs, isouter=True).where(journals.c.state != "replayed", journals.c.home != "")
    lives = [(row.started_ms, row.at_ms) for row in tx.execute(gone) if not (folder / row.id).exists()]
    return [
        f"an engine counted {name}, no journal and no receipt has it"
        for name in sorted(counted)
        if name.startswith(_OURS) and not _within(made_ms(name), lives)
    ]


def _within(ms: int | None, lives: list[tuple[int, int | None]]) -> bool:
    return ms is not None and any(begin <= ms and (end is None or ms <= end) for begin, end in lives)
