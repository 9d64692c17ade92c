"""Tables of webhooks: where customers listen, and what each was told."""

from __future__ import annotations

import sqlalchemy as sa

from openmaas.store.law import LAW
from openmaas.store.outbox import events

endpoints = sa.Table(
    "webhook_endpoints",
    LAW,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("organisation_id", sa.String, nullable=False, index=True),
    sa.Column("url", sa.String, nullable=False),
    sa.Column("types", sa.JSON(none_as_null=True)),  # NULL: every type
    sa.Column("description", sa.String, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("secret_sealed", sa.LargeBinary, nullable=False),
    sa.Column("master_version", sa.Integer, nullable=False),
    sa.Column("old_secret_sealed", sa.LargeBinary),  # signs too until ``old_until_ms``, under the same master version
    sa.Column("old_until_ms", sa.BigInteger),
    sa.Column("failing_since_ms", sa.BigInteger),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
)
deliveries = sa.Table(
    "webhook_deliveries",
    LAW,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("endpoint_id", sa.ForeignKey(endpoints.c.id), nullable=False),
    sa.Column("event_id", sa.ForeignKey(events.c.id), nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("due_ms", sa.BigInteger, nullable=False),  # a claim moves it on: who dies has claimed for a while only
    sa.Column("last_ms", sa.BigInteger),
    sa.Column("last_status", sa.Integer),  # 0: nobody answered
    sa.Column("last_answer", sa.String, nullable=False),  # the first bytes of it, or why there was none
    sa.CheckConstraint("state IN ('pending', 'done', 'failed')", name="delivery_state"),
    sa.Index("deliveries_by_due", "state", "due_ms"),
    sa.Index("deliveries_by_endpoint", "endpoint_id", "id"),
    sa.Index("deliveries_by_event", "event_id"),
)
