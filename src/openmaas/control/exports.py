"""Statements and usage as files, for the operator and for a customer alike, and for the command line."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Annotated, Any

import msgspec
from fastapi import Query
from starlette.responses import StreamingResponse

from openmaas.control.show import parse_time
from openmaas.control.usage import parse_day
from openmaas.core.usage import UNITS
from openmaas.documents.sheets import FORMS, Columns, sheet, written
from openmaas.ledger.papers.exporting import receipt_pages, statement
from openmaas.store.database import Database

STATEMENT: Columns = {
    "at": "time",
    "kind": "text",
    "state": "text",
    "change": "amount",
    "balance": "amount",
    "currency": "text",
    "memo": "text",
    "other_account_id": "text",
    "id": "text",
}
USAGE: Columns = {
    "request_id": "text",
    "opened": "time",
    "closed": "time",
    "organisation_id": "text",
    "project_id": "text",
    "key_id": "text",
    "model": "text",
    "outcome": "text",
    "prompt_tokens": "integer",
    "cached_tokens": "integer",
    "completion_tokens": "integer",
    "reasoning_tokens": "integer",
    "delivered_tokens": "integer",
    **{f"units_{unit}": "integer" for unit in UNITS},
    "estimated": "boolean",
    "batch": "boolean",
    "amount": "amount",
    "currency": "text",
    "price_version": "integer",
    "charges": "charges",  # of every account; the three before are of the last leg
}
#: What an export answers, as the OpenAPI document says it.
EXPORTED: dict[int | str, dict[str, Any]] = {200: {"content": {kind.partition(";")[0]: {} for kind in FORMS.values()}}}
Form = Annotated[str, Query(description=", ".join(FORMS))]
Since = Annotated[str, Query(description="A day (UTC) such as 2026-11-01, or RFC 3339")]
Until = Annotated[str, Query(description="The last day, or the moment at which it ends")]


class Export(msgspec.Struct, frozen=True):
    """Which rows, and as what. ``bom`` is for Excel, which needs it to read UTF-8."""

    since: str
    until: str
    form: str = "csv"
    bom: bool = False

    def statement(self, database: Database, account_id: str) -> Iterator[bytes]:
        """The transfers of one account. Raises ``ThingUnknown``, ``FieldInvalid``, ``ExtraMissing`` at once."""
        into = sheet(self.form, STATEMENT, bom=self.bom)
        return written(into, statement(database, account_id, *self._bounds()))

    def usage(self, database: Database, organisation_id: str | None) -> Iterator[bytes]:
        """The receipts of one organisation, or of all. Raises ``FieldInvalid``, ``ExtraMissing`` at once."""
        into = sheet(self.form, USAGE, bom=self.bom)
        return written(into, receipt_pages(database, organisation_id, *self._bounds()))

    def answer(self, pieces: Iterator[bytes], name: str) -> StreamingResponse:
        """The file as a response that is written while it is sent; each piece is made in a thread."""
        headers = {"content-disposition": f'attachment; filename="{name}.{self.form}"'}
        return StreamingResponse(pieces, media_type=FORMS[self.form], headers=headers)

    def _bounds(self) -> tuple[int, int]:
        return moment(self.since or "1970-01-01", "since"), moment(self.until or "9998-12-31", "until", days=1)


def moment(text: str, field: str, *, days: int = 0) -> int:
    """A day (UTC), or a time (RFC 3339), as UTC milliseconds; a day is counted ``days`` on. Raises ``FieldInvalid``."""
    if "T" in text:
        return parse_time(text, field)
    day = date.fromisoformat(parse_day(text, field, ends=days > 0))
    return parse_time(f"{day + timedelta(days=days)}T00:00:00Z", field)
