"""The control program: the management API on a private socket, behind the relay."""

from __future__ import annotations

import asyncio
import logging

import uvicorn

from openmaas.control.app import build_app
from openmaas.control.rooms import Rooms
from openmaas.core.clock import Clock
from openmaas.house.files import open_files
from openmaas.house.invoicing import issuer_of
from openmaas.house.layout import Layout
from openmaas.house.orders import follow_orders, say_ready, told_to_stop
from openmaas.house.settings import Settings
from openmaas.identity.face import Keys
from openmaas.identity.seal import MasterKeys
from openmaas.jobs.training import can_train
from openmaas.knowledge.face import Library
from openmaas.store.changes import Follower
from openmaas.store.database import Database
from openmaas.work.asking import Relays


def build_rooms(settings: Settings, layout: Layout, clock: Clock, database: Database, follower: Follower) -> Rooms:
    """What the API works on. ``follower`` tells which keys have changed; it is the caller's to run."""
    master, files = MasterKeys(layout.master_keys), open_files(settings, layout, clock, database)
    relays = Relays(layout.insides(settings.relays))
    return Rooms(
        database=database,
        keys=Keys(database, follower, clock, master),
        master=master,
        clock=clock,
        files=files,
        relays=relays,
        library=Library(database, files, relays, master, clock),
        journals=layout.journals,
        weights=layout.weights,
        tuned=layout.tuned,
        meters=layout.meters,
        issuer=issuer_of(settings),
        currency=settings.currency,
        stripe_webhook_secret=settings.stripe_webhook_secret,
        webhooks_private=settings.webhooks_private,
        responses_days=settings.responses_days,
        trains=bool(settings.tuning_concurrency) and can_train(),
    )


async def _run(settings: Settings) -> None:
    layout, clock = Layout(settings.data, settings.database_url), Clock()
    database = Database(layout.database)
    follower = Follower(database, clock)
    rooms = build_rooms(settings, layout, clock, database, follower)
    await follower.start()
    config = uvicorn.Config(
        build_app(rooms),
        uds=layout.socket("control"),
        log_config=None,
        log_level=max(logging.WARNING, logging.root.level),  # that it listens, and how to stop it, is the house's word
        access_log=False,
        lifespan="off",
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]  # the house tells us when to stop
    serving = asyncio.ensure_future(server.serve())
    following = asyncio.ensure_future(follower.run())
    while not server.started:
        await asyncio.sleep(0.01)
    say_ready()
    await told_to_stop()
    server.should_exit = True
    await serving
    following.cancel()
    database.close()


def main() -> None:
    """Run as the supervisor's child."""
    follow_orders("control", lambda orders: asyncio.run(_run(orders.settings)))


if __name__ == "__main__":
    main()
