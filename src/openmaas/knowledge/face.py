"""Knowledge, as the control plane meets it: what a project keeps is in the book, what it searches in memory.

A question's vector is asked of the relay on behalf of whoever asks, so it is metered, limited and paid as any request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from openmaas.core.bounds import KNOWLEDGE_MEMORY_BYTES_MAX, RERANKED_MAX
from openmaas.core.clock import Clock
from openmaas.core.errors import EngineFailed, ExtraMissing
from openmaas.files.depot import Draft
from openmaas.files.face import Files, Owner
from openmaas.identity.behalf import mint_inner
from openmaas.identity.face import Caller
from openmaas.identity.seal import MasterKeys
from openmaas.knowledge import book, embedded
from openmaas.knowledge.asked import Found, Question
from openmaas.knowledge.book import Base, Document, Manner
from openmaas.knowledge.ranking import fused
from openmaas.knowledge.vectors import TARGET, asked, heard
from openmaas.store.database import Database
from openmaas.work.asking import Relays
from openmaas.work.book import Asker
from openmaas.work.refusals import refusal_of

if TYPE_CHECKING:
    from openmaas.knowledge.index import Index

#: Zhipu's purpose of a file that is a document.
RETRIEVAL = "retrieval"
_RERANK = "/api/paas/v4/rerank"


class _Ranked(msgspec.Struct):
    index: int
    relevance_score: float


class _Ranking(msgspec.Struct):
    results: list[_Ranked]


class Asking(msgspec.Struct, frozen=True):
    """The request for which something is looked up, and its Idempotency-Key, or empty: sent again with the same, the
    parts of it get their first answers."""

    request_id: str
    once: str = ""


class Hit(msgspec.Struct, frozen=True):
    """A chunk that was recalled: the place of its base among those asked, and its own there."""

    base: int
    row: int


class Library:
    """The knowledge bases of an installation."""

    def __init__(self, database: Database, files: Files, relays: Relays, master: MasterKeys, clock: Clock) -> None:
        self._database = database
        self._files = files
        self._relays = relays
        self._master = master
        self._clock = clock
        self._held: dict[str, tuple[int, Index]] = {}  # by base, with its version; the last one used is the last here
        self._loading = asyncio.Lock()  # a base is read once, however many ask

    async def add(self, who: Caller, base_id: str, draft: Draft, filename: str, manner: Manner) -> Document:
        """A new document of what was written into ``draft``. Raises ``ThingUnknown``, ``TooLarge``, ``StoreFailed``."""
        owner, asker = Owner(who.organisation_id, who.project_id), asker_of(who)
        file = self._files.new(draft, owner, purpose=RETRIEVAL, filename=filename)
        fields = self._clock, base_id, file, manner, asker
        made: Document = await self._files.keep(draft, file, lambda tx: book.add_document(tx, *fields))
        return made

    async def remove(self, who: Caller, document_id: str) -> None:
        """Delete a document: its file, its chunks and their vectors. Raises ``ThingUnknown``."""
        file = await self._database.run(book.remove_document, self._clock, document_id, who.project_id)
        self._files.depot.remove([file])

    async def remove_base(self, who: Caller, base_id: str) -> None:
        """The same with all documents of a base. Raises ``ThingUnknown``."""
        self._files.depot.remove(await self._database.run(book.remove_base, self._clock, base_id, who.project_id))
        self._held.pop(base_id, None)

    async def retrieve(self, who: Caller, asking: Asking, question: Question) -> list[Found]:
        """What answers a question, the best first. What it costs stands in receipts that name who is asking. The score
        is the cosine with the question, BM25's where words alone are asked for, the reranker's where there is one.

        Raises ``FieldInvalid``, ``ThingUnknown``, ``ExtraMissing``, and whatever the relay refuses with."""
        question.check()
        ids = dict.fromkeys(question.knowledge_ids)
        bases = [await self._database.read(book.find_base, each, who.project_id) for each in ids]
        indices = [await self._index(base) for base in bases]
        vectors: dict[str, list[float]] = {}
        if question.method != "keyword":
            for number, model in enumerate(dict.fromkeys(base.embedding_model for base in bases)):
                wanted = asked(model, [question.query])
                body = await self._ask(who, asking, f"embedding{number}", TARGET, wanted)
                (vectors[model],) = heard(body, 1)
            for base, index in zip(bases, indices, strict=True):
                if index.vector_length not in (0, length := len(vectors[base.embedding_model])):
                    raise EngineFailed(f"its vector has {length} numbers, those of {base.id} {index.vector_length}")
        found = await asyncio.to_thread(_search, bases, indices, vectors, question)
        if question.rerank_model and found:
            found = await self._reranked(who, asking, question, found[:RERANKED_MAX])
        return [each for each in found if each.score >= question.threshold][: question.found]

    async def _reranked(self, who: Caller, asking: Asking, question: Question, found: list[Found]) -> list[Found]:
        wanted = {
            "model": question.rerank_model,
            "query": question.query,
            "documents": [each.text for each in found],
        }
        body = await self._ask(who, asking, "rerank", _RERANK, msgspec.json.encode(wanted))
        try:
            rows = msgspec.json.decode(body, type=_Ranking).results
            return [msgspec.structs.replace(found[row.index], score=row.relevance_score) for row in rows]
        except (msgspec.MsgspecError, IndexError) as error:
            raise EngineFailed(f"its answer was no ranking ({error})") from None

    async def _ask(self, who: Caller, asking: Asking, part: str, target: str, body: bytes) -> bytes:
        ids = who.organisation_id, who.project_id, who.key_id
        token = mint_inner(self._master, ids, asking.request_id, self._clock.wall_ms())
        once = f"{asking.once or self._clock.new_id(part)}:{part}"
        told = await self._relays.post(target, token, once, body)
        if told.status != 200:
            raise refusal_of(told)
        return told.body

    async def _index(self, base: Base) -> Index:
        """The base in memory, as it stands now. Raises ``ExtraMissing``."""
        async with self._loading:
            held = self._held.pop(base.id, None)
            if held is None or held[0] < base.version:
                held = await asyncio.to_thread(self._load, base.id)
            self._held[base.id] = held
            while len(self._held) > 1 and self._held_bytes() > KNOWLEDGE_MEMORY_BYTES_MAX:
                del self._held[next(iter(self._held))]
            return held[1]

    def _held_bytes(self) -> int:
        return sum(index.size_bytes for _, index in self._held.values())

    def _load(self, base_id: str) -> tuple[int, Index]:
        try:
            from openmaas.knowledge.index import Index, Row  # noqa: PLC0415 - needs numpy, of an optional extra
        except ModuleNotFoundError:
            raise ExtraMissing("searching needs the extra `knowledge`; run: make setup-knowledge") from None
        version, rows = self._database.look(embedded.rows_of, base_id)
        return version, Index([Row(*row) for row in rows])


def asker_of(who: Caller) -> Asker:
    """Who pays for what a caller begins."""
    return Asker(who.organisation_id, who.project_id, who.key_id)


def _search(
    bases: Sequence[Base], indices: Sequence[Index], vectors: dict[str, list[float]], question: Question
) -> list[Found]:
    """What either way of recall brings, in one order, with the score that the question's method has."""
    near: dict[Hit, float] = {}
    said: dict[Hit, float] = {}
    alike = []
    for place, (base, index) in enumerate(zip(bases, indices, strict=True)):
        take = question.recalled, question.document_ids
        if vectors:
            alike.append(index.similarities(vectors[base.embedding_model]))
            near |= {Hit(place, row): float(alike[-1][row]) for row in index.best(alike[-1], *take)}
        if question.method != "embedding":
            scores = index.relevances(question.query)
            said |= {Hit(place, row): float(scores[row]) for row in index.best(scores, *take)}
    rankings = [(question.ratio / 100, _ranked(near, question)), (1 - question.ratio / 100, _ranked(said, question))]
    if question.method != "mixed":
        rankings = [(1.0, ranking) for _, ranking in rankings]
    found = []
    for hit in fused(rankings):
        row = indices[hit.base].rows[hit.row]
        score = float(alike[hit.base][hit.row]) if vectors else said[hit]
        named = bases[hit.base].id, row.document_id, row.document_name
        found.append(Found(*named, row.number, row.text, score))
    return found


def _ranked(scores: dict[Hit, float], question: Question) -> list[Hit]:
    return sorted(scores, key=lambda hit: -scores[hit])[: question.recalled]
