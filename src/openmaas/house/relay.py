"""The relay program, put together by hand in the order in which its parts need each other."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import ssl

import uvloop

from openmaas.catalog.face import Offers, offers
from openmaas.core.clock import Clock
from openmaas.house.deployments import replicas
from openmaas.house.layout import Layout
from openmaas.house.orders import Orders, log_to_stderr, read_orders, say_ready, told_to_stop
from openmaas.house.settings import Settings
from openmaas.identity.face import Keys
from openmaas.identity.seal import MasterKeys
from openmaas.ledger.book import open_journal
from openmaas.ledger.journal import Journal
from openmaas.ledger.prices import price_book
from openmaas.ledger.purse import Purse
from openmaas.limits.seats import Seats
from openmaas.relay.door import Doorkeeper
from openmaas.relay.front import Front
from openmaas.relay.journey import Journey
from openmaas.relay.metrics import Metrics
from openmaas.relay.repeat import Repeats
from openmaas.relay.replicas import Replicas
from openmaas.relay.running import Running
from openmaas.relay.upstream import Place, Pool
from openmaas.store.changes import Follower, Snapshot
from openmaas.store.database import Database

log = logging.getLogger(__name__)


class Relay:
    """One life of a relay, from its journal's first line to its last lease given back."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        layout = Layout(settings.data)
        self.settings = settings
        self.clock = clock
        self.life = clock.new_id("rly").lower()
        self.database = Database(layout.database)
        self.follower = Follower(self.database, clock)
        keys = Keys(self.database, self.follower, clock)
        self.catalog = Snapshot(self.database, self.follower, "catalog", offers)
        self.prices = Snapshot(self.database, self.follower, "prices", price_book)
        self.purse = Purse(self.database, self.follower, clock, self.life)
        self.journal = Journal(layout.journals / self.life, durable_on_disk=settings.journal_durability == "disk")
        self.pool = Pool(clock)
        self.replicas = Replicas(self.pool)
        self.running = Running(self.journal)
        self.doorkeeper: Doorkeeper
        gauges = {
            "running": ("Requests at an engine.", lambda: float(len(self.running))),
            "waiting": ("Requests waiting for an engine.", self._waiting),
            "connections": ("Open client connections.", lambda: float(len(self.doorkeeper))),
        }
        journey = Journey(
            clock=clock,
            keys=keys,
            catalog=self.catalog,
            prices=self.prices,
            seats=Seats(settings.seats_per_organisation),
            purse=self.purse,
            journal=self.journal,
            replicas=self.replicas,
            pool=self.pool,
            repeats=Repeats(self.database, clock, self.life),
            running=self.running,
            metrics=Metrics(gauges),
        )
        control = Place(path=layout.socket("control"))
        self.front = Front(journey, control, clock, cors_origins=frozenset(settings.cors_origins))
        self.doorkeeper = Doorkeeper(self.front, clock)
        master = MasterKeys(layout.master_keys)

        def renew(found: Offers) -> None:
            self.replicas.renew(replicas(found, layout, master))

        self.catalog.on_change(renew)

    async def run(self, listener: socket.socket) -> None:
        """Serve ``listener`` until told to stop, then drain."""
        await self.follower.start()
        await self.database.run(open_journal, self.life, self.clock.wall_ms())
        await self.catalog.load()
        await self.prices.load()
        loops = (
            self.follower.run(),
            self.catalog.run(),
            self.prices.run(),
            self.replicas.probe(),
            self.purse.run(),
            self.running.note(),
            self.doorkeeper.sweep(),
            self.pool.sweep(),
        )
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(loop) for loop in loops]
            server = await asyncio.get_running_loop().create_server(
                self.doorkeeper.connection, sock=listener, ssl=_tls(self.settings)
            )
            say_ready()
            await told_to_stop()
            log.info("draining %d requests", len(self.running))
            self.front.draining = True
            server.close()
            await self.doorkeeper.drain(self.settings.drain_s)
            for task in tasks:
                task.cancel()
        await self.purse.close()
        self.pool.close()
        self.journal.end()
        self.database.close()

    def _waiting(self) -> float:
        return float(sum(line.waiting for line in self.replicas.lines.values()))


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if not settings.tls_certificate:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    return context


def main() -> None:
    """Run as the supervisor's child."""
    orders: Orders = read_orders()
    log_to_stderr("relay", orders.settings.log_level)
    relay = Relay(orders.settings, Clock())
    # What a request makes is freed by counting; the cycle collector need not look at it every 700 objects.
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    uvloop.run(relay.run(socket.socket(fileno=orders.listener)))


if __name__ == "__main__":
    main()
