"""The table of customers' files. Their bytes lie in a folder (``depot.py``), never here."""

from __future__ import annotations

import sqlalchemy as sa

from openmaas.store.law import LAW

files = sa.Table(
    "files",
    LAW,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("organisation_id", sa.String, nullable=False),
    sa.Column("project_id", sa.String, nullable=False),  # whose keys may use it
    sa.Column("purpose", sa.String, nullable=False),
    sa.Column("filename", sa.String, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("digest", sa.String, nullable=False),  # SHA-256, hexadecimal
    sa.Column("place", sa.String, nullable=False),  # the folder that has the bytes, by its own name
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("expires_ms", sa.BigInteger, index=True),  # NULL: never
    sa.CheckConstraint("size_bytes >= 0", name="file_size"),
    sa.CheckConstraint("length(digest) = 64", name="file_digest"),
    sa.Index("files_by_project", "project_id", "id"),
)
