"""Brings a schema up to date, forward only: ``steps/<version>.<dialect>.sql`` makes version n of version n − 1.

A new database gets the tables of ``LAW`` as they are; that both ways lead to the same schema is tested. Each step runs
in one transaction with the row that says it was done, so a program that is killed in it changes nothing.
"""

from __future__ import annotations

import sqlite3
from importlib.resources import files

import sqlalchemy as sa

from openmaas.core.errors import SettingInvalid
from openmaas.store.law import LAW, schema_versions

#: Raised with each change of a table, together with its step.
SCHEMA_VERSION = 11
#: PostgreSQL's name of the lock under which one program at a time looks at the schema.
_ADVISORY_LOCK = 7_166_738


def migrate(engine: sa.Engine) -> None:
    """Create the schema or bring it up to date. Raises ``SettingInvalid`` when it is newer than this program."""
    with engine.begin() as tx:
        if engine.dialect.name == "postgresql":
            tx.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
        if not sa.inspect(tx).has_table(schema_versions.name):
            LAW.create_all(tx)
            tx.execute(schema_versions.insert().values(version=SCHEMA_VERSION))
            return
        found = int(tx.execute(sa.select(sa.func.max(schema_versions.c.version))).scalar_one())
    if found > SCHEMA_VERSION:
        raise SettingInvalid(
            f"the database has schema version {found}, this program knows {SCHEMA_VERSION}: install a newer openmaas",
            field="database_url",
        )
    for version in range(found + 1, SCHEMA_VERSION + 1):
        _step(engine, version)


def _step(engine: sa.Engine, version: int) -> None:
    text = (files("openmaas.store") / "steps" / f"{version:04d}.{engine.dialect.name}.sql").read_text()
    if engine.dialect.name == "sqlite":
        _step_on_sqlite(engine, version, text)
        return
    with engine.begin() as tx:
        tx.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
        if tx.execute(sa.select(schema_versions).where(schema_versions.c.version == version)).first() is None:
            tx.exec_driver_sql(text)
            tx.execute(schema_versions.insert().values(version=version))


def _step_on_sqlite(engine: sa.Engine, version: int, text: str) -> None:
    """As https://www.sqlite.org/lang_altertable.html §7 says: foreign keys are off while tables are made anew."""
    pooled = engine.raw_connection()
    raw = pooled.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    try:
        raw.execute("PRAGMA foreign_keys = OFF")
        raw.execute("BEGIN IMMEDIATE")
        if raw.execute("SELECT 1 FROM schema_versions WHERE version = ?", (version,)).fetchone() is None:
            for statement in _statements(text):
                raw.execute(statement)
            broken = raw.execute("PRAGMA foreign_key_check").fetchall()
            assert not broken, f"step {version} broke references: {broken[:3]}"
            raw.execute("INSERT INTO schema_versions (version) VALUES (?)", (version,))
        raw.execute("COMMIT")
    except sqlite3.IntegrityError as error:
        said = f"the database cannot be brought to schema version {version}, and is as it was: {error}"
        raise SettingInvalid(said, field="database_url") from error
    finally:
        if raw.in_transaction:
            raw.execute("ROLLBACK")
        raw.execute("PRAGMA foreign_keys = ON")
        pooled.close()


def _statements(text: str) -> list[str]:
    found, begun = [], ""
    for line in text.splitlines(keepends=True):
        begun += line
        if sqlite3.complete_statement(begun):
            found.append(begun)
            begun = ""
    return found
