"""``journal_durability = "disk"``: what was waited for is on the disk, its file's name included."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from openmaas.core.usage import Usage
from openmaas.ledger.legs import Leg
from openmaas.ledger.writing.journal import Journal
from openmaas.ledger.writing.records import Closed, Opened

pytestmark = pytest.mark.alone

LEG = Leg(("wallet:org:CNY",), "CNY", 1, 10)
OPENED = Opened("req_1", 1, "k", "p", "org", "m", "d", (LEG,), batch=False)


class Disk:
    """A disk that takes its time, and what it was told to sync, by inode."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, slow_s: float) -> None:
        self.synced: list[int] = []
        self._slow_s = slow_s
        for name in ("fsync", "fdatasync"):
            monkeypatch.setattr(f"openmaas.ledger.writing.journal.os.{name}", self._sync)

    def _sync(self, handle: int) -> None:
        before = os.fstat(handle).st_ino
        time.sleep(self._slow_s)
        assert os.fstat(handle).st_ino == before, "the descriptor became another file's meanwhile"
        self.synced.append(before)


def fill(journal: Journal, segment: Path) -> None:
    """Write until ``segment`` has begun."""
    while not segment.exists():
        journal.close(Closed(OPENED, 1, 1, "done", Usage(), (0,), 0), journal.open(OPENED))


def test_a_segment_is_synced_whole_though_the_next_one_has_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openmaas.ledger.writing.journal.JOURNAL_SEGMENT_BYTES", 4_000)
    monkeypatch.setattr("openmaas.ledger.writing.journal.JOURNAL_RESERVE_BYTES", 1_000)
    folder = tmp_path / "life"
    first, second = folder / "00000001.journal", folder / "00000002.journal"

    async def play() -> None:
        disk = Disk(monkeypatch, 0.5)
        journal = Journal(folder, durable_on_disk=True)
        waiting = asyncio.ensure_future(journal.durable())
        await asyncio.sleep(0.05)  # it syncs
        began_s = time.monotonic()
        fill(journal, second)
        (tmp_path / "other").write_text("takes the first free descriptor")
        assert time.monotonic() - began_s < 0.4  # a new segment does not wait for the disk
        handle = os.open(tmp_path / "other", os.O_RDONLY)
        await waiting
        disk.synced.clear()
        await asyncio.gather(*[journal.durable() for _ in range(20)])
        assert disk.synced == [first.stat().st_ino, folder.stat().st_ino, second.stat().st_ino]
        os.close(handle)
        journal.end()

    asyncio.run(play())


def test_the_name_of_the_first_segment_is_on_the_disk_before_a_request_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> None:
        disk = Disk(monkeypatch, 0)
        journal = Journal(tmp_path / "life", durable_on_disk=True)
        journal.open(OPENED)
        await journal.durable()
        assert {tmp_path.stat().st_ino, (tmp_path / "life").stat().st_ino} <= set(disk.synced)
        journal.end()

    asyncio.run(play())


def test_every_waiter_is_covered_by_a_sync_that_began_after_it_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> None:
        disk = Disk(monkeypatch, 0.02)
        journal = Journal(tmp_path / "life", durable_on_disk=True)
        await journal.durable()
        disk.synced.clear()
        for count in (1, 2):  # while one runs, all that come share the next
            running = asyncio.ensure_future(journal.durable())
            await asyncio.sleep(0.01)
            await asyncio.gather(running, *[journal.durable() for _ in range(50)])
            assert len(disk.synced) == 2 * count
        journal.end()

    asyncio.run(play())
