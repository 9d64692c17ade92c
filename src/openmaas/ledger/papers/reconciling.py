"""Reconciliation of one day: what clients were sent, what relays counted and billed, and what engines reported.

Each request falls under one cause. ``agree`` is the good one: the engine's durable count is what was billed. The others
say, in this order, why a number is another than its neighbour: ``excess`` (above the hold: the operator bears it),
``unbilled`` (the engine counted more than was billed), ``estimated`` (no count came with the answer), ``orphaned`` (no
relay lived to close it), ``client_closed`` (paid for to the stop, and not all of it seen), ``no_engine_count`` (a
foreign endpoint, or counts no longer kept) and ``differs``, which has no excuse.

A delivered token is an event of a stream but for the first, so a stream's sum may lie a little beside the engine's.
Read in pages, beside living relays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import msgspec
import sqlalchemy as sa

from openmaas.core.bounds import RECONCILE_PAGE_MAX
from openmaas.core.errors import FieldInvalid
from openmaas.core.usage import Usage
from openmaas.ledger.law import charges, receipts, transfers, usage_days
from openmaas.ledger.posting.rows import usage_of
from openmaas.store.database import Database

#: Engines' own counts of these requests, for those that are known.
Counts = Callable[[list[str]], dict[str, Usage]]
CAUSES = (
    "agree",
    "excess",
    "unbilled",
    "estimated",
    "orphaned",
    "client_closed",
    "no_engine_count",
    "differs",
)


class Difference(msgspec.Struct, kw_only=True):
    """Requests of one organisation under one cause. Engine and delivered tokens are of those that are known."""

    organisation_id: str
    cause: str
    currency: str
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    engine_prompt_tokens: int = 0
    engine_completion_tokens: int = 0
    delivered_tokens: int = 0
    amount_nanos: int = 0
    excess_nanos: int = 0
    unbilled_nanos: int = 0

    @property
    def id(self) -> str:
        """Which of a day's rows it is."""
        return f"{self.organisation_id}:{self.cause}:{self.currency}"

    def take(self, row: Any, counted: Usage | None) -> None:
        """One more request."""
        self.requests += 1
        self.prompt_tokens += row.prompt_tokens
        self.completion_tokens += row.completion_tokens
        self.delivered_tokens += row.delivered_tokens or 0
        self.amount_nanos += row.amount_nanos
        self.excess_nanos += row.excess_nanos
        self.unbilled_nanos += row.unbilled_nanos or 0
        if counted is not None:
            self.engine_prompt_tokens += counted.prompt_tokens
            self.engine_completion_tokens += counted.completion_tokens


def reconcile(
    database: Database, day: str, counts: Counts, *, after: str = "", limit: int | None = None
) -> list[Difference]:
    """The posted requests that were opened on ``day`` (UTC, ``2026-11-26``), by organisation, cause and currency; rows
    after the one with the id ``after``, all of them without ``limit``. Raises ``FieldInvalid``."""
    last = _place(after) if after else ("", -1, "")
    found: dict[tuple[str, int, str], Difference] = {}
    for page in _pages(database, day, database.look(_organisations, day, last[0], limit)):
        counted = counts([row.request_id for row in page])
        for row in page:
            usage = counted.get(row.request_id)
            cause = cause_of(row, usage)
            key = row.organisation_id, CAUSES.index(cause), row.currency
            if key not in found:
                found[key] = Difference(organisation_id=key[0], cause=cause, currency=key[2])
            found[key].take(row, usage)
    return [found[key] for key in sorted(found) if key > last][:limit]


def _place(row_id: str) -> tuple[str, int, str]:
    organisation_id, _, rest = row_id.partition(":")
    cause, _, currency = rest.partition(":")
    if cause not in CAUSES:
        raise FieldInvalid("after must be the `next_after` of the page before", field="after")
    return organisation_id, CAUSES.index(cause), currency


def cause_of(row: Any, counted: Usage | None) -> str:
    """Why the numbers of one request are what they are."""
    if row.excess_nanos:
        return "excess"
    if row.unbilled_nanos:
        return "unbilled"
    if row.estimated:
        return "estimated"
    if row.outcome in ("orphaned", "client_closed"):
        return str(row.outcome)
    billed = row.prompt_tokens, row.completion_tokens, row.cached_tokens, usage_of(row).units
    if counted is None:
        return "no_engine_count" if any(billed) else "agree"
    same = billed == (counted.prompt_tokens, counted.completion_tokens, counted.cached_tokens, counted.units)
    return "agree" if same else "differs"


def _pages(database: Database, day: str, organisations: list[str]) -> Iterator[list[Any]]:
    """One reading of the engines' counts a page, so pages are large; never more than two lie in memory."""
    begin = datetime.combine(date.fromisoformat(day), time.min, UTC)
    begin_ms, end_ms = (round(moment.timestamp() * 1000) for moment in (begin, begin + timedelta(days=1)))
    waiting: list[Any] = []
    for organisation_id in organisations:
        after = begin_ms, ""
        while True:
            rows = database.look(_page, organisation_id, after, end_ms)
            waiting += rows
            if len(waiting) >= RECONCILE_PAGE_MAX:
                yield waiting
                waiting = []
            if len(rows) < RECONCILE_PAGE_MAX:
                break
            after = rows[-1].opened_ms, rows[-1].request_id
    yield waiting


def _organisations(tx: sa.Connection, day: str, first: str, limit: int | None) -> list[str]:
    """Those with requests on this day, from ``first`` on. Each has a row, so as many as rows are wanted are enough; one
    more, for the rows of the first may all have been told."""
    who = usage_days.c.organisation_id
    query = sa.select(who).where(usage_days.c.day == day, who >= first).distinct().order_by(who)
    return list(tx.execute(query.limit(None if limit is None else limit + 1)).scalars())


def _page(tx: sa.Connection, organisation_id: str, after: tuple[int, str], until_ms: int) -> list[Any]:
    legs = sa.select(sa.func.max(charges.c.leg)).where(charges.c.request_id == receipts.c.request_id)
    last_leg = sa.cast(legs.correlate(receipts).scalar_subquery(), sa.String)
    key = sa.literal("unbilled:") + receipts.c.request_id + ":" + last_leg  # as ``posting.unbilled_key``
    query = (
        sa.select(receipts, transfers.c.amount_nanos.label("unbilled_nanos"))
        .join_from(receipts, transfers, transfers.c.request_key == key, isouter=True)
        .where(
            receipts.c.organisation_id == organisation_id,
            sa.tuple_(receipts.c.opened_ms, receipts.c.request_id) > after,
            receipts.c.opened_ms < until_ms,
        )
    )
    ordered = query.order_by(receipts.c.opened_ms, receipts.c.request_id).limit(RECONCILE_PAGE_MAX)
    return list(tx.execute(ordered))
