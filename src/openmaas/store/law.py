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
    """Make the database itself refuse to change or delete a row of ``table``."""
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
