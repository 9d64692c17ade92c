"""The append-only journal of one relay's life: what it opened and closed, in order, on disk.

``open`` claims the disk for the record that will close the request too; when the disk is full it raises
``JournalFull`` and nothing has been run. So ``close`` cannot fail for lack of space (on file systems that write in
place; a copy-on-write one can still refuse). The writer holds a lock on the folder for as long as it lives: that is
how the poster knows that a relay is gone.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from openmaas.core.bounds import JOURNAL_READ_BYTES, JOURNAL_RESERVE_BYTES, JOURNAL_SEGMENT_BYTES
from openmaas.core.errors import JournalFull
from openmaas.ledger.writing.records import (
    CLOSED_EXTRA_BYTES,
    CLOSED_LEG_BYTES,
    FRAME,
    Closed,
    Opened,
    Progress,
    Record,
    frame,
    has_record,
    next_record,
)
from openmaas.store.files import lock, private_folder


class Position:
    """A place in a journal: segment number (from 1) and byte offset."""

    __slots__ = ("offset", "segment")

    def __init__(self, segment: int, offset: int) -> None:
        self.segment = segment
        self.offset = offset

    def pair(self) -> tuple[int, int]:
        """As a tuple that sorts."""
        return self.segment, self.offset


class Journal:
    """The writer. ``durable_on_disk`` makes ``durable`` wait for a group-committed fsync."""

    def __init__(self, folder: Path, *, durable_on_disk: bool = False) -> None:
        private_folder(folder)
        self._folder = folder
        self._lock = lock(folder / "lock")
        assert self._lock is not None, f"{folder} belongs to another relay"
        self._durable_on_disk = durable_on_disk
        self._segment = 0
        self._offset = 0
        self._allocated = 0
        self._promised = 0
        self._handle = -1
        self._sync: asyncio.Future[None] | None = None  # the last that began
        self._sync_next: asyncio.Future[None] | None = None  # the one that begins when that has ended
        self._before: list[int] = []  # to be synced before the segment: the one before it, and folders with new names
        if durable_on_disk:
            self._before.append(os.open(folder.parent, os.O_RDONLY | os.O_CLOEXEC))
        self._begin_segment(0)

    def open(self, opened: Opened) -> int:
        """Write ``opened``; returns the promise for ``close``. Raises ``JournalFull``, having written nothing."""
        bytes_ = frame(opened)
        promise = len(bytes_) + CLOSED_EXTRA_BYTES + CLOSED_LEG_BYTES * len(opened.legs)
        self._reserve(len(bytes_) + promise)
        self._write(bytes_)
        self._promised += promise
        return promise

    def progress(self, record: Progress) -> None:
        """Write how far a request has come, when there is room that nobody was promised."""
        bytes_ = frame(record)
        if self._offset + self._promised + len(bytes_) <= self._allocated:
            self._write(bytes_)

    def close(self, closed: Closed, promise: int) -> None:
        """Write ``closed`` into the room its ``open`` claimed."""
        bytes_ = frame(closed)
        assert len(bytes_) <= promise, (len(bytes_), promise)
        self._promised -= promise
        self._write(bytes_)

    async def durable(self) -> None:
        """Return when what was written survives what ``journal_durability`` says: ``process`` at once, ``disk`` after
        an fsync that all who wait at the same time share."""
        if not self._durable_on_disk:
            return
        if self._sync_next is None:  # the running one may have begun before our bytes were written
            self._sync_next = asyncio.ensure_future(self._fsync_after(self._sync))
        await asyncio.shield(self._sync_next)

    def end(self) -> None:
        """Let go of the files and of the lock."""
        assert self._lock is not None
        for handle in (*self._before, self._handle, self._lock):
            os.close(handle)

    async def _fsync_after(self, running: asyncio.Future[None] | None) -> None:
        if running is not None and not running.done():
            await asyncio.wait([running])
        self._sync, self._sync_next = self._sync_next, None
        before, self._before = self._before, []
        handle = os.dup(self._handle)  # a new segment closes its own, and the number may then be another file's
        await asyncio.to_thread(_sync, before, handle)

    def _reserve(self, more: int) -> None:
        needed = self._offset + self._promised + more
        if needed <= self._allocated:
            return
        if needed > JOURNAL_SEGMENT_BYTES:
            self._begin_segment(self._promised + more)
            return
        step = max(needed - self._allocated, JOURNAL_RESERVE_BYTES)
        _claim(self._handle, self._allocated, step)
        self._allocated += step

    def _begin_segment(self, least: int) -> None:
        path = segment_path(self._folder, self._segment + 1)
        size = max(least, JOURNAL_RESERVE_BYTES)
        draft = path.with_suffix(".draft")
        handle = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _claim(handle, 0, size)
        except JournalFull:
            os.close(handle)
            draft.unlink()
            raise
        draft.replace(path)  # a segment that can be seen has its room
        if self._durable_on_disk:  # the next sync, in its thread, begins with these: the loop does not wait for a disk
            self._before += [self._handle] if self._handle >= 0 else []
            self._before.append(os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC))
        elif self._handle >= 0:
            os.close(self._handle)
        self._handle, self._segment, self._offset, self._allocated = handle, self._segment + 1, 0, size

    def _write(self, bytes_: bytes) -> None:
        written = os.pwrite(self._handle, bytes_, self._offset)
        assert written == len(bytes_), "the disk took less than it had promised"
        self._offset += written


def segment_path(folder: Path, number: int) -> Path:
    """The file of segment ``number``."""
    return folder / f"{number:08d}.journal"


def first_segment(folder: Path) -> int:
    """The number of the oldest segment that is still kept; 1 when there is none."""
    return min((int(path.stem) for path in folder.glob("*.journal")), default=1)


def read_on(folder: Path, at: Position) -> list[tuple[Record, tuple[int, int]]]:
    """Up to ``JOURNAL_READ_BYTES`` of records from ``at`` on, each with its position; moves ``at`` behind the last.

    Safe beside a living writer: a frame that is not whole yet is left for the next call. It does not pass what is
    ``broken``.
    """
    has_next = segment_path(folder, at.segment + 1).exists()  # before reading: then this one is finished
    block = _block(folder, at) or b""
    found: list[tuple[Record, tuple[int, int]]] = []
    cursor = 0
    while (step := next_record(block, cursor)) is not None:
        record, after = step
        found.append((record, (at.segment, at.offset + cursor)))
        cursor = after
    at.offset += cursor
    if not found and has_next and not broken(folder, at):
        at.segment, at.offset = at.segment + 1, 0
        return read_on(folder, at)
    return found


def broken(folder: Path, at: Position) -> str | None:
    """What to say when the disk lost something, so that ``read_on`` cannot go on from ``at`` though it is not the end.

    Only the last segment may end in a frame that is not whole: its writer died there, and nothing was written behind.
    Every other one its writer left whole, and the next one there.
    """
    last = max((int(path.stem) for path in folder.glob("*.journal")), default=0) <= at.segment
    head = _block(folder, at, FRAME.size)
    if last and (head is None or (not any(head) and alive(folder))):
        return None  # the common case, beside a writer that has nothing to write
    path, block = segment_path(folder, at.segment), _block(folder, at)
    if block is not None and next_record(block, 0) is not None:
        return None  # written since it was read
    if last and not _lost_within(folder, at):
        return None
    if not last and block is not None and not any(block) and segment_path(folder, at.segment + 1).exists():
        return None
    said = f"cannot be read on in {path} at byte {at.offset}"
    return f"journal {folder.name} {said}: put the file back from a copy, or see docs/ledger.md"


def _lost_within(folder: Path, at: Position) -> bool:
    """Whether records stand behind what cannot be read in the last segment."""
    if not has_record(segment_path(folder, at.segment).read_bytes()[at.offset :]):
        return False
    # Beside a writer the first read may have missed what the second one saw the end of; by now all of it is there.
    return next_record(_block(folder, at) or b"", 0) is None


def alive(folder: Path) -> bool:
    """True while the relay that writes this journal lives."""
    held = lock(folder / "lock")
    if held is None:
        return True
    os.close(held)
    return False


def _block(folder: Path, at: Position, length: int = JOURNAL_READ_BYTES) -> bytes | None:
    """What stands at ``at``; None when its segment is gone."""
    try:
        with segment_path(folder, at.segment).open("rb", buffering=0) as file:
            return os.pread(file.fileno(), length, at.offset)
    except FileNotFoundError:
        return None


def _sync(before: list[int], handle: int) -> None:
    try:
        for earlier in before:
            os.fsync(earlier)
        os.fdatasync(handle)
    finally:
        for done in (*before, handle):
            os.close(done)


def _claim(handle: int, at: int, length: int) -> None:
    try:
        os.posix_fallocate(handle, at, length)
    except OSError as error:
        raise JournalFull(os.strerror(error.errno or 0)) from error
