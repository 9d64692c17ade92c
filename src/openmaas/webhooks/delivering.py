"""The deliverer's half of the book of webhooks, as pure functions of one transaction: events become deliveries, which
are claimed, tried and tried again.

A delivery is claimed by moving its due time on; whoever dies with it leaves it to the next. An endpoint may hear an
event twice, and tells it by its id. It knows nothing of how a delivery is sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from openmaas.core.bounds import (
    DISABLE_AFTER_S,
    EVENTS_KEPT_S,
    PAGE_SIZE_MAX,
    WEBHOOK_CLAIM_S,
    WEBHOOK_RETRIES_S,
    WEBHOOKS_AT_ONCE,
    WEBHOOKS_AT_ONCE_EACH,
)
from openmaas.core.clock import Clock
from openmaas.store.outbox import Event, event_of, events
from openmaas.webhooks.book import Delivery, Endpoint, endpoint_of
from openmaas.webhooks.law import deliveries, endpoints


class Claimed(msgspec.Struct, frozen=True):
    """A delivery to make now."""

    delivery: Delivery
    endpoint: Endpoint
    event: Event


def fan_out(tx: sa.Connection, clock: Clock) -> int:
    """Make a delivery of each new event for each endpoint that wants it. Returns how many events there were."""
    query = sa.select(events).where(events.c.fanned.is_(False)).order_by(events.c.id).limit(PAGE_SIZE_MAX)
    fresh = [event_of(row) for row in tx.execute(query).mappings()]
    if not fresh:
        return 0
    owners = {event.organisation_id for event in fresh}
    listening: dict[str, list[Endpoint]] = {}
    which = endpoints.c.organisation_id.in_(owners) & endpoints.c.enabled.is_(True)
    for row in tx.execute(sa.select(endpoints).where(which)).mappings():
        listening.setdefault(row["organisation_id"], []).append(endpoint_of(row))
    rows = [
        _new(clock, endpoint, event)
        for event in fresh
        for endpoint in listening.get(event.organisation_id, ())
        if _wants(endpoint, event)
    ]
    if rows:
        tx.execute(deliveries.insert(), rows)
    tx.execute(events.update().where(events.c.id.in_([event.id for event in fresh])).values(fanned=True))
    return len(fresh)


def waiting(tx: sa.Connection, clock: Clock, busy: Mapping[str, str]) -> bool:
    """True when there is something to fan out, or to deliver now: a look that locks nothing."""
    if tx.execute(sa.select(events.c.id).where(events.c.fanned.is_(False)).limit(1)).first() is not None:
        return True
    return bool(_next(tx, clock.wall_ms(), busy))


def claim(tx: sa.Connection, clock: Clock, busy: Mapping[str, str]) -> list[Claimed]:
    """Deliveries that are due, oldest first, claimed for ``WEBHOOK_CLAIM_S``: one for each endpoint that is not
    ``busy``, and as many as the bounds leave room for beside these (endpoints with their organisations), so that slow
    ones keep nobody else waiting."""
    now_ms = clock.wall_ms()
    found = _next(tx, now_ms, busy)
    ids = [each.delivery.id for each in found]
    tx.execute(deliveries.update().where(deliveries.c.id.in_(ids)).values(due_ms=now_ms + WEBHOOK_CLAIM_S * 1000))
    return found


def _next(tx: sa.Connection, now_ms: int, busy: Mapping[str, str]) -> list[Claimed]:
    due = (deliveries.c.state == "pending") & (deliveries.c.due_ms <= now_ms)
    due = due & deliveries.c.endpoint_id.not_in(busy)
    first = sa.select(sa.func.min(deliveries.c.id)).where(due).group_by(deliveries.c.endpoint_id)
    place = sa.func.row_number().over(partition_by=endpoints.c.organisation_id, order_by=deliveries.c.due_ms)
    query = (
        sa.select(deliveries, *_named(endpoints, "to_"), *_named(events, "of_"), place.label("place"))
        .join(endpoints, endpoints.c.id == deliveries.c.endpoint_id)
        .join(events, events.c.id == deliveries.c.event_id)
        .where(deliveries.c.id.in_(first), endpoints.c.enabled.is_(True))
        .subquery()
    )
    # Of each organisation no more than could go were none of its own on the way; those that are make some of them stay.
    near = sa.select(query).where(query.c.place <= WEBHOOKS_AT_ONCE_EACH).order_by(query.c.due_ms)
    found: list[Claimed] = []
    each = Counter(busy.values())
    for row in tx.execute(near.limit(WEBHOOKS_AT_ONCE)).mappings():
        owner = row["to_organisation_id"]
        if each[owner] < WEBHOOKS_AT_ONCE_EACH and each.total() < WEBHOOKS_AT_ONCE:
            each[owner] += 1
            found.append(_claimed(row))
    return found


def note_attempt(tx: sa.Connection, clock: Clock, what: Claimed, status: int, answer: str, jitter: float) -> bool:
    """Write down how an attempt ended; ``jitter`` is a part of 1. True when the endpoint is to hear nothing any more:
    it is gone (410), or nothing has reached it for ``DISABLE_AFTER_S``."""
    now_ms, delivery, endpoint = clock.wall_ms(), what.delivery, what.endpoint
    attempts, done = delivery.attempts + 1, 200 <= status < 300
    values: dict[str, Any] = {"attempts": attempts, "last_ms": now_ms, "last_status": status, "last_answer": answer}
    if done:
        values["state"] = "done"
    elif attempts > len(WEBHOOK_RETRIES_S):
        values["state"] = "failed"
    else:
        wait_s = WEBHOOK_RETRIES_S[attempts - 1]
        values["due_ms"] = now_ms + round(wait_s * 1000 * (1 + jitter / 10))
    tx.execute(deliveries.update().where(deliveries.c.id == delivery.id).values(values))
    since_ms = None if done else endpoint.failing_since_ms or now_ms
    gone: bool = status == 410 or (since_ms is not None and now_ms - since_ms > DISABLE_AFTER_S * 1000)
    changes = {"failing_since_ms": since_ms, **({"enabled": False} if gone else {})}
    if since_ms != endpoint.failing_since_ms or gone:
        tx.execute(endpoints.update().where(endpoints.c.id == endpoint.id).values(changes))
    return gone


def forget(tx: sa.Connection, clock: Clock) -> None:
    """Forget what happened longer ago than ``EVENTS_KEPT_S``, however it was told."""
    before = clock.wall_ms() - EVENTS_KEPT_S * 1000
    old = sa.select(events.c.id).where(events.c.at_ms < before)
    tx.execute(deliveries.delete().where(deliveries.c.event_id.in_(old)))
    tx.execute(events.delete().where(events.c.at_ms < before))


def _wants(endpoint: Endpoint, event: Event) -> bool:
    if event.type == "webhook.test":
        asked: dict[str, str] = msgspec.json.decode(event.data)
        return asked["endpoint_id"] == endpoint.id
    if event.at_ms < endpoint.created_ms:  # it was told before anybody listened there
        return False
    return endpoint.types is None or event.type in endpoint.types


def _new(clock: Clock, endpoint: Endpoint, event: Event) -> dict[str, Any]:
    fresh = Delivery(clock.new_id("dlv").lower(), endpoint.id, event.id, "pending", 0, clock.wall_ms(), None, None, "")
    return msgspec.structs.asdict(fresh)


def _named(table: sa.Table, prefix: str) -> list[sa.Label[Any]]:
    return [column.label(prefix + column.name) for column in table.columns]


def _claimed(row: sa.RowMapping) -> Claimed:
    own = {name: row[name] for name in Delivery.__struct_fields__}
    to = {name: row[f"to_{name}"] for name in Endpoint.__struct_fields__}
    of = {name: row[f"of_{name}"] for name in Event.__struct_fields__ if name != "data"}
    return Claimed(Delivery(**own), endpoint_of(to), Event(**of, data=msgspec.Raw(row["of_data"].encode())))
