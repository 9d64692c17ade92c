"""``openmaas audit-log``: who changed what, and the proof that nobody changed that."""

from __future__ import annotations

import sys

import click

from openmaas.cli.rooms import opened
from openmaas.cli.say import AS_JSON, DATA, plainly, show
from openmaas.core.bounds import AUDIT_LOG_READ
from openmaas.core.errors import FieldInvalid
from openmaas.store import audit_log as log
from openmaas.store.audit_log import Anchor, list_entries


@click.group("audit-log")
def audit_log() -> None:
    """Verify and export the log of who changed what."""


@audit_log.command()
@DATA
@click.option("--anchor", help="NUMBER:HASH that an earlier verify printed: all up to it must be what it was then.")
@AS_JSON
@plainly
def verify(data: str, anchor: str | None, as_json: bool) -> None:
    """Prove that no entry was changed, removed or moved. Exit code 0 when none was."""
    noted = None if anchor is None else _anchor(anchor)
    with opened(data) as (database, _):
        last, disagreements = database.look(log.verify, noted)
    if as_json:
        show({"entries": last.seq, "anchor": str(last), "disagreements": disagreements}, as_json=True)
    elif not disagreements:
        click.echo(f"{last.seq} entries, all as they were written; note this elsewhere: {last}")
    for sentence in disagreements if not as_json else []:
        click.echo(sentence, err=True)
    sys.exit(bool(disagreements))


@audit_log.command()
@DATA
@click.option("--after", type=click.IntRange(0, 2**63 - 1), default=0, help="Go on after this entry.")
@plainly
def export(data: str, after: int) -> None:
    """Print every entry as one line of JSON, its hash last."""
    with opened(data) as (database, _):
        while rows := database.look(list_entries, after=after, limit=AUDIT_LOG_READ):
            for entry, kept in rows:
                click.echo(entry.line()[:-1] + b',"hash":"%b"}' % kept.hex().encode())
            after = rows[-1][0].seq


def _anchor(text: str) -> Anchor:
    number, _, digest = text.partition(":")
    try:
        return Anchor(int(number), bytes.fromhex(digest))
    except ValueError:
        raise FieldInvalid("--anchor must be NUMBER:HASH, as verify prints it", field="anchor") from None
