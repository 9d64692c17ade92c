"""``openmaas usage export``, and what ``openmaas ledger statement`` shares with it: a period, a form, where to."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from openmaas.cli.rooms import one_organisation, opened
from openmaas.cli.say import DATA, plainly
from openmaas.control.exports import Export
from openmaas.documents.sheets import FORMS

FORM = click.Choice(list(FORMS))


def period(command: Callable[..., None]) -> Callable[..., None]:
    """The options of every export."""
    options = (
        click.option("--since", default="", help="First day (UTC), or a time (RFC 3339)."),
        click.option("--until", default="", help="Last day (UTC), or the time at which it ends."),
        click.option("--to", type=click.Path(dir_okay=False, path_type=Path), help="Write here, not to the terminal."),
        click.option("--bom", is_flag=True, help="Begin CSV with a byte order mark: Excel needs it for Chinese."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def deliver(pieces: Iterator[bytes], to: Path | None) -> None:
    """To a file, or to standard output."""
    if to is None:
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    with to.open("wb") as file:
        file.writelines(pieces)
    click.echo(f"{to}: {to.stat().st_size} bytes", err=True)


@click.command()
@DATA
@click.option("--organisation", help="Only its receipts.")
@click.option("--form", type=FORM, default="csv", show_default=True, help="Parquet needs `make setup-parquet`.")
@period
@plainly
def export(data: str, organisation: str | None, form: str, **options: Any) -> None:
    """Write the receipts of a period, one row for each request."""
    to = options.pop("to")
    asked = Export(form=form, **options)
    with opened(data) as (database, _):
        owner = database.look(one_organisation, organisation) if organisation else None
        deliver(asked.usage(database, owner), to)
