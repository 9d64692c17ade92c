"""Files that are whole or not there: secrets and settings on disk."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from uuid import uuid4

from openmaas.core.errors import SettingInvalid


def write_whole(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace ``path`` by ``content`` so that a crash leaves the old file or the new one, never a half."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        os.write(handle, content)
        os.fsync(handle)
    finally:
        os.close(handle)
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_once(path: Path, content: bytes) -> None:
    """``path`` with ``content``, unless it is there: of several who write it at once one does; the others find it."""
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    write_whole(draft, content)
    try:
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        draft.unlink()


def lock(path: Path) -> int | None:
    """An exclusive lock on ``path`` for as long as the returned descriptor is open; None when somebody holds it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def private_folder(path: Path) -> Path:
    """``path`` as a folder that only this user can open; made when missing."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
    except OSError as error:
        raise SettingInvalid(f"the folder {path} cannot be used: {error.strerror}", field="data") from error
    return path
