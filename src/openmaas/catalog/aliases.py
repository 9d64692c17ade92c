"""Other names of models: what a customer asks for that is no model here, and which model answers it.

Coding tools ask for models of their vendor (``claude-…``); the operator says which of ours they get. A name is matched
without regard to case and without the suffix ``[1m]`` by which Claude Code asks for a long context.
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
    """``pattern``, in lower case, names ``model``; with ``*`` at its end every name that begins so does."""

    pattern: str
    model: str
    created_ms: int


def set_alias(tx: sa.Connection, clock: Clock, pattern: str, model: str) -> Alias:
    """Let ``pattern`` name ``model``, whatever it named before. Raises ``ModelUnknown`` and ``FieldInvalid``."""
    pattern = plain(pattern)
    if not pattern or "*" in pattern[:-1] or not pattern.isprintable():
        raise FieldInvalid("pattern must be a name, with * at its end only", field="pattern")
    made = Alias(pattern, find_model(tx, model).name, clock.wall_ms())
    tx.execute(aliases.delete().where(aliases.c.pattern == pattern))
    tx.execute(aliases.insert().values(msgspec.structs.asdict(made)))
    note(tx, "catalog", pattern)
    return made


def remove_alias(tx: sa.Connection, pattern: str) -> None:
    """Forget ``pattern``. Raises ``ThingUnknown``."""
    if not tx.execute(aliases.delete().where(aliases.c.pattern == plain(pattern))).rowcount:
        raise ThingUnknown(f"there is no alias {pattern!r}", field="pattern")
    note(tx, "catalog", plain(pattern))


def list_aliases(tx: sa.Connection, *, after: str = "", limit: int | None = None) -> list[Alias]:
    """Aliases by pattern, after ``after``; all of them without ``limit``."""
    query = sa.select(aliases).where(aliases.c.pattern > after).order_by(aliases.c.pattern).limit(limit)
    return [Alias(**row) for row in tx.execute(query).mappings()]


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
    best: Alias | None = None
    for alias in aliases:
        if alias.pattern == asked:
            return alias.model
        if alias.pattern.endswith("*") and asked.startswith(alias.pattern[:-1]):
            best = alias if best is None or len(alias.pattern) > len(best.pattern) else best
    return None if best is None else best.model
