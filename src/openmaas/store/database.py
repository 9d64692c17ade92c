"""The database: one place that knows how a transaction begins.

SQLite in WAL mode now; the same SQLAlchemy Core statements run on PostgreSQL. A room hands in a *book function*, a pure
function of one ``Connection``; it runs whole in one transaction, in a thread, and is retried by nobody: a failed
transaction has changed nothing. Rooms define their tables on ``LAW``; the composition root names the rooms.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from openmaas.core.errors import SettingInvalid, StoreFailed

P = ParamSpec("P")
T = TypeVar("T")

#: Every table of every room.
LAW = sa.MetaData()
#: Raised with each change of a table; a database of another version refuses to open.
SCHEMA_VERSION = 1
#: Seconds a writer waits for another one; each transaction here takes milliseconds.
BUSY_TIMEOUT_S = 10.0
THREADS = 4

schema_versions = sa.Table("schema_versions", LAW, sa.Column("version", sa.Integer, primary_key=True))


def append_only(table: sa.Table) -> None:
    """Make the database itself refuse to change or delete a row of ``table``."""
    for verb in ("UPDATE", "DELETE"):
        ddl = sa.DDL(  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
            f"CREATE TRIGGER {table.name}_no_{verb.lower()} BEFORE {verb} ON {table.name} "
            f"BEGIN SELECT RAISE(ABORT, '{table.name} is append-only'); END"
        )
        event.listen(table, "after_create", ddl.execute_if(dialect="sqlite"))


class Database:
    """One database. ``run`` and ``read`` are for async faces, ``call`` and ``look`` the same in the calling thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_TIMEOUT_S})
        event.listen(self.engine, "connect", _on_connect)
        event.listen(self.engine, "begin", _on_begin)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="database")

    def prepare(self) -> None:
        """Create what is missing. Raises ``SettingInvalid`` for a database of another version."""

        def create(tx: sa.Connection) -> None:
            LAW.create_all(tx)
            found = tx.execute(sa.select(schema_versions.c.version)).scalar()
            if found is None:
                tx.execute(schema_versions.insert().values(version=SCHEMA_VERSION))
            elif found != SCHEMA_VERSION:
                raise SettingInvalid(f"{self.path} has schema version {found}, this program needs {SCHEMA_VERSION}")

        self.call(create)

    def call(self, book: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``book`` in one writing transaction. Raises ``StoreFailed`` when the database does not answer."""
        try:
            with self.engine.begin() as tx:
                return book(tx, *args, **kwargs)
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            raise StoreFailed(str(error.__cause__ or error)) from error

    def look(self, book: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``book`` on one consistent snapshot; it writes nothing."""
        try:
            with self.engine.connect().execution_options(snapshot=True) as tx, tx.begin():
                return book(tx, *args, **kwargs)
        except SQLAlchemyError as error:
            raise StoreFailed(str(error.__cause__ or error)) from error

    async def run(self, book: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """``call`` in a thread."""
        work = asyncio.get_running_loop().run_in_executor(self._threads, lambda: self.call(book, *args, **kwargs))
        return await asyncio.shield(work)

    async def read(self, book: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """``look`` in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: self.look(book, *args, **kwargs))

    def close(self) -> None:
        """Wait for running transactions, then let go of the file."""
        self._threads.shutdown()
        self.engine.dispose()


def upsert(tx: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    """Insert ``rows``, or add their numbers to the rows that have the same primary key."""
    dialect: Any = postgresql if tx.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table)
    sums = {column.name: column + statement.excluded[column.name] for column in table.columns if not column.primary_key}
    tx.execute(statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=sums), rows)


def _on_connect(raw: sqlite3.Connection, _record: Any) -> None:
    raw.isolation_level = None  # we say BEGIN ourselves: see _on_begin
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        raw.execute(f"PRAGMA {pragma}")


def _on_begin(connection: sa.Connection) -> None:
    # A writer takes its lock at once, so that two transactions never both read and then both fail to write.
    snapshot = connection.get_execution_options().get("snapshot")
    connection.exec_driver_sql("BEGIN" if snapshot else "BEGIN IMMEDIATE")
