"""The outbox: what customers are told, written in the transaction of what it tells of.

Neither is there without the other. ``webhooks`` fans an event out to whoever wants it; nothing here knows who that is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from openmaas.core.clock import Clock
from openmaas.store.law import LAW

#: Every type of event, and what it tells.
EVENTS = {
    "account.exhausted": "a wallet, pack, window or budget could not cover a request; told once an hour",
    "budget.changed": "a budget was set or changed",
    "credit_note.made": "what was charged was given back",
    "invoice.issued": "a month's invoice was issued",
    "key.created": "a key was created",
    "key.revoked": "a key was revoked",
    "order.paid": "an order was paid",
    "pack.ended": "what was left of a resource pack is gone",
    "pack.granted": "a resource pack was given or sold",
    "refund.begun": "money was set aside to be paid out",
    "refund.ended": "it was paid out, or it came back",
    "subscription.changed": "a subscription has another plan, or will have",
    "subscription.renewal_failed": "the next month could not be paid; told once for each month",
    "subscription.renewed": "the next month was paid",
    "subscription.started": "a subscription began",
    "voucher.redeemed": "a voucher was redeemed",
    "wallet.low": "a wallet fell below the organisation's threshold",
    "wallet.topped_up": "money came in",
    "webhook.test": "somebody asked for a test",
}

events = sa.Table(
    "events",
    LAW,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("organisation_id", sa.String, nullable=False),
    sa.Column("type", sa.String, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("data", sa.Text, nullable=False),  # JSON
    sa.Column("once", sa.String, unique=True),  # NULL: it may be told again
    sa.Column("fanned", sa.Boolean, nullable=False),
    sa.Index("events_by_fan", "fanned", "id"),
)


class Event(msgspec.Struct, frozen=True):
    """Something that happened to an organisation."""

    id: str
    organisation_id: str
    type: str
    at_ms: int
    data: msgspec.Raw


def announce(
    tx: sa.Connection,
    clock: Clock,
    organisation_id: str,
    kind: str,
    data: Mapping[str, Any],
    *,
    once: str | None = None,
) -> None:
    """Tell ``organisation_id`` of an event, when this transaction commits. With ``once``, one of this name only."""
    assert kind in EVENTS, kind
    if once is not None and tx.execute(sa.select(events.c.id).where(events.c.once == once)).first() is not None:
        return
    row = {"id": clock.new_id("evt").lower(), "organisation_id": organisation_id, "type": kind, "once": once}
    text = msgspec.json.encode(data).decode()
    tx.execute(events.insert().values(**row, at_ms=clock.wall_ms(), data=text, fanned=False))


def event_of(row: sa.RowMapping) -> Event:
    """A row as a value."""
    fields = {name: row[name] for name in Event.__struct_fields__ if name != "data"}
    return Event(**fields, data=msgspec.Raw(row["data"].encode()))
