"""Writing off a journal whose machine is gone for good: its relay's leases come back, and what was not posted is lost.

It must be certain that nobody will post it: its folder is not here, and if it was another machine's, that machine and
its disk are gone. Nothing can be spent twice even if that was wrong: a relay whose journal is written off leases no
more, and its poster is refused. Then requests were run that nobody pays for.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import sqlalchemy as sa

from openmaas.core.clock import Clock, iso_utc
from openmaas.core.errors import Conflict, FieldInvalid, ThingUnknown
from openmaas.core.money import show_amount
from openmaas.ledger.law import journals, leases, write_offs
from openmaas.ledger.posting.batch import retire


class WriteOff(msgspec.Struct, frozen=True):
    """The record of it. ``freed`` is what its relay leased, by account: the most that can have been used."""

    journal_id: str
    reason: str
    freed: dict[str, int]
    at_ms: int


def write_off(tx: sa.Connection, clock: Clock, folder: Path, journal_id: str, reason: str) -> WriteOff:
    """Give the leases of a lost journal's relay back, on record. ``folder`` holds the journals that are here. The same
    again returns the first.

    Raises ``ThingUnknown``, ``FieldInvalid`` without a reason, and ``Conflict`` when there is nothing to write off.
    """
    if not reason.strip():
        raise FieldInvalid("a write-off needs a reason", field="reason")
    state = tx.execute(sa.select(journals.c.state).where(journals.c.id == journal_id)).scalar()
    if state is None:
        raise ThingUnknown(f"there is no journal {journal_id}", field="journal")
    first = tx.execute(sa.select(write_offs).where(write_offs.c.journal_id == journal_id)).mappings().first()
    if first is not None:
        return WriteOff(**first)
    if state != "open":
        raise Conflict(f"the journal {journal_id} was posted to its end: nothing is lost", field="journal")
    if (folder / journal_id).exists():
        raise Conflict(f"the folder of {journal_id} is here: `openmaas ledger replay` posts it", field="journal")
    made = WriteOff(journal_id, reason, retire(tx, journal_id, "written_off"), clock.wall_ms())
    tx.execute(write_offs.insert().values(msgspec.structs.asdict(made)))
    return made


def lost(tx: sa.Connection, folder: Path) -> list[str]:
    """A sentence for each journal that was written off, and for each that is open and not in ``folder``."""
    told = [_told(WriteOff(**row)) for row in tx.execute(sa.select(write_offs).order_by("journal_id")).mappings()]
    here = (journals.c.state == "open") & (journals.c.home != "")
    for row in tx.execute(sa.select(journals.c.id, journals.c.home).where(here).order_by("id")):
        if not (folder / row.id).exists():
            query = sa.select(leases.c.account_id, leases.c.granted_nanos).where(leases.c.journal_id == row.id)
            held = _amounts({lease.account_id: lease.granted_nanos for lease in tx.execute(query)})
            told.append(f"journal {row.id} of {row.home} is open and not in this folder; its relay leases {held}")
    return told


def _told(made: WriteOff) -> str:
    when, held = iso_utc(made.at_ms)[:10], _amounts(made.freed)
    return f"journal {made.journal_id} was written off on {when} ({made.reason}); its relay leased {held}"


def _amounts(by_account: dict[str, int]) -> str:
    said = [f"{show_amount(nanos)} of {account_id}" for account_id, nanos in sorted(by_account.items()) if nanos]
    return ", ".join(said) or "nothing"
