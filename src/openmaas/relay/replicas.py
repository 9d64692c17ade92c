"""The engines of each model, and who may use one next.

A replica takes as many requests as it has slots. When all are busy, requests wait in one queue per model that goes
round the organisations, so that one with a thousand waiting does not stand before one with a single request.
Health is asked of local engines five times a second; a replica that fails a request is out until it answers again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from operator import attrgetter
from types import TracebackType

from openmaas.core.bounds import PROBE_INTERVAL_S, QUEUE_LENGTH_MAX, QUEUE_TIMEOUT_S
from openmaas.core.errors import ClientLeft, NoReplica, OpenmaasError, Overloaded
from openmaas.dialects.dialect import PLAIN, Manner
from openmaas.relay.door.message import Answer
from openmaas.relay.upstream.place import Place
from openmaas.relay.upstream.pool import Pool


class Replica:
    """One engine: where it is, how many requests it has, whether it answers."""

    __slots__ = ("_line", "asked", "busy", "deployment_id", "local", "manner", "place", "ready", "served_name", "slots")

    def __init__(
        self,
        deployment_id: str,
        served_name: str,
        place: Place,
        slots: int,
        *,
        local: bool,
        manner: Manner = PLAIN,
    ) -> None:
        self.deployment_id = deployment_id
        self.served_name = served_name
        self.place = place
        self.slots = slots
        self.manner = manner
        self.local = local
        self.busy = 0
        self.asked = False  # for its health, and has not answered yet
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
        if self._line is not None and self._line.waiting:
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

    async def take(self, organisation_id: str, answer: Answer) -> Replica:
        """A slot of the least busy replica; leave it with ``with``. Raises ``NoReplica`` and ``Overloaded``, and
        ``ClientLeft`` when nobody waits for ``answer`` any more."""
        if not self.waiting:
            best = self._best()
            if best is not None:
                best.busy += 1
                return best
        if not self.replicas:
            raise NoReplica(f"{self.model} has no deployment", retry_after_s=5)
        if (ahead := len(self._queues.get(organisation_id, ()))) >= QUEUE_LENGTH_MAX:
            raise Overloaded(f"{ahead} requests of this organisation wait for {self.model}", retry_after_s=5)
        return await self._wait(organisation_id, answer)

    def nearest(self) -> Replica:
        """The least busy replica that answers, for a question that takes no slot. Raises ``NoReplica``."""
        ready = [replica for replica in self.replicas if replica.ready]
        if not ready:
            raise NoReplica(f"{self.model} has no replica that is ready", retry_after_s=5)
        return min(ready, key=attrgetter("busy"))

    def serve(self) -> None:
        """Give free slots to those who wait, one organisation after the other."""
        while self._queues and (best := self._best()) is not None:
            organisation_id, queue = next(iter(self._queues.items()))
            waiter = queue.popleft()
            del self._queues[organisation_id]
            if queue:
                self._queues[organisation_id] = queue  # to the end of the round
            if not waiter.done():  # or its client has just left
                best.busy += 1
                waiter.set_result(best)

    async def _wait(self, organisation_id: str, answer: Answer) -> Replica:
        if answer.gone:
            raise ClientLeft
        waiter: asyncio.Future[Replica] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(organisation_id, deque()).append(waiter)
        self.waiting += 1
        self.serve()  # a slot may be free whose waiter has left
        answer.on_gone = waiter.cancel
        try:
            await asyncio.wait([waiter], timeout=QUEUE_TIMEOUT_S)
        finally:
            self.waiting -= 1
            answer.on_gone = None
        if waiter.cancelled():
            self._forget(organisation_id, waiter)
            raise ClientLeft
        if not waiter.done():
            self._forget(organisation_id, waiter)
            ready = any(replica.ready for replica in self.replicas)
            refusal = Overloaded if ready else NoReplica
            raise refusal(f"{self.model} had no free slot in {QUEUE_TIMEOUT_S:.0f} s", retry_after_s=5)
        return waiter.result()

    def _forget(self, organisation_id: str, waiter: asyncio.Future[Replica]) -> None:
        """It waits no longer; ``serve`` may have passed it over already."""
        queue = self._queues.get(organisation_id, ())
        if waiter in queue:
            self._queues[organisation_id].remove(waiter)
            if not queue:
                del self._queues[organisation_id]

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
        """Ask local engines for their health until cancelled; others come back after one interval. One that is slow to
        answer is waited for alone."""
        async with asyncio.TaskGroup() as group:
            while True:
                for replica in [each for line in self.lines.values() for each in line.replicas if not each.asked]:
                    if replica.local:
                        replica.asked = True
                        group.create_task(self._probe(replica))
                    else:
                        replica.tell(ready=True)
                await asyncio.sleep(PROBE_INTERVAL_S)

    async def _probe(self, replica: Replica) -> None:
        try:
            status, _, _ = await self._pool.get(replica.place, b"/health")
        except OpenmaasError:
            status = 0
        finally:
            replica.asked = False
        replica.tell(ready=status == 200)
