"""The poster program: posts what relays have journaled, until told to stop."""

from __future__ import annotations

import asyncio

import sqlalchemy as sa

from openmaas.core.bounds import POST_INTERVAL_S
from openmaas.core.clock import Clock
from openmaas.core.errors import StoreFailed
from openmaas.core.usage import Usage
from openmaas.engines import meter
from openmaas.house.layout import Layout
from openmaas.house.orders import log_to_stderr, read_orders, say_ready, told_to_stop
from openmaas.identity.book import mark_used
from openmaas.ledger.poster import Poster
from openmaas.ledger.records import Closed
from openmaas.store.database import Database


def engine_counts(layout: Layout, request_ids: list[str]) -> dict[str, Usage]:
    """What our engines counted for these requests."""
    return {
        request_id: Usage(line.prompt_tokens, line.completion_tokens, line.cached_tokens)
        for request_id, line in meter.find(layout.meters, request_ids).items()
    }


def build(layout: Layout, database: Database, clock: Clock) -> Poster:
    """A poster for this installation."""

    def also(tx: sa.Connection, fresh: list[Closed]) -> None:
        mark_used(tx, {record.opened.key_id: record.opened.opened_ms for record in fresh})

    return Poster(database, layout.journals, clock, lambda ids: engine_counts(layout, ids), also)


async def _run(layout: Layout) -> None:
    database = Database(layout.database)
    poster = build(layout, database, Clock())
    stop = asyncio.ensure_future(told_to_stop())
    say_ready()
    while not stop.done():
        try:
            posted = await asyncio.to_thread(poster.step)
        except StoreFailed:
            posted = 0  # the database does not answer: the journals keep everything until it does
        if not posted:
            await asyncio.wait([stop], timeout=POST_INTERVAL_S)
    await asyncio.to_thread(poster.step)
    database.close()


def main() -> None:
    """Run as the supervisor's child."""
    orders = read_orders()
    log_to_stderr("poster", orders.settings.log_level)
    asyncio.run(_run(Layout(orders.settings.data)))


if __name__ == "__main__":
    main()
