"""The replicas of each model, as this relay reaches them: requests come in, and get a slot and a connection.

Who goes next, and where, is for ``scheduling`` to say; here are the clock, the futures and the sockets. A replica that
cannot be connected to is left, and the request goes to another: nothing was sent, so nothing can be billed twice. Local
engines are asked for their health five times a second, others while they are out.
"""

from __future__ import annotations

import asyncio
from operator import attrgetter

from openmaas.core.bounds import COUNT_INTERVAL_S, PROBE_INTERVAL_S, QUEUE_TIMEOUT_S
from openmaas.core.clock import Clock
from openmaas.core.errors import ClientLeft, NoReplica, OpenmaasError
from openmaas.dialects.dialect import Ask
from openmaas.identity.face import Caller
from openmaas.relay.door.message import Answer
from openmaas.relay.replica import Grant, Replica
from openmaas.relay.upstream.pool import Pool
from openmaas.scheduling.line import Line
from openmaas.scheduling.prefix import chain_of
from openmaas.scheduling.turn import BATCH, USUAL, Server, Turn


class ModelLine(Line):
    """The line of one model, in real time."""

    def __init__(self, model: str, pool: Pool, clock: Clock, routing: str, queueing: str) -> None:
        super().__init__(model, routing, queueing)
        self.replicas: list[Replica] = []
        self._pool, self._now_s = pool, clock.mono_s
        self._grants: set[Grant] = set()
        self._counted_s = 0.0

    def turn(self, caller: Caller, ask: Ask, weight: int, prompt_tokens: int, output_tokens_max: int) -> Turn:
        """A request as the line sees it; its answer is expected to be as long as others were."""
        now_s = self._now_s()
        return Turn(
            caller.organisation_id,
            prompt_tokens,
            min(output_tokens_max, int(self.output_tokens_usual)),
            told=_nobody,
            band=BATCH if caller.price_class == "batch" else USUAL,
            weight=weight,
            needs=ask.needs,
            arrived_s=now_s,
            until_s=now_s + QUEUE_TIMEOUT_S,
        )

    async def take(self, turn: Turn, ask: Ask, answer: Answer) -> Grant:
        """A slot for ``turn``, which is for ``ask``; leave it with ``with``. Raises ``NoReplica`` and
        ``QueueFull``, ``ClientLeft`` when nobody waits for ``answer`` any more, and what keeps the last replica from
        being reached."""
        while True:
            if not self.replicas:
                raise NoReplica(f"{self.model} has no deployment", retry_after_s=5)
            if len(self.replicas) > 1:
                turn.chain = chain_of(ask.opening())
            self.enter(turn, self._now_s())
            if turn.server is None and turn.error is None:
                turn.chain = turn.chain or chain_of(ask.opening())
                await self._told(turn, answer)
            if turn.error is not None:
                raise turn.error
            replica = turn.server
            assert isinstance(replica, Replica)
            try:
                link = await self._pool.link(replica.place)
            except OpenmaasError as error:
                replica.failed(self._now_s(), unreachable=True)
                self.back(turn, self._now_s())
                if not any(each.ready for each in self.replicas):
                    raise error from None
            else:
                grant = Grant(turn, replica, link, self._over)
                self._grants.add(grant)
                return grant

    def nearest(self) -> Replica:
        """The least busy replica that answers, for a question that takes no slot. Raises ``NoReplica``."""
        ready = [replica for replica in self.replicas if replica.ready]
        if not ready:
            raise NoReplica(f"{self.model} has no replica that is ready", retry_after_s=5)
        return min(ready, key=attrgetter("running"))

    def renew(self, replicas: list[Replica]) -> None:
        """These are there from now on; what runs on others runs to its end."""
        self.replicas = replicas
        self.servers: list[Server] = [*replicas]
        self.serve(self._now_s())

    def enter(self, turn: Turn, now_s: float) -> None:
        """As ``Line``, after what was said meanwhile is counted: how busy each replica is depends on it."""
        if len(self.replicas) > 1 and now_s - self._counted_s > COUNT_INTERVAL_S:
            self._count(now_s)
        super().enter(turn, now_s)

    def serve(self, now_s: float) -> None:
        """As ``Line``, after what was said meanwhile is counted: whose turn it is depends on it."""
        if len(self.queue):
            self._count(now_s)
            super().serve(now_s)

    def _count(self, now_s: float) -> None:
        self._counted_s = now_s
        for grant in self._grants:
            said = grant.progress() if grant.progress is not None else 0
            if said > grant.turn.said:
                self.read(grant.turn)
                self.wrote(grant.turn, said - grant.turn.said)

    def _over(self, grant: Grant) -> None:
        self._grants.discard(grant)
        unread, said = grant.usage
        self.end(grant.turn, said, self._now_s(), unread)

    async def _told(self, turn: Turn, answer: Answer) -> None:
        """Wait until it is served or refused."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def told(_turn: Turn) -> None:
            if not waiter.done():
                waiter.set_result(None)

        def left() -> None:
            if turn.server is None:  # else it has a slot, and gives it back
                self.leave(turn)
                turn.error = ClientLeft()
                told(turn)

        turn.told = told
        if answer.gone:
            left()
        answer.on_gone = left
        try:
            await waiter
        finally:
            answer.on_gone = None


def _nobody(_turn: Turn) -> None:
    """It was served at once: nobody waits to be told."""


class Replicas:
    """All lines, renewed with the catalogue."""

    def __init__(self, pool: Pool, clock: Clock, routing: str = "affinity", queueing: str = "fair") -> None:
        self.lines: dict[str, ModelLine] = {}
        self._pool, self._clock = pool, clock
        self._routing, self._queueing = routing, queueing

    def line(self, model: str) -> ModelLine:
        """The line of a model; an empty one when it has no deployment."""
        found = self.lines.get(model)
        if found is None:
            found = ModelLine(model, self._pool, self._clock, self._routing, self._queueing)
            self.lines[model] = found
        return found

    def renew(self, wanted: dict[str, list[Replica]]) -> None:
        """Take the new list of replicas; one that is known keeps its state and its requests."""
        known = {(r.deployment_id, r.served_name): r for line in self.lines.values() for r in line.replicas}
        for model in {*wanted, *self.lines}:
            found = [known.get((r.deployment_id, r.served_name), r) for r in wanted.get(model, [])]
            self.line(model).renew(found)

    async def probe(self) -> None:
        """Ask replicas whether they live, and refuse who has waited too long, until cancelled. One that is slow to
        answer is waited for alone."""
        async with asyncio.TaskGroup() as group:
            while True:
                for line in self.lines.values():
                    line.expire(self._clock.mono_s())
                    for replica in line.replicas:
                        replica.warmth = replica.health.warmth(self._clock.mono_s())
                        if not replica.asked and (replica.local or not replica.ready):
                            replica.asked = True
                            group.create_task(self._probe(line, replica))
                await asyncio.sleep(PROBE_INTERVAL_S)

    async def _probe(self, line: ModelLine, replica: Replica) -> None:
        """An endpoint elsewhere has no page for its health that all know; that it answers at all is enough."""
        try:
            target = b"/health" if replica.local else replica.place.prefix + b"/models"
            status, _, _ = await self._pool.get(replica.place, target)
        except OpenmaasError:
            status = 0
        finally:
            replica.asked = False
        well = status == 200 if replica.local else 0 < status < 500
        if replica.lives(self._clock.mono_s(), well=well):
            line.serve(self._clock.mono_s())
