"""The database: one place that knows how a transaction begins.

SQLite (one host, one writer at a time) or PostgreSQL (many hosts), spoken to in the same SQLAlchemy Core statements. A
room hands in a *book function*, a pure function of one ``Connection``; it runs whole in one transaction, in a thread.
Writers see the database as if they ran one after the other: on SQLite they do, on PostgreSQL they are ``SERIALIZABLE``
(https://www.postgresql.org/docs/current/transaction-iso.html) and one that met another begins again. That is safe
because a book function does nothing but its statements.

A commit whose answer was lost may have happened. Whoever must know makes the call repeatable, by a key of its own.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError

from openmaas.core.bounds import (
    BUSY_LOOK_S,
    BUSY_TIMEOUT_S,
    CONNECT_DATABASE_S,
    DATABASE_THREADS,
    TRANSACTION_PAUSE_S_MAX,
    TRANSACTION_TRIES_MAX,
    VANISHED_S,
)
from openmaas.core.errors import SettingInvalid, StoreFailed
from openmaas.store.migrations import migrate

P = ParamSpec("P")
T = TypeVar("T")

#: SQLSTATEs after which the same transaction may succeed: it met another one, or the same key was just written.
_MET_ANOTHER = frozenset({"40001", "40P01"})
_KEY_TAKEN = "23505"


#: A machine that loses its power inside a transaction closes no socket, and its locks would stop every house; one that
#: loses its server would wait as long. https://www.postgresql.org/docs/current/runtime-config-client.html, and libpq's
#: parameters.
_WHEN_THE_OTHER_VANISHES = {
    "options": f"-c idle_in_transaction_session_timeout={VANISHED_S * 1000} -c tcp_user_timeout={VANISHED_S * 1000}",
    "connect_timeout": CONNECT_DATABASE_S,
    "keepalives_idle": VANISHED_S // 2,
    "keepalives_interval": VANISHED_S // 6,
    "keepalives_count": 3,
    "tcp_user_timeout": VANISHED_S * 1000,
}


class Database:
    """One database. ``run`` and ``read`` are for async faces, ``call`` and ``look`` the same in the calling thread."""

    def __init__(self, address: str | Path) -> None:
        """``address`` is the path of an SQLite file or a URL such as ``postgresql://user:password@host/name``.

        Raises ``SettingInvalid`` for an address that nobody can serve.
        """
        self.engine = _engine(address)
        postgresql = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        self._snapshot = postgresql if self.engine.dialect.name == "postgresql" else {"snapshot": True}
        self._threads = ThreadPoolExecutor(DATABASE_THREADS, thread_name_prefix="database")

    def prepare(self) -> None:
        """Create what is missing and bring an older schema up to date.

        Raises ``SettingInvalid`` for a schema that is newer than this program, ``StoreFailed`` when the database does
        not answer.
        """
        try:
            migrate(self.engine)
        except SQLAlchemyError as error:
            raise StoreFailed(str(error.__cause__ or error)) from error

    def call(self, book: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``book`` in one writing transaction. Raises ``StoreFailed`` when the database does not answer."""
        key_taken = False
        for number in range(1, TRANSACTION_TRIES_MAX + 1):
            try:
                with self.engine.begin() as tx:
                    return book(tx, *args, **kwargs)
            except SQLAlchemyError as error:
                state = getattr(error.__cause__, "sqlstate", None)
                again = state in _MET_ANOTHER or (state == _KEY_TAKEN and not key_taken)
                key_taken = key_taken or state == _KEY_TAKEN
                if not again or number == TRANSACTION_TRIES_MAX:
                    if isinstance(error, IntegrityError):
                        raise
                    raise StoreFailed(str(error.__cause__ or error)) from error
            time.sleep(random.uniform(0, min(0.001 * 2**number, TRANSACTION_PAUSE_S_MAX)))  # noqa: S311 - so that two part
        raise AssertionError("the last try returns or raises")

    def look(self, book: Callable[Concatenate[sa.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``book`` on one consistent snapshot; it writes nothing."""
        try:
            with self.engine.connect().execution_options(**self._snapshot) as tx, tx.begin():
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
    """Insert ``rows``, or add their numbers to the rows that have the same primary key.

    As text, which SQLite and PostgreSQL read alike; SQLAlchemy has a construct for each dialect, and importing the
    second one costs every program at its start.
    """
    names, same = [column.name for column in table.columns], [column.name for column in table.primary_key]
    values = ", ".join(f":{name}" for name in names)
    sums = ", ".join(f"{name} = {table.name}.{name} + excluded.{name}" for name in names if name not in same)
    statement = (
        f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({values}) "  # noqa: S608 - names are our own law
        f"ON CONFLICT ({', '.join(same)}) DO UPDATE SET {sums}"
    )
    tx.execute(sa.text(statement), rows)


def _engine(address: str | Path) -> sa.Engine:
    text = f"sqlite:///{address}" if isinstance(address, Path) else address
    if text.startswith("sqlite:///"):
        engine = sa.create_engine(text, connect_args={"timeout": BUSY_TIMEOUT_S})
        event.listen(engine, "connect", _on_connect)
        event.listen(engine, "begin", _on_begin)
        return engine
    scheme, _, rest = text.partition("://")
    if scheme not in ("postgresql", "postgres"):
        raise SettingInvalid("database_url must begin with postgresql:// or sqlite:///", field="database_url")
    try:
        return sa.create_engine(
            f"postgresql+psycopg://{rest}",
            isolation_level="SERIALIZABLE",
            pool_pre_ping=True,
            connect_args=_WHEN_THE_OTHER_VANISHES,
        )
    except ModuleNotFoundError:
        said = "database_url names PostgreSQL, whose driver is not installed; run: make setup-postgres"
        raise SettingInvalid(said, field="database_url") from None
    except (ArgumentError, ValueError) as error:
        raise SettingInvalid(f"database_url cannot be read: {error}", field="database_url") from None


def _on_connect(raw: sqlite3.Connection, _record: Any) -> None:
    raw.isolation_level = None  # we say BEGIN ourselves: see _on_begin
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        raw.execute(f"PRAGMA {pragma}")


def _on_begin(connection: sa.Connection) -> None:
    # A writer takes its lock at once, so that two transactions never both read and then both fail to write.
    if connection.get_execution_options().get("snapshot"):
        connection.exec_driver_sql("BEGIN")
    else:
        _begin_writing(connection)


def _begin_writing(connection: sa.Connection) -> None:
    """Take the lock. SQLite's own way of waiting looks ten times a second at last, and a program that writes one
    transaction after the other always has it again by then."""
    raw, until_s = connection.connection.dbapi_connection, time.monotonic() + BUSY_TIMEOUT_S
    assert raw is not None
    raw.execute("PRAGMA busy_timeout = 0")
    try:
        while time.monotonic() < until_s:
            try:
                raw.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # what is above says why
                if code != sqlite3.SQLITE_BUSY:
                    break
                time.sleep(BUSY_LOOK_S)
            else:
                return
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # once more, so that what is wrong is raised as it always is
    finally:
        raw.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000:.0f}")
