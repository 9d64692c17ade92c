"""The law: one metadata for the tables of every room, and what the database itself refuses.

Rooms define their tables on ``LAW``; the composition root names the rooms. The same definitions make an SQLite and a
PostgreSQL schema.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import event

#: Every table of every room.
LAW = sa.MetaData()

schema_versions = sa.Table("schema_versions", LAW, sa.Column("version", sa.Integer, primary_key=True))

#: Raises on PostgreSQL; one function serves every append-only table.
_REFUSE = """
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation'; END $$
"""


def append_only(table: sa.Table) -> None:
    """Make the database itself refuse to change or delete a row of ``table``, which has all its keys by now.

    SQLite's ``INSERT OR REPLACE`` deletes the row that has the same key and tells no trigger of it: so the insertion of
    a key that is there is refused too.
    """
    name = table.name
    statements = [
        *[
            (
                "sqlite",
                f"CREATE TRIGGER {name}_no_{verb.lower()} BEFORE {verb} ON {name} "
                f"BEGIN SELECT RAISE(ABORT, '{name} is append-only'); END",
            )
            for verb in ("UPDATE", "DELETE")
        ],
        (
            "sqlite",
            f"CREATE TRIGGER {name}_no_replace BEFORE INSERT ON {name} "  # noqa: S608 - names are our own law
            f"WHEN EXISTS (SELECT 1 FROM {name} WHERE {_same_key(table)}) "
            f"BEGIN SELECT RAISE(ABORT, '{name} is append-only'); END",
        ),
        ("postgresql", _REFUSE.replace("%", "%%")),
        (
            "postgresql",
            f"CREATE TRIGGER {name}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {name} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()",
        ),
    ]
    for dialect, text in statements:
        ddl = sa.DDL(text)  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
        event.listen(table, "after_create", ddl.execute_if(dialect=dialect))


def _same_key(table: sa.Table) -> str:
    """When a row has the primary key or a unique one of the row ``NEW``."""
    unique = [key for key in table.constraints if isinstance(key, sa.UniqueConstraint)]
    keys = [[*table.primary_key.columns], *sorted(([*key.columns] for key in unique), key=str)]
    return " OR ".join(" AND ".join(f"{name} = NEW.{name}" for name in (c.name for c in key)) for key in keys)
