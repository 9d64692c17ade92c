"""What files promise on each database: bytes and rows belong together, whoever dies between the two."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from openmaas.core.bounds import FILE_STRAY_S
from openmaas.core.clock import Clock
from openmaas.core.errors import StoreFailed, ThingUnknown, TooLarge
from openmaas.files.book import File, find_file, list_files
from openmaas.files.depot import Depot
from openmaas.files.face import Files, Owner
from servers import STORES, new_database

OWNER = Owner("org_1", "prj_1")


class Cabinet:
    """Files on one database, and a clock that the test moves."""

    def __init__(self, database: Any, folder: Path) -> None:
        self.database = database
        self.folder = folder
        self.ahead_ms = 0
        clock = Clock(wall_ms=lambda: time.time_ns() // 1_000_000 + self.ahead_ms)
        self.files = Files(database, Depot(folder), clock, project_bytes_max=100)

    def put(self, content: bytes, owner: Owner = OWNER, **fields: Any) -> File:
        draft = self.files.depot.draft()
        draft.write(content)
        file = self.files.new(draft, owner, **{"purpose": "batch", "filename": "a.jsonl", **fields})
        asyncio.run(self.files.keep(draft, file))
        return file

    def on_disk(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file() and path.name != "place"]


@pytest.fixture(params=STORES)
def cabinet(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    database = new_database(request.param, tmp_path)
    yield Cabinet(database, tmp_path / "files")
    database.close()


def test_a_file_is_found_by_its_project_alone_and_deletion_deletes(cabinet: Cabinet) -> None:
    one, same = cabinet.put(b"hello"), cabinet.put(b"hello", Owner("org_2", "prj_2"))
    assert one.digest == hashlib.sha256(b"hello").hexdigest()
    with pytest.raises(ThingUnknown):
        cabinet.database.look(find_file, one.id, "prj_2")
    with pytest.raises(ThingUnknown):
        asyncio.run(cabinet.files.remove(one.id, "prj_2"))
    asyncio.run(cabinet.files.remove(one.id, "prj_1"))
    (left,) = cabinet.on_disk()  # the same bytes of somebody else stay
    assert left == asyncio.run(cabinet.files.path(same.id, "prj_2"))[1]
    assert left.read_bytes() == b"hello"


def test_a_project_has_so_many_bytes_and_no_more(cabinet: Cabinet) -> None:
    cabinet.put(b"x" * 60)
    with pytest.raises(TooLarge):
        cabinet.put(b"x" * 41)
    assert len(cabinet.on_disk()) == 1
    cabinet.put(b"x" * 41, Owner("org_1", "prj_2"))


def test_a_file_expires(cabinet: Cabinet) -> None:
    cabinet.put(b"gone", expires_s=3_600)
    stays = cabinet.put(b"stays")
    cabinet.ahead_ms = 3_600_001
    assert asyncio.run(cabinet.files.tidy()) == 1
    assert [row.id for row in rows(cabinet)] == [stays.id]
    assert len(cabinet.on_disk()) == 1


def test_what_a_crash_left_is_swept_and_what_is_new_is_left_alone(cabinet: Cabinet) -> None:
    kept = cabinet.put(b"kept")
    depot = cabinet.files.depot
    for _ in range(2):
        draft = depot.draft()
        draft.write(b"no row")
        draft.close()
    depot.keep(draft, cabinet.files.new(draft, OWNER, purpose="batch", filename="x"))
    asyncio.run(cabinet.files.tidy())
    assert len(cabinet.on_disk()) == 3
    for path in cabinet.on_disk():
        os.utime(path, (time.time() - 2 * FILE_STRAY_S,) * 2)
    asyncio.run(cabinet.files.tidy())
    assert cabinet.on_disk() == [depot.path(kept)]


def test_pages_go_on_behind_an_id_in_either_order(cabinet: Cabinet) -> None:
    made = []
    for _ in range(3):
        cabinet.ahead_ms += 1
        made.append(cabinet.put(b"x").id)
    cabinet.put(b"x", purpose="vision")
    assert [row.id for row in rows(cabinet, purpose="batch")] == made[::-1]
    assert [row.id for row in rows(cabinet, purpose="batch", newest_first=False, after=made[0])] == made[1:]


def rows(cabinet: Cabinet, **fields: Any) -> list[File]:
    wanted = {"purpose": None, "after": "", "limit": 10, "newest_first": True, **fields}
    return cabinet.database.look(list_files, "prj_1", **wanted)


def test_a_file_of_another_host_says_where_it_is_not(cabinet: Cabinet, tmp_path: Path) -> None:
    file = cabinet.put(b"x")
    with pytest.raises(StoreFailed, match="files_folder"):
        Depot(tmp_path / "elsewhere").path(file)


def test_programs_that_open_a_new_depot_at_once_call_it_by_one_name(tmp_path: Path) -> None:
    """Else a job would wait for ever for a worker that has its file and does not know it."""
    for number in range(50):
        folder, start = tmp_path / str(number), threading.Barrier(4)

        def begin(folder: Path = folder, start: threading.Barrier = start) -> str:
            start.wait()
            return Depot(folder).place

        with ThreadPoolExecutor(4) as programs:
            found = {each.result() for each in [programs.submit(begin) for _ in range(4)]}
        assert found == {(folder / "place").read_text().strip()}
        assert sorted(path.name for path in folder.iterdir()) == ["drafts", "files", "parts", "place"]
