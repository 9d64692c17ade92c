"""What the store promises on each database: schemas, laws that the database itself keeps, writers that meet."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from openmaas.core.clock import Clock
from openmaas.core.errors import SettingInvalid, StoreFailed
from openmaas.ledger.audit import audit
from openmaas.ledger.book import find_account, list_transfers, top_up, wallet_id
from openmaas.store.changes import note, since
from openmaas.store.database import Database
from openmaas.store.law import LAW, schema_versions
from openmaas.store.migrations import SCHEMA_VERSION
from servers import STORES, new_database, postgres

CLOCK = Clock()
FIRST_SCHEMA = Path(__file__).with_name("schema_1.sql")
#: The first that ran on a server.
SECOND_SCHEMA = Path(__file__).with_name("schema_2.postgresql.sql")


@pytest.fixture(params=STORES)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """An empty database of each kind."""
    made = new_database(request.param, tmp_path)
    yield made
    made.close()


def append_only_tables() -> set[str]:
    """The tables that the law says cannot be changed."""
    money = {"transfers", "prices", "plans", "receipts", "charges", "corrections", "invoices", "write_offs"}
    return {"audit_log", *money}


def schema(database: Database) -> dict[str, Any]:
    """Everything that makes a schema, without the order or the wording in which it was made."""
    look = sa.inspect(database.engine)
    found: dict[str, Any] = {}
    for table in look.get_table_names():
        found[table] = {
            "columns": {c["name"]: (str(c["type"]), c["nullable"], c["default"]) for c in look.get_columns(table)},
            "key": look.get_pk_constraint(table)["constrained_columns"],
            "references": sorted((k["constrained_columns"], k["referred_table"]) for k in look.get_foreign_keys(table)),
            "checks": sorted(re.sub(r"\s+", " ", c["sqltext"]) for c in look.get_check_constraints(table)),
            "unique": sorted(k["column_names"] for k in look.get_unique_constraints(table)),
            "indexes": sorted((i["name"], i["column_names"], i["unique"]) for i in look.get_indexes(table)),
        }
    triggers = "SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger'"
    partial = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql LIKE '%WHERE%'"
    if database.engine.dialect.name == "postgresql":
        body = "pg_get_triggerdef(t.oid) || p.prosrc"
        triggers = f"SELECT tgname, tgrelid::regclass::text, {body} FROM pg_trigger t "  # noqa: S608 - our own text
        triggers += "JOIN pg_proc p ON p.oid = tgfoid WHERE NOT tgisinternal"
        partial = "SELECT indexname, indexdef FROM pg_indexes WHERE indexdef LIKE '%WHERE%'"
    with database.engine.connect() as tx:
        for name, query in (("triggers", triggers), ("partial", partial)):
            rows = tx.exec_driver_sql(query.replace("%", "%%") if "pg_" in query else query)
            found[name] = sorted(tuple(re.sub(r"\s+", " ", text) for text in row) for row in rows)
    return found


def test_an_old_schema_becomes_what_a_new_one_is_and_its_books_agree(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "old") as old:
        old.executescript(FIRST_SCHEMA.read_text())
        before = old.execute("SELECT sum(amount_nanos), count(*) FROM receipts").fetchone()
    old.close()
    migrated, fresh = Database(tmp_path / "old"), Database(tmp_path / "new")
    for database in (migrated, fresh, migrated):  # the second time there is nothing to do
        database.prepare()
    assert schema(migrated) == schema(fresh)
    report = migrated.look(audit, tmp_path, {})
    assert report.disagreements == []
    assert report.receipts == before[1] == 6
    charged = migrated.look(lambda tx: tx.exec_driver_sql("SELECT sum(amount_nanos) FROM charges").scalar())
    assert charged == before[0] > 0
    for database in (migrated, fresh):
        database.close()


def test_an_old_schema_of_a_server_becomes_what_a_new_one_is(tmp_path: Path) -> None:
    migrated, fresh = Database(postgres().database()), new_database("postgresql", tmp_path)
    with migrated.engine.begin() as tx:
        tx.exec_driver_sql(SECOND_SCHEMA.read_text())
    migrated.prepare()
    assert schema(migrated) == schema(fresh)
    counted = "SELECT requests, amount_nanos, units_call FROM usage_days"
    assert migrated.look(lambda tx: tx.exec_driver_sql(counted).all()) == [(1, 5, 0)]
    for database in (migrated, fresh):
        database.close()


def test_a_schema_with_journals_that_nobody_posted_is_left_as_it_is(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "old") as old:
        old.executescript(FIRST_SCHEMA.read_text())
        old.execute("UPDATE journals SET state = 'open'")
    old.close()
    database = Database(tmp_path / "old")
    with pytest.raises(SettingInvalid, match="stop_the_old_house_first"):
        database.prepare()
    assert database.look(lambda tx: tx.exec_driver_sql("SELECT max(version) FROM schema_versions").scalar()) == 1
    database.close()


def test_a_schema_of_a_newer_program_is_refused(database: Database) -> None:
    database.call(lambda tx: tx.execute(schema_versions.insert().values(version=SCHEMA_VERSION + 1)))
    with pytest.raises(SettingInvalid, match="newer openmaas"):
        database.prepare()


def test_both_databases_have_the_same_tables_with_the_same_laws(tmp_path: Path) -> None:
    made = [new_database(store, tmp_path) for store in STORES]
    ours, theirs = (schema(database) for database in made)
    for table in LAW.tables:
        assert ours[table]["columns"].keys() == theirs[table]["columns"].keys()
        assert ours[table]["key"] == theirs[table]["key"]
        assert ours[table]["references"] == theirs[table]["references"]
        assert len(ours[table]["checks"]) == len(theirs[table]["checks"]), table
        assert {t for _, t, _ in ours["triggers"]} == {t for _, t, _ in theirs["triggers"]}
        assert (
            [name for name, _ in ours["partial"]] == [name for name, _ in theirs["partial"]] == ["receipts_estimated"]
        )
    for database in made:
        database.close()


def filled(database: Database, name: str) -> tuple[dict[str, Any], ...]:
    """A row in an append-only table, put there without the tables that it speaks of; and one that is only like it."""
    table = LAW.tables[name]
    values = {"Integer": 1, "BigInteger": 1, "LargeBinary": bytes(32), "JSON": {}, "Boolean": False}
    row = {c.name: values.get(type(c.type).__name__, c.name) for c in table.columns if not c.nullable}
    row |= {"state": "posted", "kind": "grant"} if name == "transfers" else {}
    row |= {"pending_id": "begun"} if name == "transfers" else {}
    row |= {"transfer_id": "moved"} if name == "charges" else {}
    with database.engine.connect() as tx:
        if database.engine.dialect.name == "sqlite":
            tx.exec_driver_sql("COMMIT")
            tx.exec_driver_sql("PRAGMA foreign_keys = OFF")
            tx.exec_driver_sql("BEGIN")
        else:
            tx.exec_driver_sql("SET session_replication_role = replica")
        tx.execute(table.insert().values(row))
        tx.commit()
        if database.engine.dialect.name == "postgresql":
            tx.exec_driver_sql("SET session_replication_role = origin")
            tx.commit()
    return row, {c.name: f"{c.name}2" if isinstance(c.type, sa.String) else 2 for c in table.columns if c.name in row}


@pytest.mark.parametrize("name", sorted(append_only_tables()))
def test_every_append_only_table_refuses_change_and_deletion(database: Database, name: str) -> None:
    assert {table for _, table, _ in schema(database)["triggers"]} == append_only_tables()
    filled(database, name)
    column = next(iter(LAW.tables[name].columns)).name
    for statement in (f"UPDATE {name} SET {column} = {column}", f"DELETE FROM {name}"):  # noqa: S608 - our own law
        with pytest.raises(sa.exc.IntegrityError, match="append-only"):
            database.call(lambda tx, text=statement: tx.exec_driver_sql(text))


@pytest.mark.parametrize("name", sorted(append_only_tables()))
def test_no_key_of_an_append_only_table_lets_a_row_be_replaced(name: str, tmp_path: Path) -> None:
    """``INSERT OR REPLACE`` deletes, on SQLite, without a word to the triggers of deletion; an outsider too."""
    database = new_database("sqlite", tmp_path)
    row, other = filled(database, name)
    table = LAW.tables[name]
    unique = [one for one in table.constraints if isinstance(one, sa.UniqueConstraint | sa.PrimaryKeyConstraint)]
    assert unique
    for key in unique:
        same = {**row, **other, **{column.name: row[column.name] for column in key.columns}}
        names, marks = ", ".join(same), ", ".join(f":{column}" for column in same)
        same = {column: "{}" if value == {} else value for column, value in same.items()}
        with sqlite3.connect(tmp_path / "db") as outsider, pytest.raises(sqlite3.IntegrityError, match="append-only"):
            outsider.execute(f"INSERT OR REPLACE INTO {name} ({names}) VALUES ({marks})", same)  # noqa: S608 - our own law
        outsider.close()
    database.close()


def test_writers_that_meet_are_each_done_once_and_changes_come_in_the_order_of_commits(database: Database) -> None:
    """Eight threads top up one wallet, every payment by two of them."""
    begun: list[threading.Thread] = []

    def pay(first: int) -> None:
        for number in range(first, first + 20):
            key = {"currency": "CNY", "amount_nanos": 1, "request_key": str(number), "memo": ""}
            database.call(lambda tx, fields=key: (top_up(tx, CLOCK, "org", **fields), note(tx, "test", "x")))

    for number in range(8):
        begun.append(threading.Thread(target=pay, args=(number // 2 * 20,)))
        begun[-1].start()
    for thread in begun:
        thread.join()
    assert database.look(find_account, wallet_id("org", "CNY")).posted_nanos == 80
    assert len(database.look(list_transfers, account_id=None, after="", limit=1_000)) == 80
    assert [change.seq for change in database.look(since, 0)] == list(range(1, 161))


def test_who_waits_to_write_looks_more_often_than_sqlite_itself_does(tmp_path: Path) -> None:
    """Or a poster that writes one batch after the other always has the lock again when a relay looks."""
    database = new_database("sqlite", tmp_path)
    path = str(database.engine.url.database)

    def plainly() -> None:
        with contextlib.closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")

    def late_s(begin: Callable[[], object]) -> float:
        """How long after the lock was let go, which was held for half a second, ``begin`` had it."""
        held, free_s = threading.Event(), [0.0]

        def hold() -> None:
            with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                held.set()
                time.sleep(0.5)
                free_s[0] = time.monotonic()

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait()
        begin()
        found_s = time.monotonic()
        holder.join()
        return found_s - free_s[0]

    ours = statistics.median(late_s(lambda: database.call(lambda _tx: None)) for _ in range(5))
    theirs = statistics.median(late_s(plainly) for _ in range(5))
    database.close()
    assert ours < theirs / 2


def test_a_snapshot_does_not_see_what_is_written_beside_it_and_writes_nothing(database: Database) -> None:
    def look_twice(tx: sa.Connection) -> tuple[int, int]:
        count = sa.text("SELECT count(*) FROM transfers")
        first = tx.execute(count).scalar_one()
        database.call(top_up, CLOCK, "org", currency="CNY", amount_nanos=10, request_key="1", memo="")
        return int(first), int(tx.execute(count).scalar_one())

    assert database.look(look_twice) == (0, 0)


@pytest.mark.alone
def test_a_server_that_goes_away_and_comes_back_loses_nothing_that_was_answered() -> None:
    server = postgres()
    database = Database(server.database())
    database.prepare()
    database.call(top_up, CLOCK, "org", currency="CNY", amount_nanos=10, request_key="1", memo="")
    server.kill()
    with pytest.raises(StoreFailed):
        database.look(find_account, wallet_id("org", "CNY"))
    server.start()
    assert database.look(find_account, wallet_id("org", "CNY")).posted_nanos == 10
    database.close()


@pytest.mark.parametrize("address", ["mysql://host/name", "postgresql://host:port/name"])
def test_an_address_that_nobody_can_serve_is_named(address: str) -> None:
    with pytest.raises(SettingInvalid) as raised:
        Database(address)
    assert raised.value.field == "database_url"
