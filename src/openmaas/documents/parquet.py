"""Parquet by pyarrow, which comes with the extra ``parquet``: amounts as decimals of nine places, times as UTC
milliseconds. Each page is a row group, and leaves as soon as it is written."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from openmaas.core.errors import ExtraMissing

_NANO = Decimal("1e-9")


class Parquet:
    """One file. ``columns`` are names in the file with their kinds, ``sources`` those in a row. A ``sheets.Sheet``."""

    def __init__(self, columns: Mapping[str, str], sources: Mapping[str, str]) -> None:
        """Raises ``ExtraMissing`` where the extra is not installed."""
        try:
            import pyarrow  # noqa: PLC0415 - an optional extra
            import pyarrow.parquet  # noqa: PLC0415 - an optional extra
        except ModuleNotFoundError:
            raise ExtraMissing("Parquet needs the extra `parquet`; run: make setup-parquet") from None
        amount = pyarrow.decimal128(28, 9)
        types = {
            "text": pyarrow.string(),
            "integer": pyarrow.int64(),
            "amount": amount,
            "charges": pyarrow.list_(pyarrow.struct([("account_id", pyarrow.string()), ("amount", amount)])),
            "time": pyarrow.timestamp("ms", tz="UTC"),
            "boolean": pyarrow.bool_(),
        }
        self._columns, self._sources, self._arrow = columns, sources, pyarrow
        self._schema = pyarrow.schema([(name, types[kind]) for name, kind in columns.items()])
        self._out = _Outlet()
        self._writer = pyarrow.parquet.ParquetWriter(self._out, self._schema, compression="zstd")

    def begin(self) -> bytes:
        """The file's mark."""
        return self._out.taken()

    def rows(self, page: Iterable[Mapping[str, Any]]) -> bytes:
        """One row group."""
        kept = list(page)
        if kept:
            arrays = []
            for name, kind in self._columns.items():
                values = [_value(row[self._sources[name]], kind) for row in kept]
                arrays.append(self._arrow.array(values, self._schema.field(name).type))
            self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))
        return self._out.taken()

    def end(self) -> bytes:
        """The footer, without which no row can be read."""
        self._writer.close()
        return self._out.taken()


class _Outlet(io.RawIOBase):
    """A file that gives away what was written to it."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, block: Any) -> int:
        self._waiting += block
        return len(block)

    def taken(self) -> bytes:
        """What was written since it was last asked."""
        waiting, self._waiting = self._waiting, bytearray()
        return bytes(waiting)


def _value(value: Any, kind: str) -> Any:
    if kind == "charges":
        return [{"account_id": account_id, "amount": _value(nanos, "amount")} for account_id, nanos in value]
    return Decimal(value) * _NANO if kind == "amount" and value is not None else value
