"""The poster program: posts what relays have journaled, does what has its day, tells customers, until told to stop."""

from __future__ import annotations

import asyncio
import logging
import math

import sqlalchemy as sa

from openmaas.core.bounds import (
    CHORES_INTERVAL_S,
    INVOICE_INTERVAL_S,
    PAGE_SIZE_MAX,
    POST_INTERVAL_S,
    POST_INTERVAL_S_MAX,
    RESPONSES_FORGOTTEN_MAX,
)
from openmaas.core.clock import Clock
from openmaas.core.errors import StoreFailed
from openmaas.core.usage import Usage
from openmaas.engines import meter
from openmaas.house.invoicing import issue_due, issuer_of
from openmaas.house.layout import Layout
from openmaas.house.orders import follow_orders, say_ready, told_to_stop
from openmaas.house.settings import Settings
from openmaas.identity.book import mark_used
from openmaas.identity.seal import MasterKeys
from openmaas.ledger.posting.poster import Poster
from openmaas.ledger.selling.packs import end_packs
from openmaas.ledger.selling.payers import take_cuts
from openmaas.ledger.selling.subscribing import renew, renewing
from openmaas.ledger.writing.records import Closed
from openmaas.responses.book import forget
from openmaas.store.database import Database
from openmaas.webhooks.deliverer import Deliverer

log = logging.getLogger(__name__)


def engine_counts(layout: Layout, request_ids: list[str] | None = None) -> dict[str, Usage]:
    """What our engines counted for these requests, or for all."""
    return meter.usages(meter.find(layout.meters, request_ids))


def deployment_counts(layout: Layout, asked: dict[str, str]) -> dict[str, Usage]:
    """The same for requests with their deployments: one that is not ours has no meter and costs no reading."""
    found: dict[str, Usage] = {}
    for deployment_id in set(asked.values()):
        here = [request_id for request_id, one in asked.items() if one == deployment_id]
        found |= meter.usages(meter.find(layout.meter(deployment_id), here))
    return found


def build(layout: Layout, database: Database, clock: Clock) -> Poster:
    """A poster for this installation."""

    def also(tx: sa.Connection, fresh: list[Closed]) -> None:
        mark_used(tx, {record.opened.key_id: record.opened.opened_ms for record in fresh})

    return Poster(
        database,
        layout.journals,
        layout.home,
        clock,
        counts=lambda asked: deployment_counts(layout, asked),
        also=also,
        forget_counts=lambda before_ms: meter.forget(layout.meters, before_ms),
    )


def chores(database: Database, clock: Clock, responses_days: int) -> None:
    """What has its day: subscriptions that renew, packs that end, lowered budgets, answers kept long enough."""
    while database.call(forget, clock.wall_ms(), all_of_them=responses_days == 0) == RESPONSES_FORGOTTEN_MAX:
        pass  # the next ones
    ended = database.call(end_packs, clock)
    database.call(take_cuts, clock)
    renewed = renew_due(database, clock)
    if renewed or ended:
        log.info("%d subscriptions renewed, %d resource packs ended", renewed, ended)


def renew_due(database: Database, clock: Clock) -> int:
    """Renew what is due, each in a transaction of its own: one that meets the leases of busy relays again and again, or
    that the database cannot take, stops nobody else. Returns how many that were."""
    renewed, after = 0, ""
    while found := database.look(renewing, clock, after=after, limit=PAGE_SIZE_MAX):
        for subscription_id in found:
            try:
                renewed += database.call(renew, clock, subscription_id)
            except StoreFailed as error:
                log.warning("the subscription %s is renewed later: %s", subscription_id, error)
        after = found[-1]
    return renewed


async def _run(settings: Settings) -> None:
    layout = Layout(settings.data, settings.database_url)
    database, clock = Database(layout.database), Clock()
    poster = build(layout, database, clock)
    stop = asyncio.ensure_future(told_to_stop())
    master = MasterKeys(layout.master_keys)
    deliverer = Deliverer(database, clock, master.open, private=settings.webhooks_private)
    delivering = asyncio.ensure_future(deliverer.run())
    say_ready()
    wait_s, chores_s, invoices_s = POST_INTERVAL_S, 0.0, 0.0 if settings.invoices_automatic else math.inf
    while not (stop.done() or delivering.done()):
        try:
            posted = await asyncio.to_thread(poster.step)
            if clock.mono_s() >= chores_s:
                await asyncio.to_thread(chores, database, clock, settings.responses_days)
                chores_s = clock.mono_s() + CHORES_INTERVAL_S
            if clock.mono_s() >= invoices_s:
                more = await asyncio.to_thread(issue_due, database, clock, issuer_of(settings))
                invoices_s = clock.mono_s() + (CHORES_INTERVAL_S if more else INVOICE_INTERVAL_S)
        except StoreFailed:
            posted = 0  # the database does not answer: the journals keep everything until it does
        if posted:
            wait_s = POST_INTERVAL_S
        else:
            await asyncio.wait([stop, delivering], timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
            wait_s = min(wait_s * 2, POST_INTERVAL_S_MAX)
    delivering.cancel()
    await asyncio.to_thread(poster.finish)
    await deliverer.drained()
    database.close()
    if delivering.done() and not delivering.cancelled():
        delivering.result()  # it never ends of itself: the supervisor hears why, and starts this program again


def main() -> None:
    """Run as the supervisor's child."""
    follow_orders("poster", lambda orders: asyncio.run(_run(orders.settings)))


if __name__ == "__main__":
    main()
