"""What was found of a checkpoint, kept beside it: ``evaluations.json`` in the folder of the model, a row for each one.

A row says what was asked, what was found, when and by which version; rows are only ever added, so that figures of
yesterday stay next to those of today. Every evaluation writes here, and ``python -m openglm.evaluate FOLDER`` shows it.
It does not know what any evaluation measures.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from openglm.data import atomic
from openglm.errors import Refused
from openglm.version import VERSION

FILE = "evaluations.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One evaluation: its name, what it was asked, what it found. Both mappings are plain JSON."""

    name: str
    asked: dict[str, Any]
    figures: dict[str, Any]
    when: str
    """In UTC, to the second, as ISO 8601 has it."""
    version: str
    """Of openglm."""


def keep(folder: Path, name: str, asked: Mapping[str, Any], figures: Mapping[str, Any]) -> Result:
    """Add a row to the model in ``folder``; who writes at the same time waits, and no row is lost.

    Raises:
        Refused: there is no such folder, its file is broken, or a figure is no JSON (infinities are none).
    """
    found = Result(
        name=name,
        asked=dict(asked),
        figures=dict(figures),
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        version=VERSION,
    )
    with _alone(folder):
        rows = [asdict(row) for row in [*kept(folder), found]]
        try:
            text = json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise Refused(
                f"{name}: what was found cannot be kept ({error})", hint="Give finite numbers and text."
            ) from None
        atomic.write(folder / FILE, f"{text}\n".encode())
    return found


def kept(folder: Path) -> list[Result]:
    """All rows of the model in ``folder``, oldest first; none where nothing was evaluated.

    Raises:
        Refused: the file is no list of rows.
    """
    path = folder / FILE
    if not path.exists():
        return []
    try:
        return [Result(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except (TypeError, ValueError) as error:
        raise Refused(f"{path}: it is no list of evaluations ({error})", hint="Mend it, or move it away.") from None


def table(results: list[Result]) -> str:
    """The rows as a reader wants them: a line for each evaluation, a line under it for each figure that is a number."""
    lines: list[str] = []
    for row in results:
        asked = ", ".join(f"{name} {value}" for name, value in row.asked.items())
        lines.append(f"{row.name}  ({row.when}, openglm {row.version}{'; ' if asked else ''}{asked})")
        numbers = {name: value for name, value in row.figures.items() if isinstance(value, int | float)}
        width = max(map(len, numbers), default=0)
        lines += [f"    {name:{width}}  {_short(value)}" for name, value in numbers.items()]
    return "\n".join(lines)


def _short(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else writes in the folder meanwhile. The lock is on the folder itself, and goes with its process."""
    if not folder.is_dir():
        raise Refused(f"{folder}: no such folder", hint="Give the folder of a checkpoint.")
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
