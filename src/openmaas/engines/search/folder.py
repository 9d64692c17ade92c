"""Looks in a folder of the operator's own, for a room without the internet: text, Markdown and HTML.

The index lies in memory (SQLite FTS5, https://www.sqlite.org/fts5.html) and follows the folder: what changed is read
again before a search, at most once in ``FOLDER_SCAN_INTERVAL_S``. Links that lead out of the folder are not followed. A
page's link is its name in the folder, its date that of its last change.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from openmaas.core.bounds import (
    FOLDER_BYTES_MAX,
    FOLDER_FILE_BYTES_MAX,
    FOLDER_FILES_MAX,
    FOLDER_SCAN_INTERVAL_S,
    SNIPPET_LENGTH,
)
from openmaas.core.clock import Clock
from openmaas.core.errors import EngineFailed, FieldInvalid
from openmaas.engines.search.query import Found, Query
from openmaas.engines.search.text import passages, read_text, terms, words
from openmaas.engines.spec import Option

log = logging.getLogger(__name__)

_SUFFIXES = frozenset({".txt", ".md", ".markdown", ".html", ".htm"})
_TABLES = """
CREATE TABLE files (
    id INTEGER PRIMARY KEY, name TEXT UNIQUE, changed_ns INTEGER, size_bytes INTEGER, title TEXT,
    first INTEGER, last INTEGER
);
CREATE INDEX files_by_last ON files (last);
CREATE TABLE passages (id INTEGER PRIMARY KEY, file INTEGER, text TEXT);
CREATE VIRTUAL TABLE found_by USING fts5(title, words, tokenize='unicode61');
"""
#: A word of the title, which belongs to the first passage, is worth three of the text. The best passage of a file
#: stands for it.
_LOOK = """
WITH hits AS MATERIALIZED
    (SELECT rowid AS id, bm25(found_by, 3.0, 1.0) AS score FROM found_by WHERE found_by MATCH ?)
SELECT f.name, f.title, f.changed_ns, f.last, p.id AS passage, min(hits.score) AS score
FROM hits JOIN passages AS p ON p.id = hits.id JOIN files AS f ON f.id = p.file
WHERE f.changed_ns >= ? GROUP BY f.id ORDER BY score, f.name LIMIT ?
"""
_DAY_NS = 24 * 3600 * 10**9


class Folder:
    """The folder at the path ``folder``."""

    def __init__(self, options: Mapping[str, Option], clock: Clock) -> None:
        self._folder = Path(str(options["folder"]))
        self._clock = clock
        self._lock = threading.Lock()
        self._scanned_s = 0.0
        if not self._folder.is_absolute() or not self._folder.is_dir():
            said = f"options.folder must be a folder that is there, with its whole path, not {self._folder}"
            raise FieldInvalid(said, field="options.folder")

    def open(self) -> None:
        """Read all files."""
        self._books = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._books.row_factory = sqlite3.Row
        self._books.executescript(_TABLES)
        self._scan()

    def close(self) -> None:
        """Forget all files."""
        with self._lock:
            self._books.close()

    def find(self, query: Query) -> list[Found]:
        """See ``BackEnd``."""
        if query.search_domain_filter:
            said = "search_domain_filter: this model searches a folder, which has no domains; leave it out"
            raise FieldInvalid(said, field="search_domain_filter")
        wanted = terms(query.search_query)
        if not wanted:
            return []
        # Quoted, so that nothing is an operator; a single wide letter is the begin of the words that it is in.
        match = " OR ".join(f'"{term}"' if len(term) > 1 else f'"{term}"*' for term in wanted)
        days = query.recent_days
        oldest_ns = 0 if days is None else self._clock.wall_ms() * 10**6 - days * _DAY_NS
        try:
            with self._lock:
                if self._clock.mono_s() - self._scanned_s > FOLDER_SCAN_INTERVAL_S:
                    self._scan()
                rows = self._books.execute(_LOOK, (match, oldest_ns, query.count)).fetchall()
                return [self._found(row, query) for row in rows]
        except sqlite3.Error as error:
            raise EngineFailed(f"the index of {self._folder} failed: {error}") from None

    def _found(self, row: sqlite3.Row, query: Query) -> Found:
        """The passage, and what follows it as far as more is wanted."""
        said = self._books.execute(
            "SELECT group_concat(text, char(10)) FROM (SELECT text FROM passages WHERE id BETWEEN ? AND ? ORDER BY id)",
            (row["passage"], min(row["last"], row["passage"] + query.snippet_length // SNIPPET_LENGTH - 1)),
        ).fetchone()[0]
        day = datetime.fromtimestamp(row["changed_ns"] / 10**9, UTC).date().isoformat()
        return Found(row["title"] or row["name"], row["name"], said[: query.snippet_length], publish_date=day)

    def _scan(self) -> None:
        """Take in what is new, read again what changed, and forget what is gone."""
        self._scanned_s = self._clock.mono_s()
        there = {name: (changed_ns, size) for name, changed_ns, size in self._files()}
        books = self._books
        known = {row["name"]: row for row in books.execute("SELECT * FROM files")}
        with books:
            self._renew(known, there)

    def _renew(self, known: Mapping[str, sqlite3.Row], there: dict[str, tuple[int, int]]) -> None:
        books = self._books
        books.execute("BEGIN")
        for name, row in known.items():
            if there.get(name) == (row["changed_ns"], row["size_bytes"]):
                del there[name]
                continue
            for table, column in (("found_by", "rowid"), ("passages", "id")):
                books.execute(  # both names are from the line above
                    f"DELETE FROM {table} WHERE {column} BETWEEN ? AND ?",  # noqa: S608
                    (row["first"], row["last"]),
                )
            books.execute("DELETE FROM files WHERE id = ?", (row["id"],))
        for name, (changed_ns, size) in there.items():
            self._take(name, changed_ns, size)

    def _take(self, name: str, changed_ns: int, size: int) -> None:
        path = self._folder / name
        try:
            title, text = read_text(path.read_bytes(), path.suffix.lower())
        except OSError as error:
            log.warning("%s is left out: %s", path, error)
            return
        books = self._books
        begun = books.execute("SELECT coalesce(max(last), 0) + 1 FROM files").fetchone()[0]
        rows = list(enumerate(passages(text) if text.strip() else [""], begun))
        fields = (name, changed_ns, size, title, begun, begun + len(rows) - 1)
        made = books.execute(
            "INSERT INTO files (name, changed_ns, size_bytes, title, first, last) VALUES (?, ?, ?, ?, ?, ?)", fields
        )
        found_by = " ".join(words(f"{title} {path.stem}"))
        books.executemany("INSERT INTO passages VALUES (?, ?, ?)", [(at, made.lastrowid, said) for at, said in rows])
        books.executemany(
            "INSERT INTO found_by (rowid, title, words) VALUES (?, ?, ?)",
            [(at, found_by if at == begun else "", " ".join(words(said))) for at, said in rows],
        )

    def _files(self) -> Iterator[tuple[str, int, int]]:
        """Name, time of change and size of each, by name, as far as they fit."""
        count = total = 0
        for place, folders, names in os.walk(self._folder):
            folders[:] = sorted(each for each in folders if not each.startswith("."))
            for name in sorted(names):
                path = Path(place, name)
                if name.startswith(".") or path.suffix.lower() not in _SUFFIXES or path.is_symlink():
                    continue
                try:
                    stat = path.stat()
                except OSError:  # gone meanwhile
                    continue
                if stat.st_size > FOLDER_FILE_BYTES_MAX:
                    log.warning("%s is left out: it has more than %d bytes", path, FOLDER_FILE_BYTES_MAX)
                    continue
                count, total = count + 1, total + stat.st_size
                if count > FOLDER_FILES_MAX or total > FOLDER_BYTES_MAX:
                    log.warning("%s and what follows is left out: the folder is too large", path)
                    return
                yield path.relative_to(self._folder).as_posix(), stat.st_mtime_ns, stat.st_size
