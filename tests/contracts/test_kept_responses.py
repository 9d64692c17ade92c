"""Kept answers in each store: as long as is said, seen by their project alone, in conversations that hold together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from openmaas.core.clock import Clock
from openmaas.core.errors import PreviousUnknown, ThingUnknown, TooLarge
from openmaas.identity.book import add_organisation, add_project
from openmaas.responses import book
from openmaas.responses.book import Kept, days_ms
from openmaas.store.database import Database
from servers import STORES, new_database

BEGAN_MS = 1_700_000_000_000


class Shelf:
    """A database with a project that keeps answers."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.owner = database.call(add_organisation, Clock(), "o")
        self.project = database.call(add_project, Clock(), self.owner, "p")

    def keep(self, name: str, previous: str | None = None, *, created_ms: int = BEGAN_MS, days: int = 30) -> None:
        until_ms = created_ms + days_ms(days)
        asked, answer = f"[{name}]".encode(), f"{{{name}}}".encode()
        kept = Kept(name, self.owner, self.project, previous, created_ms, until_ms, asked, answer)
        self.database.call(book.keep, kept)

    def chain(self, last: str, now_ms: int = BEGAN_MS) -> list[bytes]:
        return [asked for asked, _ in self.database.look(book.chain, self.project, last, now_ms)]


@pytest.fixture(params=STORES)
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    database = new_database(request.param, tmp_path)
    yield Shelf(database)
    database.close()


def test_a_conversation_comes_back_from_its_beginning(shelf: Shelf) -> None:
    shelf.keep("a")
    shelf.keep("b", "a")
    shelf.keep("c", "b")
    shelf.keep("other", "a")
    assert shelf.chain("c") == [b"[a]", b"[b]", b"[c]"]
    assert shelf.chain("other") == [b"[a]", b"[other]"]


def test_an_answer_that_is_written_twice_is_kept_once(shelf: Shelf) -> None:
    shelf.keep("a")
    shelf.keep("a")
    assert shelf.chain("a") == [b"[a]"]


def test_a_conversation_that_lost_a_link_says_which(shelf: Shelf) -> None:
    shelf.keep("a", days=1)
    shelf.keep("b", "a")
    shelf.keep("c", "b")
    with pytest.raises(PreviousUnknown, match="'a'"):
        shelf.chain("c", BEGAN_MS + days_ms(1))
    shelf.database.call(book.delete, shelf.project, "b")
    with pytest.raises(PreviousUnknown, match="'b'"):
        shelf.chain("c")


def test_a_conversation_that_no_model_could_read_is_refused(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, previous in (("a", None), ("b", "a"), ("c", "b")):
        shelf.keep(name, previous)
    monkeypatch.setattr(book, "RESPONSE_CHAIN_BYTES_MAX", 17)
    with pytest.raises(TooLarge):
        shelf.chain("c")
    assert shelf.chain("b") == [b"[a]", b"[b]"]
    monkeypatch.setattr(book, "RESPONSE_CHAIN_MAX", 1)
    with pytest.raises(TooLarge):
        shelf.chain("c")


def test_what_has_had_its_day_is_not_seen_and_then_deleted(shelf: Shelf) -> None:
    shelf.keep("short", days=1)
    shelf.keep("long")
    later_ms = BEGAN_MS + days_ms(1)
    with pytest.raises(ThingUnknown):
        shelf.database.look(book.find, shelf.project, "short", later_ms)
    assert shelf.database.call(book.forget, later_ms) == 1
    assert shelf.database.call(book.forget, later_ms) == 0
    assert shelf.chain("long", later_ms) == [b"[long]"]
    assert shelf.database.call(book.forget, later_ms, all_of_them=True) == 1


def test_a_shorter_retention_shortens_what_is_there_and_a_longer_one_does_not_prolong_it(shelf: Shelf) -> None:
    shelf.keep("a")
    shelf.database.call(book.set_retention, shelf.project, 7)
    assert shelf.database.look(book.retention, shelf.project) == 7
    shelf.database.call(book.set_retention, shelf.project, 90)
    found = shelf.database.look(book.find, shelf.project, "a", BEGAN_MS)
    assert found.expires_ms == BEGAN_MS + days_ms(7)
    shelf.database.call(book.set_retention, shelf.project, None)
    assert shelf.database.look(book.retention, shelf.project) is None
