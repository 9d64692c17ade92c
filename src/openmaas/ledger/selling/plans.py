"""The book of plans: what is for sale by the month."""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from openmaas.core.clock import Clock
from openmaas.core.errors import FieldInvalid, ThingUnknown
from openmaas.ledger.law_sold import plans
from openmaas.ledger.spending.plans import PlanTerms, decode_terms

_encode = msgspec.json.Encoder(order="deterministic").encode


class Plan(msgspec.Struct, frozen=True):
    """What is for sale."""

    id: str
    name: str
    terms: PlanTerms
    created_ms: int


def add_plan(tx: sa.Connection, clock: Clock, name: str, terms: PlanTerms) -> Plan:
    """Offer a plan. Raises ``FieldInvalid``."""
    names = [window.name for window in terms.windows]
    if not names or len(set(names)) != len(names):
        raise FieldInvalid("a plan needs windows of different names", field="windows")
    for window in terms.windows:
        if window.amount_nanos <= 0 or (window.kind != "month" and window.seconds <= 0):
            raise FieldInvalid(f"the window {window.name!r} needs credits, and a length above 0", field="windows")
    made = Plan(clock.new_id("pln").lower(), name, terms, clock.wall_ms())
    tx.execute(plans.insert().values(**msgspec.structs.asdict(made) | {"terms": _encode(terms).decode()}))
    return made


def list_plans(tx: sa.Connection, *, after: str = "", limit: int) -> list[Plan]:
    """Plans by id, after ``after``."""
    query = sa.select(plans).where(plans.c.id > after).order_by(plans.c.id).limit(limit)
    return [_plan(row) for row in tx.execute(query).mappings()]


def find_plan(tx: sa.Connection, plan_id: str) -> Plan:
    """The plan of this id. Raises ``ThingUnknown``."""
    row = tx.execute(sa.select(plans).where(plans.c.id == plan_id)).mappings().first()
    if row is None:
        raise ThingUnknown(f"there is no plan {plan_id}", field="plan_id")
    return _plan(row)


def _plan(row: sa.RowMapping) -> Plan:
    return Plan(row["id"], row["name"], decode_terms(row["terms"]), row["created_ms"])
