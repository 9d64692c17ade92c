"""Other names of models: what a customer asks for that is no model here, and which model answers it.

Coding tools ask for models of their vendor (``claude-…``); the operator says which of ours they get. A name is matched
without regard to case and without the suffix ``[1m]`` by which Claude Code asks for a long context. A project may have
names of its own: they come first, before the names of models, so that it stays with a model while others move on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import sqlalchemy as sa

from openmaas.catalog.book import find_model
from openmaas.catalog.law import aliases
from openmaas.core.clock import Clock
from openmaas.core.errors import FieldInvalid, ThingUnknown
from openmaas.store.changes import note

#: What follows a name to ask for its long context; a model has one context here, and its name is the same.
_LONG = "[1m]"


class Alias(msgspec.Struct, frozen=True):
    """``pattern``, in lower case, names ``model``; with ``*`` at its end every name that begins so does. It holds for
    one project, or for everybody when ``project_id`` is empty."""

    pattern: str
    model: str
    created_ms: int
    project_id: str = ""


def set_alias(tx: sa.Connection, clock: Clock, pattern: str, model: str, project_id: str = "") -> Alias:
    """Let ``pattern`` name ``model``, whatever it named before. Raises ``ModelUnknown`` and ``FieldInvalid``.

    That there is such a project is the caller's to see: this room does not know projects.
    """
    pattern = plain(pattern)
    if not pattern or "*" in pattern[:-1] or not pattern.isprintable():
        raise FieldInvalid("pattern must be a name, with * at its end only", field="pattern")
    made = Alias(pattern, find_model(tx, model).name, clock.wall_ms(), project_id)
    tx.execute(aliases.delete().where(_is(pattern, project_id)))
    tx.execute(aliases.insert().values(msgspec.structs.asdict(made)))
    note(tx, "catalog", pattern)
    return made


def remove_alias(tx: sa.Connection, pattern: str, project_id: str = "") -> None:
    """Forget ``pattern``. Raises ``ThingUnknown``."""
    if not tx.execute(aliases.delete().where(_is(plain(pattern), project_id))).rowcount:
        whose = f" of project {project_id}" if project_id else ""
        raise ThingUnknown(f"there is no alias {pattern!r}{whose}", field="pattern")
    note(tx, "catalog", plain(pattern))


def list_aliases(tx: sa.Connection, *, project_id: str = "", after: str = "", limit: int | None = None) -> list[Alias]:
    """Those of one project, or of everybody, by pattern after ``after``; all of them without ``limit``."""
    query = sa.select(aliases).where(aliases.c.project_id == project_id, aliases.c.pattern > after)
    return [Alias(**row) for row in tx.execute(query.order_by(aliases.c.pattern).limit(limit)).mappings()]


def list_pins(tx: sa.Connection) -> dict[str, list[Alias]]:
    """The names that projects have of their own, by project."""
    found: dict[str, list[Alias]] = {}
    for row in tx.execute(sa.select(aliases).where(aliases.c.project_id != "")).mappings():
        found.setdefault(row["project_id"], []).append(Alias(**row))
    return found


def plain(name: str) -> str:
    """A name as it is matched."""
    return name.strip().lower().removesuffix(_LONG)


def resolve(name: str, models: Mapping[str, object], aliases: Sequence[Alias]) -> str | None:
    """The model that ``name`` means, or None: a model of this name, then one of this name in another case, then the
    alias that is this name, then the longest pattern that it fits."""
    if name in models:
        return name
    asked = plain(name)
    for model in models:
        if model.lower() == asked:
            return model
    return meant(asked, aliases)


def meant(asked: str, aliases: Sequence[Alias]) -> str | None:
    """The model that a plain name means by these, or None: the alias that is this name, then the longest pattern."""
    best: Alias | None = None
    for alias in aliases:
        if alias.pattern == asked:
            return alias.model
        if alias.pattern.endswith("*") and asked.startswith(alias.pattern[:-1]):
            best = alias if best is None or len(alias.pattern) > len(best.pattern) else best
    return None if best is None else best.model


def _is(pattern: str, project_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(aliases.c.pattern == pattern, aliases.c.project_id == project_id)
