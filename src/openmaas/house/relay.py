"""The relay program, put together by hand in the order in which its parts need each other."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import ssl
from pathlib import Path

import uvloop

from openmaas.catalog.face import Offers, offers
from openmaas.core.clock import Clock
from openmaas.dialects.entrances import Entrances
from openmaas.house.deployments import replicas
from openmaas.house.layout import Layout
from openmaas.house.orders import Orders, follow_orders, say_ready, told_to_stop
from openmaas.house.settings import Settings
from openmaas.identity.face import Keys
from openmaas.identity.seal import MasterKeys
from openmaas.identity.signet import Signet
from openmaas.ledger.prices import price_book
from openmaas.ledger.spending.funds import Funds
from openmaas.ledger.spending.leasing import open_journal
from openmaas.ledger.spending.purse import Purse
from openmaas.ledger.writing.journal import Journal
from openmaas.limits.book import rules
from openmaas.limits.borrower import Borrower
from openmaas.limits.borrowing import Lender
from openmaas.limits.counters import Company
from openmaas.limits.face import Limits
from openmaas.limits.seats import Seats
from openmaas.limits.tables import TableLender
from openmaas.relay.door.keeper import Doorkeeper
from openmaas.relay.front import Front
from openmaas.relay.handover import Handover
from openmaas.relay.journey import Journey
from openmaas.relay.keeping import Keeping
from openmaas.relay.late import Late
from openmaas.relay.lines.other import Elsewhere
from openmaas.relay.lines.owner import Owner
from openmaas.relay.lines.replicas import Replicas
from openmaas.relay.metrics import Metrics
from openmaas.relay.peers import Peers
from openmaas.relay.repeat import Repeats
from openmaas.relay.running import Running
from openmaas.relay.upstream.place import Place
from openmaas.relay.upstream.pool import Pool
from openmaas.responses.face import Archive
from openmaas.store.changes import Follower, Snapshot
from openmaas.store.database import Database

log = logging.getLogger(__name__)


class Relay:
    """One life of a relay, from its journal's first line to its last lease given back."""

    def __init__(self, settings: Settings, clock: Clock, number: int) -> None:
        layout = Layout(settings.data, settings.database_url)
        self.settings = settings
        self.clock = clock
        self.home = layout.home
        self.inside = Path(layout.socket(f"inside{number}"))
        self.life = clock.new_id("rly").lower()
        self.database = Database(layout.database)
        self.follower = Follower(self.database, clock)
        master = MasterKeys(layout.master_keys)
        keys = Keys(self.database, self.follower, clock, master)
        self.catalog = Snapshot(self.database, self.follower, "catalog", offers)
        self.prices = Snapshot(self.database, self.follower, "prices", price_book)
        self.rules = Snapshot(self.database, self.follower, "limits", rules)
        company = Company(settings.relays)
        lender = _lender(settings, self.database, clock)
        self.borrower = Borrower(lender, company, clock, self.life) if lender else None
        self.limits = Limits(self.rules, Seats(settings.seats_per_organisation), clock, company, self.borrower)
        self.purse = Purse(self.database, self.follower, clock, self.life)
        self.journal = Journal(layout.journals / self.life, durable_on_disk=settings.journal_durability == "disk")
        self.pool = Pool(clock)
        self.replicas = self.queues = Replicas(self.pool, clock)
        self.owner: Owner | None = None
        self.owners: list[Elsewhere] = []
        if settings.relays > 1:
            sockets = [layout.socket(f"queue{each}") for each in range(settings.relays)]
            self.owner = Owner(sockets, number, self.queues.own, clock)
            self.owners = [Elsewhere(part, self.owner, clock) for part in range(settings.relays)]
            self.replicas = Replicas(self.pool, clock, self.owners)
        self.running = Running(self.journal)
        self.late = Late(self.database)
        self.repeats = Repeats(self.database, clock, self.life, self.late)
        archive = Archive(self.database, clock, settings.responses_days)
        self.doorkeeper: Doorkeeper
        metrics = Metrics(
            {
                "running": lambda: float(len(self.running)),
                "waiting": self._waiting,
                "connections": lambda: float(len(self.doorkeeper)),
            }
        )
        self.peers = Peers(
            [layout.socket(f"relay{each}") for each in range(settings.relays)], number, metrics, layout.socket("jobs")
        )
        journey = Journey(
            clock=clock,
            entrances=Entrances(Signet(master), clock),
            keys=keys,
            catalog=self.catalog,
            prices=self.prices,
            funds=Funds(self.database, self.follower, clock, settings.currency),
            limits=self.limits,
            purse=self.purse,
            journal=self.journal,
            replicas=self.replicas,
            pool=self.pool,
            repeats=self.repeats,
            keeping=Keeping(archive, self.late),
            handover=Handover(self.pool, Place(path=layout.socket("control"))),
            running=self.running,
            metrics=metrics,
        )
        self.front = Front(journey, clock, self.peers, cors_origins=frozenset(settings.cors_origins))
        self.doorkeeper = Doorkeeper(self.front, clock)

        def renew(found: Offers) -> None:
            for each in {self.replicas, self.queues}:
                each.renew(replicas(found, layout, master, settings.region))

        self.catalog.on_change(renew)

    async def run(self, listener: socket.socket) -> None:
        """Serve ``listener`` until told to stop, then drain."""
        await self.follower.start()
        await self.database.run(open_journal, self.life, self.home, self.clock.wall_ms())
        await self.catalog.load()
        await self.prices.load()
        await self.rules.load()
        if self.borrower is not None and self.borrower.wanted:
            await self.borrower.step()
        loops = (
            self.follower.run(),
            self.catalog.run(),
            self.prices.run(),
            self.rules.run(),
            *([self.borrower.run()] if self.borrower else []),
            *[each.probe() for each in {self.replicas, self.queues}],
            *[each.run() for each in self.owners],
            self.purse.run(),
            self.running.note(),
            self.late.run(),
            self.doorkeeper.sweep(),
            self.pool.sweep(),
        )
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(loop) for loop in loops]
            told = await self.peers.listen()
            owning = await self.owner.listen() if self.owner is not None else None
            server = await asyncio.get_running_loop().create_server(
                self.doorkeeper.connection, sock=listener, ssl=_tls(self.settings)
            )
            inner = await self._listen_inside()
            say_ready()
            await told_to_stop()
            log.info("draining %d requests", len(self.running))
            self.front.draining = True  # who comes now is told to come back: the house keeps the socket open
            await self.doorkeeper.drain(self.settings.drain_s)
            server.close()
            inner.close()
            told.close()
            if owning is not None:
                owning.close()
            for task in tasks:
                task.cancel()
        await self.late.write_late()
        await self.purse.close()
        if self.borrower is not None:
            await self.borrower.close()
        self.pool.close()
        self.journal.end()
        self.database.close()

    async def _listen_inside(self) -> asyncio.Server:
        """Jobs of this house ask here: the same door, without a port and without TLS."""
        self.inside.unlink(missing_ok=True)  # of a relay of this number that was killed
        return await asyncio.get_running_loop().create_unix_server(self.doorkeeper.connection, str(self.inside))

    def _waiting(self) -> float:
        return float(sum(line.waiting for line in self.queues.lines.values()))


def _lender(settings: Settings, database: Database, clock: Clock) -> Lender | None:
    """Who lends this relay its part of the limits; None when it is the only relay there is."""
    if settings.valkey_url:
        from openmaas.limits.valkey import ValkeyLender  # noqa: PLC0415 - its client is an optional extra

        return ValkeyLender(settings.valkey_url, clock)
    return TableLender(database, clock) if settings.relays > 1 or settings.database_url else None


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if not settings.tls_certificate:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    return context


def _run(orders: Orders) -> None:
    relay = Relay(orders.settings, Clock(), orders.number)
    # What a request makes is freed by counting; the cycle collector need not look at it every 700 objects.
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    uvloop.run(relay.run(socket.socket(fileno=orders.listener)))


def main() -> None:
    """Run as the supervisor's child."""
    follow_orders("relay", _run)


if __name__ == "__main__":
    main()
