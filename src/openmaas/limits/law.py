"""Tables of limits: what operators set, and what relays without Valkey have borrowed of it."""

from __future__ import annotations

import sqlalchemy as sa

from openmaas.store.law import LAW

#: Whom a limit is for. ``default`` is every organisation that has no limit of its own for the same model and kind.
SCOPES = ("default", "organisation", "project", "key")
#: What it counts: requests in flight, requests a minute, tokens a minute.
COUNTED = ("concurrency", "rpm", "tpm")
#: What else is set in the same way and counts nothing: how much more than others one gets of a model that is full.
WEIGHT = "weight"
#: And that one goes before all who have none; its amount is 1.
PRIORITY = "priority"
KINDS = (*COUNTED, WEIGHT, PRIORITY)
#: All models together, counted as one.
EVERY_MODEL = "*"

limits = sa.Table(
    "limits",
    LAW,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("scope", sa.String, nullable=False),
    sa.Column("subject_id", sa.String, nullable=False),  # of the organisation, project or key; empty for the default
    sa.Column("model", sa.String, nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("set_ms", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("scope", "subject_id", "model", "kind"),
    sa.CheckConstraint("scope IN ('default', 'organisation', 'project', 'key')", name="limit_scope"),
    sa.CheckConstraint("(scope = 'default') = (subject_id = '')", name="limit_subject"),
    sa.CheckConstraint("kind IN ('concurrency', 'rpm', 'tpm', 'weight', 'priority')", name="limit_kind"),
    sa.CheckConstraint("amount > 0", name="limit_amount"),
)
limit_counters = sa.Table(
    "limit_counters",
    LAW,
    sa.Column("counter", sa.String, primary_key=True),
    sa.Column("state", sa.JSON, nullable=False),  # as ``borrowing`` reads it
    sa.Column("until_ms", sa.BigInteger, nullable=False),  # then nothing in it counts any more
)
