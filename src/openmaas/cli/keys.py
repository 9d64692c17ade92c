"""``openmaas keys``: create, list, revoke; rotate the master key that seals their secrets."""

from __future__ import annotations

from operator import itemgetter

import click

from openmaas.catalog.book import need_models
from openmaas.cli.rooms import OPERATOR, one_organisation, one_project, opened
from openmaas.cli.say import AS_JSON, DATA, LIMIT, plainly, show, table
from openmaas.control.show import parse_time
from openmaas.control.show import show as shown
from openmaas.core.clock import Clock
from openmaas.core.errors import FieldInvalid
from openmaas.house import rotation
from openmaas.house.rotation import STEPS, Step
from openmaas.identity import book
from openmaas.identity.seal import MasterKeys
from openmaas.store.audit_log import audited


@click.group()
def keys() -> None:
    """Create, list and revoke API keys."""


@keys.command()
@DATA
@click.option("--name", default="key", show_default=True, help="What the key is for.")
@click.option("--organisation", help="Its name or id; the first one when not named.")
@click.option("--project", help="Its name or id; the first one when not named.")
@click.option("--scope", "scopes", multiple=True, default=("inference", "usage"), show_default=True)
@click.option("--model", "models", multiple=True, help="Allow this model only (repeatable).")
@click.option("--expires", help="RFC 3339 time such as 2027-01-31T00:00:00Z.")
@AS_JSON
@plainly
def create(
    data: str,
    name: str,
    organisation: str | None,
    project: str | None,
    scopes: tuple[str, ...],
    models: tuple[str, ...],
    expires: str | None,
    as_json: bool,
) -> None:
    """Create a key and print it: the only time it can be read."""
    expires_ms = None if expires is None else parse_time(expires, "expires")
    if expires_ms is not None and expires_ms <= Clock().wall_ms():
        raise FieldInvalid("--expires must lie in the future", field="expires")
    if not name.strip():
        raise FieldInvalid("--name must not be empty", field="name")
    told = {"name": name, "scopes": scopes, "models": models, "expires_at": expires}
    with opened(data) as (database, layout):
        project_id = database.look(one_project, organisation, project)
        database.look(need_models, list(models))
        told["project_id"] = project_id
        key_id, key = database.call(
            audited(OPERATOR, "key.create", itemgetter(0), book.add_key, told),
            Clock(),
            MasterKeys(layout.master_keys),
            project_id,
            name,
            scopes=list(scopes),
            models=list(models) or None,
            expires_ms=expires_ms,
        )
    show({"id": key_id, "key": key, "project_id": project_id}, as_json=as_json, text=key)


@keys.command("list")
@DATA
@click.option("--organisation", help="Only its keys.")
@click.option("--after", default="", help="Go on after this id.")
@LIMIT
@AS_JSON
@plainly
def list_(data: str, organisation: str | None, after: str, limit: int, as_json: bool) -> None:
    """List keys, without their secrets."""
    with opened(data) as (database, _):
        owner = database.look(one_organisation, organisation) if organisation else None
        found = database.look(book.list_keys, organisation_id=owner, after=after, limit=limit)
    rows = [shown(row) for row in found]
    text = table(rows, ("id", "name", "scopes", "models", "created_at", "expires_at", "revoked_at", "last_used_at"))
    if len(rows) == limit:
        text += f"\nmore: --after {rows[-1]['id']}"
    show(rows, as_json=as_json, text=text)


@keys.command()
@DATA
@click.argument("key_id")
@AS_JSON
@plainly
def revoke(data: str, key_id: str, as_json: bool) -> None:
    """Refuse a key from now on; every relay knows within a second."""
    with opened(data) as (database, _):
        found = key_id.partition(".")[0]
        database.call(audited(OPERATOR, "key.revoke", found, book.revoke_key), Clock(), found)
    show({"id": key_id, "revoked": True}, as_json=as_json, text=f"{key_id} is revoked")


#: What is said after each step, and what comes next.
_TOLD: dict[Step, str] = {
    "all": "master key {version} seals {count} secrets; the older ones are gone",
    "prepare": "master key {version} is there and seals nothing yet; copy {file} to every host, then run: --step seal",
    "seal": "master key {version} seals {count} secrets; copy {file} to every host, then run: --step drop",
    "drop": "master key {version} seals {count} secrets; the older ones are gone: copy {file} to every host",
}


@keys.command("rotate-master")
@DATA
@click.option("--step", type=click.Choice(STEPS), default="all", help="Where several hosts share a database.")
@AS_JSON
@plainly
def rotate_master(data: str, step: Step, as_json: bool) -> None:
    """Make a new master key and seal every secret under it; relays go on meanwhile."""
    with opened(data) as (database, layout):
        version, count = rotation.rotate_master(database, layout, OPERATOR, step)
    text = _TOLD[step].format(version=version, count=count, file=layout.master_keys)
    show({"version": version, "sealed": count}, as_json=as_json, text=text)
