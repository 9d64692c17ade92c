"""What knowledge promises on each database: one job writes a document, deletion deletes, and every bound is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from openmaas.core.clock import Clock
from openmaas.core.errors import EngineFailed, ThingUnknown, TooLarge
from openmaas.files.book import File, add_file
from openmaas.identity.book import add_organisation, add_project
from openmaas.knowledge import book, embedded
from openmaas.knowledge.book import Base, Document, Manner
from openmaas.knowledge.law import knowledge_chunks
from openmaas.work.book import Asker, find_job
from servers import STORES, new_database

CLOCK = Clock()
MANNER = Manner(1, ("。",), 300)


class Shelf:
    """Two projects on one database, and a base of the first."""

    def __init__(self, database: Any) -> None:
        self.database = database
        organisation = database.call(add_organisation, CLOCK, "acme")
        first, second = (database.call(add_project, CLOCK, organisation, name) for name in ("one", "two"))
        self.asker, self.stranger = Asker(organisation, first, "key"), Asker(organisation, second, "key")
        self.base = self.new_base()

    def new_base(self) -> Base:
        texts = dict.fromkeys(("description", "background", "icon", "customer_identifier", "bucket_id"), "")
        owner = {"organisation_id": self.asker.organisation_id, "project_id": self.asker.project_id}
        numbers = {"embedding_id": 11, "vector_length": 0, "version": 0, "created_ms": CLOCK.wall_ms()}
        base = Base(id=CLOCK.new_id("know"), name="faq", embedding_model="embedding-3", **owner, **numbers, **texts)
        return self.do(book.add_base, base)  # type: ignore[no-any-return]

    def do(self, function: Any, *arguments: Any, **fields: Any) -> Any:
        return self.database.call(function, *arguments, **fields)

    def put(self, size_bytes: int = 10, base: Base | None = None) -> Document:
        where = self.asker.organisation_id, self.asker.project_id
        file = File(CLOCK.new_id("file"), *where, "retrieval", "a.txt", size_bytes, "0" * 64, "here", 1, None)

        def both(tx: sa.Connection) -> Document:
            add_file(tx, file, project_bytes_max=2**62)
            return book.add_document(tx, CLOCK, (base or self.base).id, file, MANNER, self.asker)

        return self.do(both)  # type: ignore[no-any-return]

    def embed(self, document: Document, texts: list[str], length: int = 2) -> None:
        self.do(embedded.write_chunks, document.job_id, texts, sum(map(len, texts)))
        vectors = [bytes(4 * length)] * len(self.do(embedded.next_texts, document.job_id))
        self.do(embedded.write_vectors, document.job_id, 0, length, vectors)
        self.do(embedded.end_document, document.job_id)

    def rows(self) -> tuple[int, list[Any]]:
        return self.database.look(embedded.rows_of, self.base.id)  # type: ignore[no-any-return]


@pytest.fixture(params=STORES)
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    database = new_database(request.param, tmp_path)
    yield Shelf(database)
    database.close()


def test_a_document_is_found_when_it_is_ready_and_no_sooner(shelf: Shelf) -> None:
    document = shelf.put()
    before, rows = shelf.rows()
    assert not rows
    shelf.do(embedded.write_chunks, document.job_id, ["one", "two"], 6)
    shelf.do(embedded.write_vectors, document.job_id, 0, 2, [b"12345678", b"abcdefgh"])
    assert shelf.rows() == (before, [])
    shelf.do(embedded.end_document, document.job_id)
    version, rows = shelf.rows()
    assert version > before
    named = document.id, "a.txt"
    assert rows == [(*named, 0, "one", b"12345678"), (*named, 1, "two", b"abcdefgh")]
    assert shelf.do(book.used, shelf.asker.project_id)[shelf.base.id] == book.Used(1, 6, 10)


def test_a_document_that_is_cut_anew_takes_nothing_more_from_its_earlier_job(shelf: Shelf) -> None:
    document = shelf.put()
    shelf.do(embedded.write_chunks, document.job_id, ["one"], 3)
    again = shelf.do(book.begin_again, CLOCK, document.id, Manner(3, (), 50), shelf.asker)
    assert (again.knowledge_type, again.separators, again.sentence_size, again.chunks) == (3, [], 50, 0)
    for write, *fields in ((embedded.write_chunks, ["late"], 4), (embedded.write_vectors, 0, 2, [b"12345678"])):
        with pytest.raises(ThingUnknown):
            shelf.do(write, document.job_id, *fields)
    shelf.do(embedded.end_document, document.job_id, fail_code=10001, fail_message="late")
    assert shelf.do(book.find_document, document.id, shelf.asker.project_id).state == "waiting"
    assert shelf.do(find_job, document.job_id).cancel_ms is not None
    shelf.embed(again, ["new"])
    assert [row[3] for row in shelf.rows()[1]] == ["new"]


def test_another_model_embeds_every_document_anew(shelf: Shelf) -> None:
    document = shelf.put()
    shelf.embed(document, ["one"])
    shelf.do(book.change_base, CLOCK, shelf.base.id, shelf.asker, {"name": "other"})
    assert len(shelf.rows()[1]) == 1
    shelf.do(book.change_base, CLOCK, shelf.base.id, shelf.asker, {"embedding_model": "bigger"})
    assert not shelf.rows()[1]
    again = shelf.do(book.find_document, document.id, shelf.asker.project_id)
    assert "bigger" in shelf.do(find_job, again.job_id).wanted
    shelf.embed(again, ["one"], length=3)
    assert len(shelf.rows()[1][0][4]) == 12


def test_vectors_of_two_lengths_never_stand_in_one_base(shelf: Shelf) -> None:
    shelf.embed(shelf.put(), ["one"])
    other = shelf.put()
    shelf.do(embedded.write_chunks, other.job_id, ["two"], 3)
    with pytest.raises(EngineFailed, match="have 3 numbers, those of the base 2"):
        shelf.do(embedded.write_vectors, other.job_id, 0, 3, [bytes(12)])


def test_deletion_deletes_chunks_vectors_rows_and_files(shelf: Shelf) -> None:
    kept = shelf.new_base()
    for base in (shelf.base, shelf.base, kept):
        shelf.embed(shelf.put(base=base), ["one"])
    first = shelf.database.look(book.list_documents, shelf.base.id, shelf.asker.project_id, **page())[0][0]
    gone = shelf.do(book.remove_document, CLOCK, first.id, shelf.asker.project_id)
    assert gone.id == first.id
    assert len(shelf.rows()[1]) == 1
    assert len(shelf.do(book.remove_base, CLOCK, shelf.base.id, shelf.asker.project_id)) == 1
    count = sa.select(sa.func.count()).select_from(knowledge_chunks)
    assert shelf.do(lambda tx: tx.execute(count).scalar()) == 1  # of the base that is kept
    assert [base.id for base in shelf.do(book.list_bases, shelf.asker.project_id, page=1, size=9)[0]] == [kept.id]


def test_another_project_s_knowledge_does_not_exist(shelf: Shelf) -> None:
    document, theirs = shelf.put(), shelf.stranger.project_id
    for function, *fields in (
        (book.find_base, shelf.base.id, theirs),
        (book.find_document, document.id, theirs),
        (book.remove_base, CLOCK, shelf.base.id, theirs),
        (book.remove_document, CLOCK, document.id, theirs),
        (book.change_base, CLOCK, shelf.base.id, shelf.stranger, {"name": "x"}),
        (book.begin_again, CLOCK, document.id, None, shelf.stranger),
    ):
        with pytest.raises(ThingUnknown):
            shelf.do(function, *fields)
    with pytest.raises(ThingUnknown):
        shelf.do(book.list_documents, shelf.base.id, theirs, **page())


def test_what_is_too_much_is_refused_by_its_bound(shelf: Shelf) -> None:
    document = shelf.put(size_bytes=1024**3)
    with pytest.raises(TooLarge, match="bytes together"):
        shelf.put(size_bytes=1)
    with pytest.raises(TooLarge, match="20000 chunks"):
        shelf.do(embedded.write_chunks, document.job_id, ["x"] * 20_001, 20_001)
    with pytest.raises(TooLarge, match="5000000 characters"):
        shelf.do(embedded.write_chunks, document.job_id, ["x"], 5_000_001)


def page(**fields: Any) -> dict[str, Any]:
    return {"page": 1, "size": 10, "word": "", "newest_first": True, **fields}


def test_pages_of_documents_go_either_way_and_know_how_many_there_are(shelf: Shelf) -> None:
    made = [shelf.put().id for _ in range(3)]
    listed = shelf.base.id, shelf.asker.project_id
    rows, total = shelf.do(book.list_documents, *listed, **page(size=2, newest_first=False))
    assert ([row.id for row in rows], total) == (sorted(made)[:2], 3)
    rows, _ = shelf.do(book.list_documents, *listed, **page(size=2, page=2, newest_first=False))
    assert [row.id for row in rows] == sorted(made)[2:]
    assert shelf.do(book.list_documents, *listed, **page(word="%"))[1] == 0
    assert shelf.do(book.list_documents, *listed, **page(word="a.t"))[1] == 3
