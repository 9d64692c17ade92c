"""The book of identity: pure functions of one transaction."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from openmaas.core.clock import Clock
from openmaas.core.errors import AlreadyThere, FieldInvalid, ThingUnknown
from openmaas.identity.law import keys, organisations, projects
from openmaas.identity.seal import MasterKeys
from openmaas.store.changes import note
from openmaas.store.outbox import announce

#: What a key may do. ``inference`` calls models, ``usage`` reads its project's usage and receipts, ``admin`` manages.
SCOPES = ("inference", "usage", "webhooks", "metrics", "admin")
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET_LENGTH = 32  #: of 62 letters: 190 bits


class KeyRecord(msgspec.Struct, frozen=True):
    """A key and whose it is, without its secret."""

    id: str
    project_id: str
    organisation_id: str
    name: str
    secret_hash: bytes
    scopes: frozenset[str]
    models: frozenset[str] | None
    created_ms: int
    expires_ms: int | None
    revoked_ms: int | None
    last_used_ms: int | None


def add_organisation(tx: sa.Connection, clock: Clock, name: str) -> str:
    """A new organisation; returns its id. Raises ``AlreadyThere``."""
    return _add(tx, organisations, {"id": clock.new_id("org"), "name": name, "created_ms": clock.wall_ms()})


def need_organisation(tx: sa.Connection, organisation_id: str) -> None:
    """Raises ``ThingUnknown`` unless there is this organisation."""
    if tx.execute(sa.select(organisations.c.id).where(organisations.c.id == organisation_id)).scalar() is None:
        raise ThingUnknown(f"there is no organisation {organisation_id}", field="organisation_id")


def organisation_name(tx: sa.Connection, organisation_id: str) -> str:
    """What an organisation is called. Raises ``ThingUnknown``."""
    need_organisation(tx, organisation_id)
    query = sa.select(organisations.c.name).where(organisations.c.id == organisation_id)
    return str(tx.execute(query).scalar_one())


def need_subject(tx: sa.Connection, organisation_id: str, scope: str, subject_id: str) -> None:
    """Raises ``ThingUnknown`` unless the organisation is, or has, this ``organisation``, ``project`` or ``key``."""
    need_organisation(tx, organisation_id)
    query = sa.select(projects.c.id).where(projects.c.organisation_id == organisation_id)
    if scope == "project":
        query = query.where(projects.c.id == subject_id)
    elif scope == "key":
        query = query.join(keys, keys.c.project_id == projects.c.id).where(keys.c.id == subject_id)
    elif subject_id != organisation_id:
        raise ThingUnknown(f"{subject_id!r} is another organisation", field="subject_id")
    if scope != "organisation" and tx.execute(query).first() is None:
        raise ThingUnknown(f"this organisation has no {scope} {subject_id!r}", field="subject_id")


def add_project(tx: sa.Connection, clock: Clock, organisation_id: str, name: str) -> str:
    """A new project; returns its id. Raises ``ThingUnknown`` and ``AlreadyThere``."""
    need_organisation(tx, organisation_id)
    row = {"id": clock.new_id("prj"), "organisation_id": organisation_id, "name": name, "created_ms": clock.wall_ms()}
    return _add(tx, projects, row)


def add_key(
    tx: sa.Connection,
    clock: Clock,
    master: MasterKeys,
    project_id: str,
    name: str,
    *,
    scopes: list[str],
    models: list[str] | None = None,
    expires_ms: int | None = None,
) -> tuple[str, str]:
    """A new key. Returns its id and the text ``id.secret``, which is shown once and stored only hashed and sealed."""
    for scope in scopes:
        if scope not in SCOPES:
            raise FieldInvalid(f"scopes must be among {', '.join(SCOPES)}, not {scope!r}", field="scopes")
    owner = tx.execute(sa.select(projects.c.organisation_id).where(projects.c.id == project_id)).scalar()
    if owner is None:
        raise ThingUnknown(f"there is no project {project_id}", field="project_id")
    key_id = clock.random_bytes(12).hex()
    # A byte modulo 62 would favour some letters; 64 bits each leave a bias below 2^-58.
    secret = "".join(
        _ALPHABET[int.from_bytes(clock.random_bytes(8), "big") % len(_ALPHABET)] for _ in range(_SECRET_LENGTH)
    )
    sealed = master.seal(secret.encode(), key_id)
    tx.execute(
        keys.insert().values(
            id=key_id,
            project_id=project_id,
            name=name,
            secret_hash=hash_secret(secret),
            secret_sealed=sealed.secret,
            master_version=sealed.version,
            scopes=sorted(set(scopes)),
            models=models,
            created_ms=clock.wall_ms(),
            expires_ms=expires_ms,
        )
    )
    note(tx, "key", key_id)
    told = {"key_id": key_id, "project_id": project_id, "name": name, "scopes": sorted(set(scopes))}
    announce(tx, clock, owner, "key.created", told)
    return key_id, f"{key_id}.{secret}"


def revoke_key(tx: sa.Connection, clock: Clock, key_id: str) -> None:
    """Refuse this key from now on; every relay knows within ``STALE_AFTER_S``. Doing it twice is no error."""
    found = tx.execute(
        keys.update()
        .where(keys.c.id == key_id)
        .values(revoked_ms=sa.func.coalesce(keys.c.revoked_ms, clock.wall_ms()))
        .returning(keys.c.id)
    ).scalar()
    if found is None:
        raise ThingUnknown(f"there is no key {key_id}", field="id")
    note(tx, "key", key_id)
    of = keys.join(projects, projects.c.id == keys.c.project_id)
    owner = tx.execute(sa.select(projects.c.organisation_id).select_from(of).where(keys.c.id == key_id)).scalar_one()
    announce(tx, clock, owner, "key.revoked", {"key_id": key_id}, once=f"revoked:{key_id}")


def find_key(tx: sa.Connection, key_id: str) -> KeyRecord | None:
    """The key of this id, revoked or not."""
    row = tx.execute(_KEYS.where(keys.c.id == key_id)).mappings().first()
    return None if row is None else _record(row)


def open_secret(tx: sa.Connection, master: MasterKeys, key_id: str) -> bytes | None:
    """The secret of a key, for what only the plain one can do: verify what it signed."""
    row = tx.execute(sa.select(keys.c.secret_sealed, keys.c.master_version).where(keys.c.id == key_id)).first()
    return None if row is None else master.open(row.secret_sealed, key_id, row.master_version)


def list_keys(tx: sa.Connection, *, organisation_id: str | None, after: str, limit: int) -> list[KeyRecord]:
    """Keys by id, after ``after``."""
    query = _KEYS.where(keys.c.id > after).order_by(keys.c.id).limit(limit)
    if organisation_id is not None:
        query = query.where(projects.c.organisation_id == organisation_id)
    return [_record(row) for row in tx.execute(query).mappings()]


def list_rows(tx: sa.Connection, table: sa.Table, *, after: str, limit: int) -> list[dict[str, Any]]:
    """Organisations or projects by id, after ``after``."""
    rows = tx.execute(sa.select(table).where(table.c.id > after).order_by(table.c.id).limit(limit)).mappings()
    return [dict(row) for row in rows]


def rewrap(tx: sa.Connection, master: MasterKeys) -> int:
    """Seal every secret again, under the version that seals now; returns how many there are."""
    old = tx.execute(sa.select(keys.c.id, keys.c.secret_sealed, keys.c.master_version)).all()
    for key_id, secret, version in old:
        again = master.seal(master.open(secret, key_id, version), key_id)
        values = {"secret_sealed": again.secret, "master_version": again.version}
        tx.execute(keys.update().where(keys.c.id == key_id).values(values))
    return len(old)


def sealing_versions(tx: sa.Connection) -> set[int]:
    """The versions of the master key that open some key's secret."""
    return set(tx.execute(sa.select(keys.c.master_version).distinct()).scalars())


def mark_used(tx: sa.Connection, used: dict[str, int]) -> None:
    """Note when keys were last used: ``{key id: UTC ms}``."""
    if used:
        known = sa.func.coalesce(keys.c.last_used_ms, 0)
        statement = (
            keys.update()
            .where(keys.c.id == sa.bindparam("key"), known < sa.bindparam("at_ms"))
            .values(last_used_ms=sa.bindparam("at_ms"))
        )
        tx.execute(statement, [{"key": key, "at_ms": at_ms} for key, at_ms in used.items()])


def hash_secret(secret: str) -> bytes:
    """SHA-256: the secret is random, so one hash is enough (NIST SP 800-63B §5.1.1.2 speaks of chosen passwords)."""
    return hashlib.sha256(secret.encode()).digest()


_KEYS = sa.select(keys, projects.c.organisation_id).join(projects, projects.c.id == keys.c.project_id)


def _record(row: Any) -> KeyRecord:
    names = KeyRecord.__struct_fields__
    found = {name: row[name] for name in names}
    found["scopes"] = frozenset(row["scopes"])
    found["models"] = None if row["models"] is None else frozenset(row["models"])
    return KeyRecord(**found)


def _add(tx: sa.Connection, table: sa.Table, row: dict[str, Any]) -> str:
    try:
        with tx.begin_nested():
            tx.execute(table.insert().values(row))
    except IntegrityError:
        raise AlreadyThere(f"{table.name} already has {row['name']!r}", field="name") from None
    note(tx, "identity", row["id"])
    return str(row["id"])
