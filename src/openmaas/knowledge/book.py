"""The book of knowledge: pure functions of one transaction. A project sees its own and no other's.

Whatever changes what a search would find makes the ``version`` of its base higher, in the same transaction. A document
is embedded by a job of the room ``work``, which writes by ``embedded`` what it makes; it begins again under another job
when it is cut anew, and what the earlier job still brings is refused (``ThingUnknown``), as it is for one that was
deleted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from openmaas.core.bounds import (
    KNOWLEDGE_BASES_MAX,
    KNOWLEDGE_BYTES_MAX,
    KNOWLEDGE_DOCUMENTS_MAX,
    TASK_KEPT_S,
)
from openmaas.core.clock import Clock
from openmaas.core.errors import ThingUnknown, TooLarge
from openmaas.files.book import File, find_file, remove_file
from openmaas.knowledge.law import knowledge_bases as bases
from openmaas.knowledge.law import knowledge_chunks as chunks
from openmaas.knowledge.law import knowledge_documents as documents
from openmaas.work.book import Asker, add_job, cancel
from openmaas.work.wanted import EMBEDDING, EmbeddingProgress, EmbeddingWanted, text


class Base(msgspec.Struct, frozen=True):
    """A knowledge base."""

    id: str
    organisation_id: str
    project_id: str
    name: str
    embedding_id: int
    embedding_model: str
    description: str
    background: str
    icon: str
    customer_identifier: str
    bucket_id: str
    vector_length: int
    version: int
    created_ms: int


class Manner(msgspec.Struct, frozen=True):
    """How a document is cut: see ``cutting.spans``."""

    knowledge_type: int
    separators: tuple[str, ...]
    sentence_size: int


class Document(msgspec.Struct, frozen=True):
    """A document as it stands."""

    id: str
    knowledge_id: str
    project_id: str
    job_id: str
    name: str
    size_bytes: int
    knowledge_type: int
    separators: list[str]
    sentence_size: int
    state: str
    words: int
    chunks: int
    embedded: int
    fail_code: int
    fail_message: str
    created_ms: int


class Used(msgspec.Struct, frozen=True):
    """How much documents have: their number, the characters of their text, the bytes of their files."""

    documents: int = 0
    words: int = 0
    size_bytes: int = 0


def add_base(tx: sa.Connection, base: Base) -> Base:
    """A new base. Raises ``TooLarge`` when the project has too many."""
    count = sa.select(sa.func.count()).select_from(bases).where(bases.c.project_id == base.project_id)
    if tx.execute(count).scalar_one() >= KNOWLEDGE_BASES_MAX:
        raise TooLarge(f"a project may have {KNOWLEDGE_BASES_MAX} knowledge bases; delete one first")
    tx.execute(bases.insert().values(msgspec.structs.asdict(base)))
    return base


def find_base(tx: sa.Connection, base_id: str, project_id: str) -> Base:
    """A project's base. Raises ``ThingUnknown``, also for one of another project."""
    query = sa.select(bases).where(bases.c.id == base_id, bases.c.project_id == project_id)
    found = tx.execute(query).mappings().first()
    if found is None:
        raise ThingUnknown(f"there is no knowledge base {base_id!r}", field="knowledge_id")
    return Base(**found)


def list_bases(tx: sa.Connection, project_id: str, *, page: int, size: int) -> tuple[list[Base], int]:
    """A page (from 1 on) of a project's bases, newest first, and how many there are."""
    own = bases.c.project_id == project_id
    rows = tx.execute(sa.select(bases).where(own).order_by(bases.c.id.desc()).limit(size).offset((page - 1) * size))
    total = tx.execute(sa.select(sa.func.count()).select_from(bases).where(own)).scalar_one()
    return [Base(**row) for row in rows.mappings()], total


def change_base(tx: sa.Connection, clock: Clock, base_id: str, asker: Asker, changes: Mapping[str, Any]) -> Base:
    """Change what is named; another model embeds every document anew, paid by ``asker``. Raises ``ThingUnknown``."""
    before = find_base(tx, base_id, asker.project_id)
    if changes:
        tx.execute(bases.update().where(bases.c.id == base_id).values(changes))
    after = find_base(tx, base_id, asker.project_id)
    if after.embedding_model.lower() != before.embedding_model.lower():
        tx.execute(bases.update().where(bases.c.id == base_id).values(vector_length=0))
        for document in find_documents(tx, documents.c.knowledge_id == base_id):
            _begin(tx, clock, document, after, asker)
    return after


def remove_base(tx: sa.Connection, clock: Clock, base_id: str, project_id: str) -> list[File]:
    """Forget a base with all its documents; whoever calls removes their bytes then. Raises ``ThingUnknown``."""
    find_base(tx, base_id, project_id)
    gone = [_forget(tx, clock, document) for document in find_documents(tx, documents.c.knowledge_id == base_id)]
    tx.execute(bases.delete().where(bases.c.id == base_id))
    return gone


def used(tx: sa.Connection, project_id: str) -> dict[str, Used]:
    """How much each base of a project has, by its id; one without documents is not there."""
    sums = sa.func.count(), sa.func.sum(documents.c.words), sa.func.sum(documents.c.size_bytes)
    query = sa.select(documents.c.knowledge_id, *sums).where(documents.c.project_id == project_id)
    rows = tx.execute(query.group_by(documents.c.knowledge_id))
    return {base_id: Used(count, int(words), int(size)) for base_id, count, words, size in rows}


def add_document(tx: sa.Connection, clock: Clock, base_id: str, file: File, manner: Manner, asker: Asker) -> Document:
    """A new document of a file that was just added, and the job that embeds it. Raises ``ThingUnknown``,
    ``TooLarge``."""
    base = find_base(tx, base_id, asker.project_id)
    there = used(tx, asker.project_id)
    if there.get(base_id, Used()).documents >= KNOWLEDGE_DOCUMENTS_MAX:
        raise TooLarge(f"a knowledge base may have {KNOWLEDGE_DOCUMENTS_MAX} documents", field="file")
    if sum(each.size_bytes for each in there.values()) + file.size_bytes > KNOWLEDGE_BYTES_MAX:
        raise TooLarge(f"the documents of a project may have {KNOWLEDGE_BYTES_MAX} bytes together", field="file")
    made = Document(
        id=file.id,
        knowledge_id=base_id,
        project_id=asker.project_id,
        job_id="",
        name=file.filename,
        size_bytes=file.size_bytes,
        knowledge_type=manner.knowledge_type,
        separators=list(manner.separators),
        sentence_size=manner.sentence_size,
        state="waiting",
        words=0,
        chunks=0,
        embedded=0,
        fail_code=0,
        fail_message="",
        created_ms=file.created_ms,
    )
    tx.execute(documents.insert().values(msgspec.structs.asdict(made)))
    return _begin(tx, clock, made, base, asker)


def find_document(tx: sa.Connection, document_id: str, project_id: str) -> Document:
    """A project's document. Raises ``ThingUnknown``."""
    found = find_documents(tx, (documents.c.id == document_id) & (documents.c.project_id == project_id))
    if not found:
        raise ThingUnknown(f"there is no document {document_id!r}", field="document_id")
    return found[0]


def list_documents(
    tx: sa.Connection, base_id: str, project_id: str, *, page: int, size: int, word: str, newest_first: bool
) -> tuple[list[Document], int]:
    """A page (from 1 on) of a base's documents, those with ``word`` in their names, and how many there are. Raises
    ``ThingUnknown``."""
    find_base(tx, base_id, project_id)
    wanted = documents.c.knowledge_id == base_id
    if word:
        wanted &= documents.c.name.contains(word, autoescape=True)
    order = documents.c.id.desc() if newest_first else documents.c.id
    rows = tx.execute(sa.select(documents).where(wanted).order_by(order).limit(size).offset((page - 1) * size))
    total = tx.execute(sa.select(sa.func.count()).select_from(documents).where(wanted)).scalar_one()
    return [Document(**row) for row in rows.mappings()], total


def begin_again(tx: sa.Connection, clock: Clock, document_id: str, manner: Manner | None, asker: Asker) -> Document:
    """Cut a document anew, in another ``manner`` when there is one, and embed it, paid by ``asker``. Raises
    ``ThingUnknown``."""
    found = find_document(tx, document_id, asker.project_id)
    if manner is not None:
        values = msgspec.structs.asdict(manner) | {"separators": list(manner.separators)}
        tx.execute(documents.update().where(documents.c.id == document_id).values(values))
    return _begin(tx, clock, found, find_base(tx, found.knowledge_id, asker.project_id), asker)


def remove_document(tx: sa.Connection, clock: Clock, document_id: str, project_id: str) -> File:
    """Forget a document; whoever calls removes its bytes then. Raises ``ThingUnknown``."""
    found = find_document(tx, document_id, project_id)
    raise_version(tx, found.knowledge_id)
    return _forget(tx, clock, found)


def find_documents(tx: sa.Connection, wanted: sa.ColumnElement[bool]) -> list[Document]:
    """The documents of which ``wanted`` is true, of whichever project, the oldest first."""
    rows = tx.execute(sa.select(documents).where(wanted).order_by(documents.c.id)).mappings()
    return [Document(**row) for row in rows]


def _begin(tx: sa.Connection, clock: Clock, document: Document, base: Base, asker: Asker) -> Document:
    """Whatever there was of a document is gone, and a new job makes it."""
    if document.job_id:
        _stop(tx, clock, document)
    tx.execute(chunks.delete().where(chunks.c.document_id == document.id))
    fields = {
        "wanted": text(EmbeddingWanted(document.id, base.embedding_model)),
        "progress": text(EmbeddingProgress()),
        "place": find_file(tx, document.id, document.project_id).place,
    }
    job = add_job(tx, clock, EMBEDDING, asker, lives_s=TASK_KEPT_S, **fields)
    values = {"job_id": job.id, "state": "waiting", "words": 0, "chunks": 0, "embedded": 0}
    fresh = documents.update().where(documents.c.id == document.id)
    tx.execute(fresh.values(values | {"fail_code": 0, "fail_message": ""}))
    raise_version(tx, base.id)
    return find_document(tx, document.id, document.project_id)


def _forget(tx: sa.Connection, clock: Clock, document: Document) -> File:
    _stop(tx, clock, document)
    tx.execute(chunks.delete().where(chunks.c.document_id == document.id))
    tx.execute(documents.delete().where(documents.c.id == document.id))
    return remove_file(tx, document.id, document.project_id)


def _stop(tx: sa.Connection, clock: Clock, document: Document) -> None:
    with contextlib.suppress(ThingUnknown):  # it ended long ago
        cancel(tx, clock, document.job_id)


def raise_version(tx: sa.Connection, base_id: str) -> None:
    """Something in a base is not what it was: whoever holds it in memory reads it again."""
    tx.execute(bases.update().where(bases.c.id == base_id).values(version=bases.c.version + 1))
