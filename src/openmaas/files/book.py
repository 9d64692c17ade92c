"""The book of files: pure functions of one transaction."""

from __future__ import annotations

from collections.abc import Collection

import msgspec
import sqlalchemy as sa

from openmaas.core.clock import made_ms
from openmaas.core.errors import FieldInvalid, ThingUnknown, TooLarge
from openmaas.files.law import files


class File(msgspec.Struct, frozen=True):
    """A file of a project. ``place`` is the depot that has its bytes; ``expires_ms`` None: it stays."""

    id: str
    organisation_id: str
    project_id: str
    purpose: str
    filename: str
    size_bytes: int
    digest: str
    place: str
    created_ms: int
    expires_ms: int | None


def add_file(tx: sa.Connection, file: File, *, project_bytes_max: int) -> None:
    """Note a file whose bytes are on their way to the depot. Raises ``TooLarge`` when the project has too many."""
    query = sa.select(sa.func.coalesce(sa.func.sum(files.c.size_bytes), 0)).where(files.c.project_id == file.project_id)
    if int(tx.execute(query).scalar_one()) + file.size_bytes > project_bytes_max:
        raise TooLarge(f"the files of a project may have {project_bytes_max} bytes together", field="file")
    tx.execute(files.insert().values(msgspec.structs.asdict(file)))


def find_file(tx: sa.Connection, file_id: str, project_id: str) -> File:
    """A project's file. Raises ``ThingUnknown``, also for one of another project."""
    found = tx.execute(sa.select(files).where(_own(file_id, project_id))).mappings().first()
    if found is None:
        raise ThingUnknown(f"there is no file {file_id!r}", field="file_id")
    return File(**found)


def list_files(
    tx: sa.Connection,
    project_id: str,
    *,
    purpose: str | None,
    after: str,
    limit: int,
    newest_first: bool,
    hidden: Collection[str] = (),
) -> list[File]:
    """A project's files in the order of their making, behind ``after`` (an id; empty to begin), but for those of the
    purposes ``hidden``. A file that is gone keeps its place: who deletes page by page goes on behind it. Raises
    ``FieldInvalid`` for what is no id."""
    if after and made_ms(after) is None:
        raise FieldInvalid(f"after: {after!r} is the id of no file", field="after")
    query = sa.select(files).where(files.c.project_id == project_id).limit(limit)
    if hidden:
        query = query.where(files.c.purpose.not_in(hidden))
    if purpose:
        query = query.where(files.c.purpose == purpose)
    if after:
        query = query.where(files.c.id < after if newest_first else files.c.id > after)
    rows = tx.execute(query.order_by(files.c.id.desc() if newest_first else files.c.id)).mappings()
    return [File(**row) for row in rows]


def remove_file(tx: sa.Connection, file_id: str, project_id: str) -> File:
    """Forget a file; whoever calls removes its bytes then. Raises ``ThingUnknown``."""
    found = find_file(tx, file_id, project_id)
    tx.execute(files.delete().where(files.c.id == file_id))
    return found


def remove_expired(tx: sa.Connection, now_ms: int, limit: int) -> list[File]:
    """Forget files whose time is over, at most ``limit``; returns them, for their bytes to be removed."""
    over = sa.select(files).where(files.c.expires_ms <= now_ms).order_by(files.c.expires_ms).limit(limit)
    found = [File(**row) for row in tx.execute(over).mappings()]
    tx.execute(files.delete().where(files.c.id.in_([file.id for file in found])))
    return found


def known(tx: sa.Connection, file_ids: list[str]) -> set[str]:
    """Those of ``file_ids`` that there are."""
    return set(tx.execute(sa.select(files.c.id).where(files.c.id.in_(file_ids))).scalars())


def _own(file_id: str, project_id: str) -> sa.ColumnElement[bool]:
    return (files.c.id == file_id) & (files.c.project_id == project_id)
