"""The book of limits: pure functions of one transaction."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from openmaas.core.bounds import LIMIT_AMOUNT_MAX, WEIGHT_MAX
from openmaas.core.clock import Clock
from openmaas.core.errors import FieldInvalid, ThingUnknown
from openmaas.limits.law import COUNTED, EVERY_MODEL, KINDS, PRIORITY, SCOPES, WEIGHT, limits
from openmaas.store.changes import note


class Limit(msgspec.Struct, frozen=True):
    """What an operator set: at most ``amount`` of ``kind`` for a subject, on one model or all together (``*``)."""

    id: str
    scope: str
    subject_id: str
    model: str
    kind: str
    amount: int
    set_ms: int


class Precedence(NamedTuple):
    """Of an organisation in the queue of a model that is full: how much more than others it gets, and whether it goes
    before all others (``first``)."""

    weight: int = 1
    first: bool = False


class Rules(msgspec.Struct, frozen=True):
    """Every limit there is, by (scope, subject, model, kind)."""

    amounts: dict[tuple[str, str, str, str], int] = {}
    precede: bool = False  # whether any is a weight or a priority

    def __bool__(self) -> bool:
        return bool(self.amounts)

    def of(
        self, organisation_id: str, project_id: str, key_id: str, model: str, seats: int | None
    ) -> list[tuple[str, str, str, str, int]]:
        """What holds for a request: (scope, subject, model, kind, amount).

        An organisation's own limit counts before its plan's ``seats`` on the model, and these before the default.
        """
        found = []
        for scope, subject in (("organisation", organisation_id), ("project", project_id), ("key", key_id)):
            for name in (model, EVERY_MODEL):
                for kind in COUNTED:
                    amount = self.amounts.get((scope, subject, name, kind))
                    if amount is None and scope == "organisation":
                        if seats is not None and kind == "concurrency" and name == model:
                            amount = seats
                        else:
                            amount = self.amounts.get(("default", "", name, kind))
                    if amount is not None:
                        found.append((scope, subject, name, kind, amount))
        return found

    def precedence(self, organisation_id: str, project_id: str, key_id: str, model: str) -> Precedence:
        """What was set nearest to who asks: for its key, its project, its organisation or everybody."""
        nearest = (("key", key_id), ("project", project_id), ("organisation", organisation_id), ("default", ""))
        cells = [(scope, subject, name) for scope, subject in nearest for name in (model, EVERY_MODEL)]
        weights = (self.amounts.get((*cell, WEIGHT)) for cell in cells)
        return Precedence(next(filter(None, weights), 1), any((*cell, PRIORITY) in self.amounts for cell in cells))


def set_limit(
    tx: sa.Connection, clock: Clock, *, scope: str, subject_id: str, model: str, kind: str, amount: int
) -> Limit:
    """Set a limit, or another amount of one; relays know within ``STALE_AFTER_S``. Raises ``FieldInvalid``.

    That there is such a subject is the caller's to see: this room does not know organisations.
    """
    _check(scope, subject_id, kind, amount)
    cell = {"scope": scope, "subject_id": subject_id, "model": model, "kind": kind}
    values = {"amount": amount, "set_ms": clock.wall_ms()}
    same = sa.and_(*(limits.c[name] == value for name, value in cell.items()))
    limit_id = tx.execute(limits.update().where(same).values(values).returning(limits.c.id)).scalar()
    if limit_id is None:
        limit_id = clock.new_id("lim")
        tx.execute(limits.insert().values(id=limit_id, **cell, **values))
    note(tx, "limits", limit_id)
    return Limit(limit_id, scope, subject_id, model, kind, amount, values["set_ms"])


def remove_limit(tx: sa.Connection, limit_id: str) -> None:
    """There is no such limit from now on. Raises ``ThingUnknown``."""
    if tx.execute(limits.delete().where(limits.c.id == limit_id)).rowcount == 0:
        raise ThingUnknown(f"there is no limit {limit_id}", field="id")
    note(tx, "limits", limit_id)


def list_limits(tx: sa.Connection, *, subject_id: str | None = None, after: str, limit: int) -> list[Limit]:
    """Limits by id, after ``after``; of one subject only when named (the default's is empty)."""
    query = sa.select(limits).where(limits.c.id > after).order_by(limits.c.id).limit(limit)
    if subject_id is not None:
        query = query.where(limits.c.subject_id == subject_id)
    return [_limit(row) for row in tx.execute(query).mappings()]


def rules(tx: sa.Connection) -> Rules:
    """Every limit, as relays remember them."""
    cells = sa.select(limits.c.scope, limits.c.subject_id, limits.c.model, limits.c.kind, limits.c.amount)
    amounts = {(row.scope, row.subject_id, row.model, row.kind): row.amount for row in tx.execute(cells)}
    return Rules(amounts, any(kind not in COUNTED for *_, kind in amounts))


def _limit(row: Any) -> Limit:
    return Limit(**row)


def _check(scope: str, subject_id: str, kind: str, amount: int) -> None:
    if scope not in SCOPES:
        raise FieldInvalid(f"scope must be one of {', '.join(SCOPES)}", field="scope")
    if (scope == "default") != (subject_id == ""):
        said = "the default is for everybody" if subject_id else f"this needs the id of the {scope}"
        raise FieldInvalid(f"subject_id: {said}", field="subject_id")
    if kind not in KINDS:
        raise FieldInvalid(f"kind must be one of {', '.join(KINDS)}", field="kind")
    if not 1 <= amount <= LIMIT_AMOUNT_MAX:
        raise FieldInvalid(f"amount must be between 1 and {LIMIT_AMOUNT_MAX}", field="amount")
    if kind == WEIGHT and amount > WEIGHT_MAX:
        raise FieldInvalid(f"a weight must be between 1 and {WEIGHT_MAX}", field="amount")
    if kind == PRIORITY and amount != 1:
        raise FieldInvalid("a priority's amount is 1; remove it to have none", field="amount")
