"""The tables of knowledge: bases, their documents, and the chunks of these with their vectors.

A document is a file of the room ``files`` and has its id. ``job_id`` names the one job that may write its chunks: who
embeds a document that was cut anew meanwhile writes nothing.
"""

from __future__ import annotations

import sqlalchemy as sa

from openmaas.store.law import LAW

#: ``waiting`` until its vectors are there, or nobody will make them.
STATES = ("waiting", "ready", "failed")

knowledge_bases = sa.Table(
    "knowledge_bases",
    LAW,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("organisation_id", sa.String, nullable=False),
    sa.Column("project_id", sa.ForeignKey("projects.id"), nullable=False),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("embedding_id", sa.Integer, nullable=False),  # Zhipu's number of the model; 0: it has none
    sa.Column("embedding_model", sa.String, nullable=False),
    sa.Column("description", sa.String, nullable=False),
    sa.Column("background", sa.String, nullable=False),  # a colour and a picture, for pages that show it
    sa.Column("icon", sa.String, nullable=False),
    sa.Column("customer_identifier", sa.String, nullable=False),
    sa.Column("bucket_id", sa.String, nullable=False),
    sa.Column("vector_length", sa.Integer, nullable=False),  # of all its vectors; 0 before the first
    sa.Column("version", sa.Integer, nullable=False),  # higher whenever another search would be right
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Index("knowledge_bases_by_project", "project_id", "id"),
)
knowledge_documents = sa.Table(
    "knowledge_documents",
    LAW,
    sa.Column("id", sa.ForeignKey("files.id"), primary_key=True),
    sa.Column("knowledge_id", sa.ForeignKey("knowledge_bases.id"), nullable=False),
    sa.Column("project_id", sa.String, nullable=False, index=True),
    sa.Column("job_id", sa.String, nullable=False, index=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("knowledge_type", sa.Integer, nullable=False),  # Zhipu's number of a way to cut
    sa.Column("separators", sa.JSON, nullable=False),
    sa.Column("sentence_size", sa.Integer, nullable=False),  # characters of a chunk at most
    sa.Column("state", sa.String, nullable=False),
    sa.Column("words", sa.Integer, nullable=False),  # characters of its text
    sa.Column("chunks", sa.Integer, nullable=False),  # 0 before it is cut
    sa.Column("embedded", sa.Integer, nullable=False),  # of these, from the first on
    sa.Column("fail_code", sa.Integer, nullable=False),
    sa.Column("fail_message", sa.String, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.CheckConstraint(f"state IN ({', '.join(map(repr, STATES))})", name="document_state"),
    sa.CheckConstraint("embedded BETWEEN 0 AND chunks", name="document_embedded"),
    sa.Index("knowledge_documents_by_base", "knowledge_id", "id"),
)
knowledge_chunks = sa.Table(
    "knowledge_chunks",
    LAW,
    sa.Column("document_id", sa.ForeignKey("knowledge_documents.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),  # its place in the document, from 0 on
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("vector", sa.LargeBinary),  # float32, little-endian; NULL until it is embedded
)
