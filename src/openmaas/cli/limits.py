"""``openmaas limits``: list, set and remove what an organisation, project or key may do at once and in a minute."""

from __future__ import annotations

from operator import attrgetter

import click

from openmaas.cli.rooms import OPERATOR, one_organisation, one_project, opened
from openmaas.cli.say import AS_JSON, DATA, LIMIT, plainly, show, table
from openmaas.control.manage_limits import place_limit
from openmaas.control.show import show as shown
from openmaas.core.clock import Clock
from openmaas.core.errors import FieldInvalid
from openmaas.limits import book
from openmaas.limits.law import EVERY_MODEL, KINDS
from openmaas.store.audit_log import audited


@click.group()
def limits() -> None:
    """List, set and remove limits: requests in flight, requests and tokens a minute."""


@limits.command("list")
@DATA
@click.option("--subject", help="Only those of this organisation, project or key (its id).")
@click.option("--after", default="", help="Go on after this id.")
@LIMIT
@AS_JSON
@plainly
def list_(data: str, subject: str | None, after: str, limit: int, as_json: bool) -> None:
    """List limits."""
    with opened(data) as (database, _):
        rows = [shown(row) for row in database.look(book.list_limits, subject_id=subject, after=after, limit=limit)]
    text = table(rows, ("id", "scope", "subject_id", "model", "kind", "amount", "set_at"))
    if len(rows) == limit:
        text += f"\nmore: --after {rows[-1]['id']}"
    show(rows, as_json=as_json, text=text)


@limits.command("set")
@DATA
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("amount", type=int)
@click.option("--model", default=EVERY_MODEL, show_default=True, help="On this model; * counts all together.")
@click.option("--organisation", help="For the organisation of this name or id.")
@click.option("--project", help="For the project of this name or id.")
@click.option("--key", help="For the key of this id.")
@AS_JSON
@plainly
def set_(
    data: str,
    kind: str,
    amount: int,
    model: str,
    organisation: str | None,
    project: str | None,
    key: str | None,
    as_json: bool,
) -> None:
    """Set a limit, for every organisation that has none of its own when nobody is named."""
    if key is not None and (organisation or project):
        raise FieldInvalid("name one of --organisation, --project and --key", field="key")
    with opened(data) as (database, _):
        if key is not None:
            scope, subject_id = "key", key.partition(".")[0]
        elif project is not None:
            scope, subject_id = "project", database.look(one_project, organisation, project)
        elif organisation is not None:
            scope, subject_id = "organisation", database.look(one_organisation, organisation)
        else:
            scope, subject_id = "default", ""
        told = {"scope": scope, "subject_id": subject_id, "model": model, "kind": kind, "amount": amount}
        place = audited(OPERATOR, "limit.set", attrgetter("id"), place_limit, told)
        made = database.call(place, Clock(), scope=scope, subject_id=subject_id, model=model, kind=kind, amount=amount)
    whom = f"{scope} {subject_id}".strip() if subject_id else "every organisation"
    show(shown(made), as_json=as_json, text=f"{made.id}: {kind} {amount} for {whom} on {model}")


@limits.command()
@DATA
@click.argument("limit_id")
@AS_JSON
@plainly
def remove(data: str, limit_id: str, as_json: bool) -> None:
    """Remove a limit; every relay knows within a second."""
    with opened(data) as (database, _):
        database.call(audited(OPERATOR, "limit.remove", limit_id, book.remove_limit), limit_id)
    show({"id": limit_id, "removed": True}, as_json=as_json, text=f"{limit_id} is removed")
