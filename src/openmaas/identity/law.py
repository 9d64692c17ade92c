"""Tables of who may call: organisations, projects, keys."""

from __future__ import annotations

import sqlalchemy as sa

from openmaas.store.law import LAW

organisations = sa.Table(
    "organisations",
    LAW,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("name", sa.String, nullable=False, unique=True),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
)
projects = sa.Table(
    "projects",
    LAW,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("organisation_id", sa.ForeignKey(organisations.c.id), nullable=False),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.UniqueConstraint("organisation_id", "name"),
)
keys = sa.Table(
    "keys",
    LAW,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("project_id", sa.ForeignKey(projects.c.id), nullable=False, index=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("secret_hash", sa.LargeBinary, nullable=False),  # SHA-256 of a random secret: nothing to stretch
    sa.Column("secret_sealed", sa.LargeBinary, nullable=False),  # AES-256-GCM, for signature checks
    sa.Column("master_version", sa.Integer, nullable=False, index=True),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("models", sa.JSON(none_as_null=True)),  # NULL: every model
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("expires_ms", sa.BigInteger),
    sa.Column("revoked_ms", sa.BigInteger),
    sa.Column("last_used_ms", sa.BigInteger),
    sa.CheckConstraint("length(secret_hash) = 32"),
)
