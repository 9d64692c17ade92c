"""Tables as files, written page by page: CSV for spreadsheets, JSON lines for programs, Parquet for analysis.

A sheet is told its columns and then fed with pages of rows; what it gives is sent on at once, so that a file of any
length costs the memory of one page.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, Protocol

import msgspec

from openmaas.core.clock import iso_utc
from openmaas.core.errors import FieldInvalid
from openmaas.core.money import show_amount
from openmaas.documents.parquet import Parquet

Row = Mapping[str, Any]
#: ``amount`` is nano-units, ``time`` UTC milliseconds; both are written as people read them, and exactly. ``charges``
#: are pairs of an account and nano-units: a list of objects, or ``account=amount; …`` in one cell.
Kind = Literal["text", "integer", "amount", "time", "boolean", "charges"]
#: A name in the file; the name in a row is that of the ledger (``amount_nanos``).
Columns = Mapping[str, Kind]
FORMS = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl", "parquet": "application/vnd.apache.parquet"}
_BOM = b"\xef\xbb\xbf"
#: What makes a spreadsheet calculate a cell (https://owasp.org/www-community/attacks/CSV_Injection), in both widths.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_SUFFIX = {"amount": "_nanos", "time": "_ms"}


class Sheet(Protocol):
    """One file that is being written."""

    def begin(self) -> bytes:
        """What stands before all rows."""

    def rows(self, page: Iterable[Row]) -> bytes:
        """The next rows."""

    def end(self) -> bytes:
        """What stands behind them."""


class Csv:
    """RFC 4180. Text that a spreadsheet would calculate gets an apostrophe in front. ``bom`` is for Excel, which takes
    a file without one for the local code page and breaks Chinese."""

    def __init__(self, columns: Columns, *, bom: bool = False) -> None:
        self._columns = columns
        self._begin = _BOM if bom else b""

    def begin(self) -> bytes:
        """The names of the columns."""
        return self._begin + _csv([self._columns])

    def rows(self, page: Iterable[Row]) -> bytes:
        """One line a row; what is unknown is empty."""
        return _csv([_cell(row, name, kind) for name, kind in self._columns.items()] for row in page)

    def end(self) -> bytes:
        """Nothing."""
        return b""


class JsonLines:
    """One JSON object a line (https://jsonlines.org)."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns

    def begin(self) -> bytes:
        """Nothing."""
        return b""

    def rows(self, page: Iterable[Row]) -> bytes:
        """Amounts and times as text."""
        return msgspec.json.Encoder().encode_lines(
            [{name: _shown(row, name, kind) for name, kind in self._columns.items()} for row in page]
        )

    def end(self) -> bytes:
        """Nothing."""
        return b""


def sheet(form: str, columns: Columns, *, bom: bool = False) -> Sheet:
    """A sheet of this form. Raises ``FieldInvalid`` for one that nobody knows, ``ExtraMissing`` for Parquet without
    its extra."""
    if form == "csv":
        return Csv(columns, bom=bom)
    if form == "jsonl":
        return JsonLines(columns)
    if form == "parquet":
        return Parquet(columns, {name: name + _SUFFIX.get(kind, "") for name, kind in columns.items()})
    raise FieldInvalid(f"form must be {', '.join(FORMS)}, not {form[:40]!r}", field="form")


def written(into: Sheet, pages: Iterable[Iterable[Row]]) -> Iterator[bytes]:
    """The file, piece by piece."""
    yield into.begin()
    for page in pages:
        yield into.rows(page)
    yield into.end()


def _csv(rows: Iterable[Iterable[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _cell(row: Row, name: str, kind: Kind) -> str:
    value = _shown(row, name, kind)
    if value is None:
        return ""
    if kind == "boolean":
        return "true" if value else "false"
    if kind == "charges":
        return "; ".join(f"{each['account_id']}={each['amount']}" for each in value)
    text = str(value)
    return f"'{text}" if kind == "text" and text.startswith(_FORMULA) else text


def _shown(row: Row, name: str, kind: Kind) -> Any:
    value = row[name + _SUFFIX.get(kind, "")]
    if kind == "charges":
        return [{"account_id": account_id, "amount": show_amount(nanos)} for account_id, nanos in value]
    if value is None or kind not in _SUFFIX:
        return value
    return show_amount(value) if kind == "amount" else iso_utc(value)
