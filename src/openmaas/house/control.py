"""The control program: the management API on a private socket, behind the relay."""

from __future__ import annotations

import asyncio

import uvicorn

from openmaas.control.app import build_app
from openmaas.control.rooms import Rooms
from openmaas.core.clock import Clock
from openmaas.house.layout import Layout
from openmaas.house.orders import log_to_stderr, read_orders, say_ready, told_to_stop
from openmaas.house.settings import Settings
from openmaas.identity.face import Keys
from openmaas.identity.seal import MasterKeys
from openmaas.store.changes import Follower
from openmaas.store.database import Database


async def _run(settings: Settings) -> None:
    layout, clock = Layout(settings.data), Clock()
    database = Database(layout.database)
    follower = Follower(database, clock)
    rooms = Rooms(
        database=database,
        keys=Keys(database, follower, clock),
        master=MasterKeys(layout.master_keys),
        clock=clock,
        journals=layout.journals,
        currency=settings.currency,
    )
    await follower.start()
    config = uvicorn.Config(
        build_app(rooms), uds=layout.socket("control"), log_config=None, access_log=False, lifespan="off"
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
    orders = read_orders()
    log_to_stderr("control", orders.settings.log_level)
    asyncio.run(_run(orders.settings))


if __name__ == "__main__":
    main()
