"""Where the bytes of files lie: a folder of this host, or one that several hosts share.

Each file is one file on disk, named by its SHA-256 and its id, so that no two rows share bytes and deleting one deletes
exactly its own. The order of steps is such that a crash leaves bytes without a row, never a row without bytes: what no
row knows is swept away later. A folder has a name of its own (``place``), by which a host knows whether it has a file.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from uuid import uuid4

from openmaas.core.bounds import COPY_BYTES, FILE_STRAY_S
from openmaas.core.errors import StoreFailed
from openmaas.files.book import File
from openmaas.store.files import private_folder, write_once


class Draft:
    """Bytes on their way in. ``write`` them all, then ``Depot.keep`` it; or ``discard`` it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size_bytes = 0
        self._digest = hashlib.sha256()
        self._file = path.open("xb", buffering=COPY_BYTES)

    @property
    def digest(self) -> str:
        """SHA-256 of what was written, hexadecimal."""
        return self._digest.hexdigest()

    def write(self, block: bytes) -> None:
        """Add bytes. Raises ``StoreFailed`` when the disk is full."""
        try:
            self._file.write(block)
        except OSError as error:
            raise StoreFailed(f"the file cannot be written: {error.strerror}") from error
        self._digest.update(block)
        self.size_bytes += len(block)

    def close(self) -> None:
        """Wait until all of it is on disk. Raises ``StoreFailed``."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise StoreFailed(f"the file cannot be written: {error.strerror}") from error
        finally:
            self._file.close()

    def discard(self) -> None:
        """Forget it, unless it was kept."""
        self._file.close()
        self.path.unlink(missing_ok=True)


class Depot:
    """One folder of bytes."""

    def __init__(self, folder: Path) -> None:
        self._drafts = private_folder(folder / "drafts")
        self._files = private_folder(folder / "files")
        self._parts = private_folder(folder / "parts")
        name = folder / "place"
        if not name.exists():
            write_once(name, b"%s\n" % uuid4().hex.encode())  # several programs begin at once, and must agree
        self.place = name.read_text().strip()

    def draft(self) -> Draft:
        """A new draft."""
        return Draft(self._drafts / uuid4().hex)

    def keep(self, draft: Draft, file: File) -> None:
        """Make a closed draft the bytes of ``file``."""
        path = self.path(file)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        draft.path.replace(path)

    def path(self, file: File) -> Path:
        """Where the bytes of a file are. Raises ``StoreFailed`` when another host has them."""
        if file.place != self.place:
            raise StoreFailed("another host has this file; the setting files_folder names a folder that hosts share")
        return self._files / file.digest[:2] / f"{file.digest}.{file.id}"

    def remove(self, files: Iterable[File]) -> None:
        """Remove the bytes of files whose rows are gone; what another host has is its own to sweep."""
        for file in files:
            if file.place == self.place:
                self.path(file).unlink(missing_ok=True)

    def parts(self, job_id: str) -> Path:
        """The folder of what a job has made so far; made when missing."""
        folder = self._parts / job_id
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def drop_parts(self, job_id: str) -> None:
        """The job is over."""
        shutil.rmtree(self._parts / job_id, ignore_errors=True)

    def part_names(self) -> list[str]:
        """The jobs that have parts."""
        return [path.name for path in self._parts.iterdir()]

    def sweep(self, known: Callable[[list[str]], set[str]]) -> int:
        """Remove drafts that nobody finished and bytes that no row knows, older than ``FILE_STRAY_S``; ``known`` says
        of file ids which there are. Returns how many it removed."""
        removed = 0
        for path in self._old(self._drafts.iterdir()):
            path.unlink(missing_ok=True)
            removed += 1
        for folder in self._files.iterdir():
            old = {path.name.partition(".")[2]: path for path in self._old(folder.iterdir())}
            for file_id in old.keys() - known(list(old)):
                old[file_id].unlink(missing_ok=True)
                removed += 1
        return removed

    @staticmethod
    def _old(paths: Iterable[Path]) -> Iterator[Path]:
        before_s = time.time() - FILE_STRAY_S
        for path in paths:
            try:
                if path.stat().st_mtime < before_s:
                    yield path
            except FileNotFoundError:  # kept or removed meanwhile
                continue
