"""The engines of each model, and who may use one next.

A replica takes as many requests as it has slots. When all are busy, requests wait in one queue per model that goes
round the organisations, so that one with a thousand waiting does not stand before one with a single request.
Health is asked of local engines five times a second; a replica that fails a request is out until it answers again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from types import TracebackType

from openmaas.core.bounds import PROBE_INTERVAL_S, QUEUE_LENGTH_MAX, QUEUE_TIMEOUT_S
from openmaas.core.errors import NoReplica, OpenmaasError, Overloaded
from openmaas.relay.upstream import Place, Pool


class Replica:
    """One engine: where it is, how many requests it has, whether it answers."""

    __slots__ = ("_line", "busy", "deployment_id", "local", "place", "ready", "served_name", "slots")

    def __init__(self, deployment_id: str, served_name: str, place: Place, slots: int, *, local: bool) -> None:
        self.deployment_id = deployment_id
        self.served_name = served_name
        self.place = place
        self.slots = slots
        self.local = local
        self.busy = 0
        self.ready = not local  # an endpoint elsewhere is taken to be up until a request fails
        self._line: Line | None = None

    def join(self, line: Line) -> None:
        """Belong to the line of a model."""
        self._line = line

    def __enter__(self) -> Replica:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.busy -= 1
        if self._line is not None:
            self._line.serve()

    def tell(self, *, ready: bool) -> None:
        """Note that it answers, or that it does not."""
        if ready and not self.ready and self._line is not None:
            self.ready = True
            self._line.serve()
        self.ready = ready


class Line:
    """The replicas of one model and the requests that wait for one."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.replicas: list[Replica] = []
        self.waiting = 0
        self._queues: OrderedDict[str, deque[asyncio.Future[Replica]]] = OrderedDict()

    async def take(self, organisation_id: str) -> Replica:
        """A seat at the least busy replica; leave it with ``with``. Raises ``NoReplica`` and ``Overloaded``."""
        if not self.waiting:
            best = self._best()
            if best is not None:
                best.busy += 1
                return best
        if not self.replicas:
            raise NoReplica(f"{self.model} has no deployment", retry_after_s=5)
        if self.waiting >= QUEUE_LENGTH_MAX:
            raise Overloaded(f"{self.waiting} requests wait for {self.model}", retry_after_s=5)
        return await self._wait(organisation_id)

    def serve(self) -> None:
        """Give free slots to those who wait, one organisation after the other."""
        while self._queues and (best := self._best()) is not None:
            organisation_id, queue = next(iter(self._queues.items()))
            waiter = queue.popleft()
            del self._queues[organisation_id]
            if queue:
                self._queues[organisation_id] = queue  # to the end of the round
            if not waiter.done():
                best.busy += 1
                waiter.set_result(best)

    async def _wait(self, organisation_id: str) -> Replica:
        waiter: asyncio.Future[Replica] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(organisation_id, deque()).append(waiter)
        self.waiting += 1
        try:
            await asyncio.wait([waiter], timeout=QUEUE_TIMEOUT_S)
        finally:
            self.waiting -= 1
        if not waiter.done():
            waiter.cancel()
            ready = any(replica.ready for replica in self.replicas)
            refusal = Overloaded if ready else NoReplica
            raise refusal(f"{self.model} had no free slot in {QUEUE_TIMEOUT_S:.0f} s", retry_after_s=5)
        return waiter.result()

    def _best(self) -> Replica | None:
        best: Replica | None = None
        for replica in self.replicas:
            if replica.ready and replica.busy < replica.slots and (best is None or replica.busy < best.busy):
                best = replica
        return best


class Replicas:
    """All lines, renewed with the catalogue."""

    def __init__(self, pool: Pool) -> None:
        self.lines: dict[str, Line] = {}
        self._pool = pool

    def line(self, model: str) -> Line:
        """The line of a model; an empty one when it has no deployment."""
        found = self.lines.get(model)
        if found is None:
            found = self.lines[model] = Line(model)
        return found

    def renew(self, wanted: dict[str, list[Replica]]) -> None:
        """Take the new list of replicas; one that is known keeps its state and its requests."""
        known = {(r.deployment_id, r.served_name): r for line in self.lines.values() for r in line.replicas}
        for model in {*wanted, *self.lines}:
            line = self.line(model)
            line.replicas = [known.get((r.deployment_id, r.served_name), r) for r in wanted.get(model, [])]
            for replica in line.replicas:
                replica.join(line)
            line.serve()

    async def probe(self) -> None:
        """Ask local engines for their health until cancelled; others come back after one interval."""
        while True:
            found = [replica for line in self.lines.values() for replica in line.replicas]
            await asyncio.gather(*[self._probe(replica) for replica in found])
            await asyncio.sleep(PROBE_INTERVAL_S)

    async def _probe(self, replica: Replica) -> None:
        if not replica.local:
            replica.tell(ready=True)
            return
        try:
            status, _, _ = await self._pool.fetch(replica.place, "GET", "/health", b"", b"")
        except OpenmaasError:
            status = 0
        replica.tell(ready=status == 200)
