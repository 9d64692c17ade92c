"""Tables of answers that are kept. A row is the caller's own words: it is there because they asked, until its day."""

from __future__ import annotations

import sqlalchemy as sa

from openmaas.store.law import LAW

responses = sa.Table(
    "responses",
    LAW,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("organisation_id", sa.String, nullable=False),
    sa.Column("project_id", sa.ForeignKey("projects.id"), nullable=False, index=True),
    sa.Column("previous_id", sa.String),  # no reference: the one before may be deleted, and then it is
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("expires_ms", sa.BigInteger, nullable=False, index=True),
    sa.Column("asked", sa.LargeBinary, nullable=False),  # JSON: the items of this request alone
    sa.Column("answer", sa.LargeBinary, nullable=False),  # JSON: the whole response object
)
response_retention = sa.Table(
    "response_retention",
    LAW,
    sa.Column("project_id", sa.ForeignKey("projects.id"), primary_key=True),
    sa.Column("days", sa.Integer, nullable=False),  # 0 keeps none
    sa.CheckConstraint("days BETWEEN 0 AND 3650", name="retention_days"),
)
