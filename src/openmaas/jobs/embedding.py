"""The embedding of a document: read, cut, and asked for some chunks at a time, at the ordinary price.

What is there is in the book of knowledge, so a run that is cut off is gone on with by the next claim: the chunks are
cut once, and each request asks for the ones behind those that have their vector, under a name that tells which.
"""

from __future__ import annotations

import asyncio

import msgspec

from openmaas.core.errors import EngineFailed, FieldInvalid, StoreFailed, ThingUnknown, TooLarge
from openmaas.files.face import Files
from openmaas.jobs.lease import Ended, Lease, Waits
from openmaas.jobs.patience import answered
from openmaas.knowledge import embedded
from openmaas.knowledge.book import Document
from openmaas.knowledge.cutting import chunks
from openmaas.knowledge.embedded import FULL, UNREADABLE
from openmaas.knowledge.reading import kind_of, text_of
from openmaas.knowledge.vectors import TARGET, asked, heard, packed
from openmaas.store.database import Database
from openmaas.work.asking import Relays
from openmaas.work.refusals import refusal_of
from openmaas.work.wanted import EmbeddingProgress, EmbeddingWanted, text


class Embeddings:
    """The kind of job that embeds a document."""

    def __init__(self, database: Database, files: Files, relays: Relays, requests_max: int) -> None:
        self._database = database
        self._files = files
        self._relays = relays
        self._seats = asyncio.Semaphore(requests_max)

    async def work(self, lease: Lease) -> Ended | Waits:
        """Cut it, unless it is cut, and embed what is not embedded yet. Part of ``Kind``."""
        job_id = lease.job.id
        model = msgspec.json.decode(lease.job.wanted, type=EmbeddingWanted).model
        try:
            document = await self._database.read(embedded.of_job, job_id)
            document = document if document.chunks else await self._cut(document, job_id)
            while document.embedded < document.chunks:
                lease.progress = text(EmbeddingProgress(document.chunks, document.embedded))
                texts = await self._database.read(embedded.next_texts, job_id)
                once = f"{job_id}:{document.embedded}"
                told = await answered(self._relays, lease, self._seats, TARGET, once, asked(model, texts))
                if isinstance(told, Waits):
                    return self._unfinished(lease, told)
                if told.status != 200:
                    return _failed(lease, UNREADABLE, refusal_of(told).message)
                vectors = heard(told.body, len(texts))
                kept = document.embedded, len(vectors[0]), [packed(vector) for vector in vectors]
                document = await self._database.run(embedded.write_vectors, job_id, *kept)
        except ThingUnknown:  # it was deleted, or is cut anew by another job
            return Ended("cancelled")
        except (FieldInvalid, EngineFailed, TooLarge) as error:
            return _failed(lease, FULL if isinstance(error, TooLarge) else UNREADABLE, error.detail or error.message)
        lease.progress = text(EmbeddingProgress(document.chunks, document.embedded))
        return Ended("done", also=lambda tx: embedded.end_document(tx, job_id))

    def give_up(self, lease: Lease, code: str, message: str) -> Ended:
        """Part of ``Kind``."""
        del code
        return _failed(lease, UNREADABLE, message)

    async def _cut(self, document: Document, job_id: str) -> Document:
        """Raises ``FieldInvalid`` for what has no text, ``TooLarge``, ``ThingUnknown``."""
        _, path = await self._files.path(document.id, document.project_id)
        if not path.exists():
            raise StoreFailed("the bytes of a document are not there")
        told = await text_of(kind_of(document.name), path)
        manner = document.knowledge_type, document.separators, document.sentence_size
        cut = await asyncio.to_thread(chunks, told, *manner)
        if not cut:
            raise FieldInvalid("the file has no text", field="file")
        return await self._database.run(embedded.write_chunks, job_id, cut, len(told))

    def _unfinished(self, lease: Lease, waits: Waits) -> Ended | Waits:
        if lease.cancelled:
            return _failed(lease, UNREADABLE, "its embedding was cancelled", "cancelled")
        return _failed(lease, UNREADABLE, "nobody could embed it in time", "expired") if lease.expired else waits


def _failed(lease: Lease, code: int, message: str, state: str = "failed") -> Ended:
    return Ended(state, also=lambda tx: embedded.end_document(tx, lease.job.id, fail_code=code, fail_message=message))
