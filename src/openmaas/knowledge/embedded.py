"""The book of chunks: what a document is cut into and the vectors of that, as its job writes them and a search reads
them. Pure functions of one transaction; bases and documents themselves are the matter of ``book``.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from openmaas.core.bounds import KNOWLEDGE_CHUNKS_MAX, KNOWLEDGE_INPUTS_MAX, KNOWLEDGE_WORDS_MAX
from openmaas.core.errors import EngineFailed, ThingUnknown, TooLarge
from openmaas.knowledge.book import Document, find_documents, raise_version, used
from openmaas.knowledge.law import knowledge_bases as bases
from openmaas.knowledge.law import knowledge_chunks as chunks
from openmaas.knowledge.law import knowledge_documents as documents

#: What a failed document tells, in Zhipu's numbers: something is wrong with it or its model; the base is full.
UNREADABLE, FULL = 10001, 10002


def of_job(tx: sa.Connection, job_id: str) -> Document:
    """The document that a job embeds. Raises ``ThingUnknown`` when it was deleted, or another job does it now."""
    found = find_documents(tx, documents.c.job_id == job_id)
    if not found:
        raise ThingUnknown(f"no document is embedded by {job_id!r}")
    return found[0]


def write_chunks(tx: sa.Connection, job_id: str, texts: Sequence[str], words: int) -> Document:
    """Note what a document was cut into. Raises ``ThingUnknown``, and ``TooLarge`` when its base or project is full."""
    found = of_job(tx, job_id)
    of_base = sa.select(sa.func.coalesce(sa.func.sum(documents.c.chunks), 0))
    there = int(tx.execute(of_base.where(documents.c.knowledge_id == found.knowledge_id)).scalar_one())
    if there + len(texts) > KNOWLEDGE_CHUNKS_MAX:
        raise TooLarge(f"the documents of a knowledge base may have {KNOWLEDGE_CHUNKS_MAX} chunks together")
    if sum(each.words for each in used(tx, found.project_id).values()) + words > KNOWLEDGE_WORDS_MAX:
        raise TooLarge(f"the documents of a project may have {KNOWLEDGE_WORDS_MAX} characters together")
    rows = [{"document_id": found.id, "number": number, "text": each} for number, each in enumerate(texts)]
    tx.execute(chunks.insert(), rows)
    tx.execute(documents.update().where(documents.c.id == found.id).values(chunks=len(texts), words=words))
    return of_job(tx, job_id)


def next_texts(tx: sa.Connection, job_id: str) -> list[str]:
    """The chunks to be embedded next, in one request: which they are depends on how many there are alone."""
    found = of_job(tx, job_id)
    query = sa.select(chunks.c.text).where(chunks.c.document_id == found.id, chunks.c.number >= found.embedded)
    return list(tx.execute(query.order_by(chunks.c.number).limit(KNOWLEDGE_INPUTS_MAX)).scalars())


def write_vectors(tx: sa.Connection, job_id: str, first: int, length: int, vectors: Sequence[bytes]) -> Document:
    """Note the vectors, of ``length`` numbers each, of the chunks from ``first`` on. Raises ``ThingUnknown``, and
    ``EngineFailed`` for vectors that cannot be compared with those of the base."""
    found = of_job(tx, job_id)
    mine = bases.c.id == found.knowledge_id
    there = int(tx.execute(sa.select(bases.c.vector_length).where(mine)).scalar_one())
    if there not in (0, length):
        said = f"its vectors have {length} numbers, those of the base {there}; give the base another model and back"
        raise EngineFailed(said)
    tx.execute(bases.update().where(mine).values(vector_length=length))
    row = (chunks.c.document_id == sa.bindparam("of")) & (chunks.c.number == sa.bindparam("at"))
    values = [{"of": found.id, "at": first + place, "made": vector} for place, vector in enumerate(vectors)]
    tx.execute(chunks.update().where(row).values(vector=sa.bindparam("made")), values)
    tx.execute(documents.update().where(documents.c.id == found.id).values(embedded=first + len(vectors)))
    return of_job(tx, job_id)


def end_document(tx: sa.Connection, job_id: str, *, fail_code: int = 0, fail_message: str = "") -> None:
    """The document can be found from now on, or never. One that another job does is left alone."""
    for found in find_documents(tx, documents.c.job_id == job_id):
        values = {"state": "failed" if fail_code else "ready", "fail_code": fail_code, "fail_message": fail_message}
        tx.execute(documents.update().where(documents.c.id == found.id).values(values))
        raise_version(tx, found.knowledge_id)


def rows_of(tx: sa.Connection, base_id: str) -> tuple[int, list[tuple[str, str, int, str, bytes]]]:
    """The version of a base, and what a search looks at: id and name of the document, number, text and vector of each
    chunk of those that are ready."""
    version = tx.execute(sa.select(bases.c.version).where(bases.c.id == base_id)).scalar()
    columns = documents.c.id, documents.c.name, chunks.c.number, chunks.c.text, chunks.c.vector
    query = sa.select(*columns).join_from(documents, chunks, chunks.c.document_id == documents.c.id)
    ready = query.where(documents.c.knowledge_id == base_id, documents.c.state == "ready")
    rows = tx.execute(ready.order_by(documents.c.id, chunks.c.number))
    return version or 0, [(row[0], row[1], row[2], row[3], row[4]) for row in rows]
