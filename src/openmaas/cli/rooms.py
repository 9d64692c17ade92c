"""The rooms of an installation for a command: the database of ``--data``, opened and closed."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from openmaas.core.clock import Clock
from openmaas.core.errors import FieldInvalid, SettingInvalid
from openmaas.house.first_start import open_house
from openmaas.house.layout import Layout
from openmaas.house.settings import read
from openmaas.identity.law import organisations, projects
from openmaas.store import audit_log
from openmaas.store.audit_log import Actor
from openmaas.store.database import Database


def _user() -> str:
    """Who runs this command, as the operating system says: not the environment, which whoever runs it may set."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run as a number that has no name
        return str(os.getuid())


#: Who acts when a command changes something.
OPERATOR = Actor(f"{audit_log.CLI}:{_user()}", Clock())


@contextmanager
def opened(data: str) -> Iterator[tuple[Database, Layout]]:
    """The database of an installation that has been served once. Raises ``SettingInvalid``."""
    layout = Layout(data, read({"data": data}).settings.database_url)
    if not layout.database_url and not layout.database_file.exists():
        raise SettingInvalid(
            f"{Path(data).resolve()} holds no installation; `openmaas serve --data {data}` makes one", field="data"
        )
    database = open_house(layout)
    try:
        yield database, layout
    finally:
        database.close()


def one_organisation(tx: sa.Connection, named: str | None) -> str:
    """The organisation with this id or name; the only one when none is named. Raises ``FieldInvalid``."""
    rows = tx.execute(sa.select(organisations.c.id, organisations.c.name).order_by(organisations.c.id)).all()
    found = [row.id for row in rows if named is None or named in (row.id, row.name)]
    if len(found) != 1:
        choice = ", ".join(row.name for row in rows[:10])
        raise FieldInvalid(f"name one organisation with --organisation: {choice}", field="organisation")
    return str(found[0])


def one_project(tx: sa.Connection, organisation: str | None, named: str | None) -> str:
    """The project with this id or name, else the first of the organisation, else the first there is.

    Raises ``FieldInvalid``.
    """
    query = sa.select(projects.c.id, projects.c.name).order_by(projects.c.id)
    if organisation is not None:
        query = query.where(projects.c.organisation_id == one_organisation(tx, organisation))
    rows = tx.execute(query).all()
    found = [row.id for row in rows if named is None or named in (row.id, row.name)]
    if not found:
        raise FieldInvalid(f"there is no project {named!r}", field="project")
    return str(found[0])
