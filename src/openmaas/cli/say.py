"""How the command line speaks: text for people, JSON with ``--json``, errors with the next step, progress on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any, NoReturn, ParamSpec

import click
import msgspec

from openmaas.core.bounds import PAGE_SIZE
from openmaas.core.errors import Failed, FieldInvalid, OpenmaasError

P = ParamSpec("P")
DATA = click.option(
    "--data", envvar="OPENMAAS_DATA", default="data", show_default=True, help="Folder of the installation."
)
LIMIT = click.option("--limit", type=click.IntRange(1), default=PAGE_SIZE, show_default=True, help="Rows of one page.")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def plainly(command: Callable[P, None]) -> Callable[P, None]:
    """Turn our errors into one line and an exit code: 2 what you can mend, 1 what failed here."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except OpenmaasError as error:
            if kwargs.get("as_json"):
                show({"error": {"message": error.message, "code": error.code, "field": error.field}}, as_json=True)
            else:
                # A field here is an argument: that "the request" is not valid would puzzle who made none.
                said = error.detail if isinstance(error, FieldInvalid) and error.detail else error.message
                click.echo(f"openmaas: {said}", err=True)
            sys.exit(1 if isinstance(error, Failed) else 2)

    return run


def show(value: Any, *, as_json: bool, text: str | None = None) -> None:
    """Print ``value`` as JSON, or ``text`` (the value itself when there is none)."""
    click.echo(msgspec.json.encode(value).decode() if as_json or text is None else text)


def fail(error: dict[str, Any], *, as_json: bool) -> NoReturn:
    """End with what the API said: exit code 2 for what can be mended, 1 for what failed here."""
    if as_json:
        show({"error": error}, as_json=True)
    else:
        said = error["message"].removeprefix(f"{(FieldInvalid.__doc__ or '').rstrip('.')}: ")
        click.echo(f"openmaas: {said}", err=True)
    sys.exit(1 if error["type"] == "server_error" else 2)


def table(rows: Iterable[Mapping[str, Any]], columns: Iterable[str]) -> str:
    """Rows as aligned columns; a column that no row has is left out."""
    kept = list(rows)
    names = [name for name in columns if any(name in row for row in kept)]
    cells = [[name.replace("_", " ") for name in names]]
    cells += [["" if row.get(name) is None else str(row.get(name)) for name in names] for row in kept]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells)


class Progress:
    """How far something is: one line that renews itself on a terminal, one line every few seconds elsewhere.

    It is told of bytes and says megabytes; what is not bytes has a ``unit`` of so many and a ``name``.
    """

    def __init__(self, unit: int = 10**6, name: str = "MB") -> None:
        self._unit, self._name = unit, name
        self._last_s = 0.0
        self._terminal = sys.stderr.isatty()

    def __call__(self, what: str, done: int, total: int) -> None:
        """``done`` of ``total`` of ``what``."""
        now_s, finished = time.monotonic(), done >= total
        if not finished and now_s - self._last_s < (0.1 if self._terminal else 3.0):
            return
        self._last_s = now_s
        share = 100 * done // total if total else 100
        line = f"· {what}: {done / self._unit:.0f} of {total / self._unit:.0f} {self._name} ({share} %)"
        click.echo(f"\r{line}\x1b[K" if self._terminal else line, err=True, nl=not self._terminal or finished)
