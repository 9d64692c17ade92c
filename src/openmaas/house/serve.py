"""``openmaas serve``: the house process, which supervises relays, control plane, poster, jobs and engines."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from functools import partial

import msgspec

from openmaas.catalog.deployments import Deployment
from openmaas.catalog.face import Offers, offers
from openmaas.core.bounds import BACKLOG, DRAIN_GRACE_S, HEAD_START_S
from openmaas.core.clock import Clock
from openmaas.core.errors import SettingInvalid
from openmaas.engines.spec import ENVIRONMENT
from openmaas.house.deployments import engine_spec
from openmaas.house.layout import Layout
from openmaas.house.orders import Orders
from openmaas.house.settings import Settings
from openmaas.house.supervisor import Child, Family
from openmaas.store.changes import Follower, Snapshot
from openmaas.store.database import Database
from openmaas.store.files import lock

#: A relay keeps the memory of long prompts for the next ones: given back to the kernel, every page of a 300 KB body
#: costs a fault, twice the time that the request takes otherwise.
KEPT_MEMORY = {"GLIBC_TUNABLES": f"glibc.malloc.mmap_threshold={32 << 20}:glibc.malloc.trim_threshold={64 << 20}"}
Say = Callable[[str], None]


def bind(settings: Settings) -> socket.socket:
    """The public socket, kept by the house so that a relay can restart without a refused connection."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise SettingInvalid(
            f"{settings.host}:{settings.port} cannot be listened on ({error.strerror}); "
            "choose another with --port, or 0 for a free one",
            field="port",
        ) from None
    listener.listen(BACKLOG)
    return listener


def hold_folder(layout: Layout) -> int:
    """The lock on the data folder. Raises ``SettingInvalid`` when another house serves it."""
    held = lock(layout.lock)
    if held is None:
        raise SettingInvalid(f"another openmaas serves {layout.data}; stop it or name another folder", field="data")
    return held


class House:
    """The programs of one installation."""

    def __init__(self, settings: Settings, layout: Layout, listener: socket.socket, say: Say) -> None:
        self.family = Family()
        self._settings = settings
        self._layout = layout
        self._listener = listener
        self._say = say

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve until SIGTERM or SIGINT; call ``ready`` once the first model answers."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        database = Database(self._layout.database)
        follower = Follower(database, Clock())
        await follower.start()
        catalog = Snapshot(database, follower, "catalog", offers)
        renewing = asyncio.Lock()
        pending: set[asyncio.Task[None]] = set()

        def renew(found: Offers) -> None:
            task = asyncio.ensure_future(self._renew(found, renewing))
            pending.add(task)
            task.add_done_callback(pending.discard)

        await catalog.load()
        await self._renew(catalog.value, renewing)  # engines first: they take the longest
        catalog.on_change(renew)
        relays = [self.family.start(self._relay(each)) for each in range(self._settings.relays)]
        following = [asyncio.ensure_future(work) for work in (follower.run(), catalog.run())]
        announcing = asyncio.ensure_future(self._announce(relays, ready))
        await stop.wait()
        self._say("stopping: running requests finish first (press ^C again to leave at once)")
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, os._exit, 130)
        for task in (announcing, *following, *pending):
            task.cancel()
        await self._stop()
        database.close()

    async def _stop(self) -> None:
        """Relays and the worker first, for they still need engines; the poster last, for it posts what they wrote."""
        drain_s = self._settings.drain_s + DRAIN_GRACE_S
        names = list(self.family.children)
        asking = [name for name in names if name.startswith(("relay", "jobs"))]
        await asyncio.gather(*[self.family.stop(name, drain_s) for name in asking])
        await asyncio.gather(
            *[self.family.stop(name, DRAIN_GRACE_S) for name in names if name not in (*asking, "poster")]
        )
        await self.family.stop("poster", drain_s)

    async def _announce(self, relays: list[Child], ready: Callable[[], None]) -> None:
        """Relays and engines answer, so they are started first; control plane and poster follow. Then all are up."""
        up = asyncio.gather(*[relay.ready.wait() for relay in relays])
        await asyncio.wait([up], timeout=HEAD_START_S)
        orders = msgspec.json.encode(Orders(self._settings))
        for name in ("control", "poster", "jobs"):
            self.family.start(Child(name, f"openmaas.house.{name}", orders))
        await asyncio.gather(up, *[child.ready.wait() for child in self.family.children.values()])
        ready()

    def _relay(self, number: int) -> Child:
        descriptor = self._listener.fileno()
        orders = msgspec.json.encode(Orders(self._settings, listener=descriptor, number=number))
        name = f"relay {number}"
        return Child(name, "openmaas.house.relay", orders, descriptors=(descriptor,), environment=KEPT_MEMORY)

    async def _renew(self, found: Offers, renewing: asyncio.Lock) -> None:
        wanted = {
            f"engine {deployment.id}": partial(self._engine, deployment, found)
            for deployment in found.deployments
            if deployment.local and not deployment.over
        }
        async with renewing:
            await self.family.renew(wanted, "engine ", self._settings.drain_s + DRAIN_GRACE_S)

    def _engine(self, deployment: Deployment, found: Offers) -> Child:
        spec = engine_spec(deployment, found.models[deployment.model], self._layout)
        name = f"engine {deployment.id}"
        orders = msgspec.json.encode(spec)
        return Child(name, "openmaas.engines.program", orders, health=spec.socket, environment=ENVIRONMENT)
