"""A file that is either there whole or not there: written beside its place, flushed to disk, then renamed.

Tokenizers, shards and archives are written so. It knows nothing of what is in them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def write(path: Path, chunks: bytes | Iterable[bytes]) -> None:
    """Write `path` whole, and make its folder where it is missing. Who is interrupted leaves the old file as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            for chunk in [chunks] if isinstance(chunks, bytes) else chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
