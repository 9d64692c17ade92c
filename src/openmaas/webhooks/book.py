"""The book of webhooks, as pure functions of one transaction: the endpoints that customers set up, and what each was
told. What is on its way stands in ``delivering``."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from typing import Any

import msgspec
import sqlalchemy as sa

from openmaas.core.bounds import SECRET_OVERLAP_S, WEBHOOKS_MAX
from openmaas.core.clock import Clock
from openmaas.core.errors import Conflict, FieldInvalid, ThingUnknown
from openmaas.store.outbox import EVENTS, announce
from openmaas.webhooks.law import deliveries, endpoints

#: Random bytes of a secret: the specification wants 24 to 64.
_SECRET_SIZE = 32


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where a customer listens. ``types`` None: to everything."""

    id: str
    organisation_id: str
    url: str
    types: tuple[str, ...] | None = None
    description: str = ""
    enabled: bool = True
    secret_sealed: bytes
    master_version: int
    old_secret_sealed: bytes | None = None
    old_until_ms: int | None = None
    failing_since_ms: int | None = None
    created_ms: int


class Delivery(msgspec.Struct, frozen=True):
    """What one endpoint was told of one event, or will be."""

    id: str
    endpoint_id: str
    event_id: str
    state: str
    attempts: int
    due_ms: int
    last_ms: int | None
    last_status: int | None
    last_answer: str


def new_secret() -> bytes:
    """What signs."""
    return secrets.token_bytes(_SECRET_SIZE)


def check_types(types: Collection[str] | None) -> None:
    """Raises ``FieldInvalid``."""
    unknown = set(types or ()) - set(EVENTS)
    if unknown:
        raise FieldInvalid(f"types has {sorted(unknown)[0]!r}; known are {', '.join(EVENTS)}", field="types")


def add_endpoint(tx: sa.Connection, endpoint: Endpoint) -> Endpoint:
    """Listen. Raises ``Conflict`` when an organisation has ``WEBHOOKS_MAX``."""
    ours = sa.select(sa.func.count()).where(endpoints.c.organisation_id == endpoint.organisation_id)
    if tx.execute(ours).scalar_one() >= WEBHOOKS_MAX:
        raise Conflict(f"an organisation may have {WEBHOOKS_MAX} endpoints", field="url")
    values = msgspec.structs.asdict(endpoint)
    tx.execute(endpoints.insert().values(values | {"types": _listed(endpoint.types)}))
    return endpoint


def find_endpoint(tx: sa.Connection, endpoint_id: str, organisation_id: str) -> Endpoint:
    """One of an organisation's. Raises ``ThingUnknown``."""
    ours = (endpoints.c.id == endpoint_id) & (endpoints.c.organisation_id == organisation_id)
    row = tx.execute(sa.select(endpoints).where(ours)).mappings().first()
    if row is None:
        raise ThingUnknown(f"there is no webhook {endpoint_id}", field="id")
    return endpoint_of(row)


def list_endpoints(tx: sa.Connection, organisation_id: str, *, after: str = "", limit: int) -> list[Endpoint]:
    """An organisation's, by id."""
    ours = (endpoints.c.organisation_id == organisation_id) & (endpoints.c.id > after)
    return [
        endpoint_of(row)
        for row in tx.execute(sa.select(endpoints).where(ours).order_by(endpoints.c.id).limit(limit)).mappings()
    ]


def change_endpoint(tx: sa.Connection, endpoint_id: str, organisation_id: str, changes: dict[str, Any]) -> Endpoint:
    """Change what an endpoint says. Raises ``ThingUnknown``."""
    find_endpoint(tx, endpoint_id, organisation_id)
    if changes.get("enabled"):
        changes = {**changes, "failing_since_ms": None}
    if "types" in changes:
        changes = {**changes, "types": _listed(changes["types"])}
    tx.execute(endpoints.update().where(endpoints.c.id == endpoint_id).values(changes))
    return find_endpoint(tx, endpoint_id, organisation_id)


def rotate_secret(
    tx: sa.Connection, clock: Clock, endpoint_id: str, organisation_id: str, sealed: tuple[int, bytes], old: bytes
) -> Endpoint:
    """A new secret; ``old``, the one before sealed under the same version, signs too for ``SECRET_OVERLAP_S``."""
    version, secret = sealed
    until = clock.wall_ms() + SECRET_OVERLAP_S * 1000
    values = {"secret_sealed": secret, "master_version": version, "old_secret_sealed": old, "old_until_ms": until}
    return change_endpoint(tx, endpoint_id, organisation_id, values)


def remove_endpoint(tx: sa.Connection, endpoint_id: str, organisation_id: str) -> None:
    """Listen no more; what was told is forgotten with it. Raises ``ThingUnknown``."""
    find_endpoint(tx, endpoint_id, organisation_id)
    tx.execute(deliveries.delete().where(deliveries.c.endpoint_id == endpoint_id))
    tx.execute(endpoints.delete().where(endpoints.c.id == endpoint_id))


def list_deliveries(
    tx: sa.Connection, endpoint_id: str, organisation_id: str, *, state: str | None, after: str = "", limit: int
) -> list[Delivery]:
    """What an endpoint was told, newest first, before ``after``. Raises ``ThingUnknown``."""
    find_endpoint(tx, endpoint_id, organisation_id)
    query = sa.select(deliveries).where(deliveries.c.endpoint_id == endpoint_id)
    if after:
        query = query.where(deliveries.c.id < after)
    if state is not None:
        query = query.where(deliveries.c.state == state)
    rows = tx.execute(query.order_by(deliveries.c.id.desc()).limit(limit)).mappings()
    return [Delivery(**row) for row in rows]


def replay(
    tx: sa.Connection,
    clock: Clock,
    endpoint_id: str,
    organisation_id: str,
    *,
    delivery_id: str | None = None,
    since_ms: int = 0,
) -> int:
    """Deliver again: one delivery, or all that failed since a moment. Returns how many. Raises ``ThingUnknown``."""
    find_endpoint(tx, endpoint_id, organisation_id)
    if delivery_id is not None:
        which = deliveries.c.id == delivery_id
    else:
        which = (deliveries.c.state == "failed") & (deliveries.c.last_ms >= since_ms)
    which = which & (deliveries.c.endpoint_id == endpoint_id)
    values = {"state": "pending", "attempts": 0, "due_ms": clock.wall_ms()}
    count = tx.execute(deliveries.update().where(which).values(values)).rowcount
    if delivery_id is not None and not count:
        raise ThingUnknown(f"there is no delivery {delivery_id}", field="delivery_id")
    return int(count)


def test_event(tx: sa.Connection, clock: Clock, endpoint_id: str, organisation_id: str) -> None:
    """Send something harmless. Raises ``ThingUnknown``."""
    find_endpoint(tx, endpoint_id, organisation_id)
    announce(tx, clock, organisation_id, "webhook.test", {"endpoint_id": endpoint_id})


def endpoint_of(row: sa.RowMapping | dict[str, Any]) -> Endpoint:
    """The endpoint of a row of ``endpoints``."""
    fields = dict(row)
    fields["types"] = None if fields["types"] is None else tuple(fields["types"])
    return Endpoint(**fields)


def _listed(types: tuple[str, ...] | list[str] | None) -> list[str] | None:
    return None if types is None else list(types)
