"""The audit log: who changed what, as a chain of hashes.

A command is one entry, written in the transaction of what it changed: neither is there without the other. ``audited``
is the only way in. An entry is one line of JSON, ``{"seq":…,"at_ms":…,"actor":…,"action":…,"subject":…,"detail":{…}}``
in this order, without blanks, UTF-8, the names in ``detail`` sorted. Its hash is SHA-256 over the hash of the entry
before it (32 bytes, zeros before the first) and this line. So whoever changes, removes or moves an entry must write
all later ones anew, and whoever kept one hash elsewhere notices even that. It knows nothing of what is recorded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

import msgspec
import sqlalchemy as sa

from openmaas.core.bounds import AUDIT_LOG_READ
from openmaas.core.clock import Clock
from openmaas.store.law import LAW, append_only

P = ParamSpec("P")
T = TypeVar("T")

#: Actors that are no key; behind that of the command line stands who ran it.
CLI, SYSTEM = "cli", "system"
_FIRST = bytes(32)

audit_log = sa.Table(
    "audit_log",
    LAW,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("actor", sa.String, nullable=False),
    sa.Column("action", sa.String, nullable=False),
    sa.Column("subject", sa.String, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),  # the bytes that were hashed
    sa.Column("hash", sa.LargeBinary, nullable=False),
    sa.CheckConstraint("length(hash) = 32"),
)
append_only(audit_log)
#: One row: the number of the last entry. Its lock puts entries in the order of their commits.
head = sa.Table(
    "audit_log_head",
    LAW,
    sa.Column("one", sa.Integer, primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.CheckConstraint("one = 1"),
)


class Actor(msgspec.Struct, frozen=True):
    """Who acts: the id of a key, ``CLI:<user>``, ``SYSTEM`` or a provider's name; and by which clock."""

    name: str
    clock: Clock


class Entry(msgspec.Struct, frozen=True):
    """One line of the log."""

    seq: int
    at_ms: int
    actor: str
    action: str
    subject: str
    detail: msgspec.Raw

    def line(self) -> bytes:
        """What is hashed."""
        return msgspec.json.encode(self)

    def hash(self, before: bytes) -> bytes:
        """The hash of this entry after one with the hash ``before``."""
        return hashlib.sha256(before + self.line()).digest()


class Anchor(NamedTuple):
    """An entry's number and hash, as somebody noted them: ``12:ab34…``."""

    seq: int
    hash: bytes

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash.hex()}"


def audited(
    who: Actor,
    action: str,
    subject: str | Callable[[T], str],
    book: Callable[Concatenate[sa.Connection, P], T],
    detail: Mapping[str, Any] | None = None,
) -> Callable[Concatenate[sa.Connection, P], T]:
    """``book`` with an entry beside what it changes. ``subject`` is the id of what is changed, or finds it in what
    ``book`` returns. ``detail`` must hold no secret."""

    def recorded(tx: sa.Connection, /, *args: P.args, **kwargs: P.kwargs) -> T:
        made = book(tx, *args, **kwargs)
        _record(tx, who, action, subject if isinstance(subject, str) else subject(made), detail or {})
        return made

    return recorded


def _record(tx: sa.Connection, who: Actor, action: str, subject: str, detail: Mapping[str, Any]) -> None:
    seq = tx.execute(head.update().values(seq=head.c.seq + 1).returning(head.c.seq)).scalar()
    if seq is None:
        seq = 1
        tx.execute(head.insert().values(one=1, seq=seq))
    before = tx.execute(sa.select(audit_log.c.hash).where(audit_log.c.seq == seq - 1)).scalar()
    text = msgspec.json.encode(detail, order="sorted")
    entry = Entry(int(seq), who.clock.wall_ms(), who.name, action, subject, msgspec.Raw(text))
    values = {**msgspec.structs.asdict(entry), "detail": text.decode(), "hash": entry.hash(before or _FIRST)}
    tx.execute(audit_log.insert().values(values))


def list_entries(tx: sa.Connection, *, after: int, limit: int) -> list[tuple[Entry, bytes]]:
    """Entries by number, after ``after``, each with its hash."""
    rows = tx.execute(sa.select(audit_log).where(audit_log.c.seq > after).order_by(audit_log.c.seq).limit(limit))
    return [_entry(row) for row in rows]


def verify(tx: sa.Connection, anchor: Anchor | None = None) -> tuple[Anchor, list[str]]:
    """The last entry, and a sentence for each place where the chain is broken; none is the proof.

    ``anchor`` is an entry of which the hash was noted elsewhere: everything up to it must be what it was then.
    """
    found: list[str] = []
    last, anchored = Anchor(0, _FIRST), anchor is None
    for entry, kept in _all(tx):
        if entry.seq != last.seq + 1:
            found.append(f"entries {last.seq + 1} to {entry.seq - 1} are missing")
        elif entry.hash(last.hash) != kept:
            found.append(f"entry {entry.seq} is not what was written, or not where")
        last = Anchor(entry.seq, kept)
        anchored = anchored or last == anchor
    written = int(tx.execute(sa.select(head.c.seq)).scalar() or 0)
    if written != last.seq:
        found.append(f"{written} entries were written, the last one here is {last.seq}")
    if not anchored:
        found.append(f"no entry is {anchor}: the log was written anew")
    return last, found


def _all(tx: sa.Connection) -> Iterator[tuple[Entry, bytes]]:
    query = sa.select(audit_log).order_by(audit_log.c.seq).execution_options(yield_per=AUDIT_LOG_READ)
    return map(_entry, tx.execute(query))


def _entry(row: Any) -> tuple[Entry, bytes]:
    detail = msgspec.Raw(row.detail.encode())
    return Entry(row.seq, row.at_ms, row.actor, row.action, row.subject, detail), row.hash
