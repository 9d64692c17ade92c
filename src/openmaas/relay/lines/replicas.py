"""All lines of a relay, renewed with the catalogue: the replicas of each model, and whether they live.

Local engines are asked for their health five times a second, others while they are out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from openmaas.core.bounds import PROBE_INTERVAL_S
from openmaas.core.clock import Clock
from openmaas.core.errors import OpenmaasError
from openmaas.relay.lines.line import ModelLine
from openmaas.relay.lines.other import Elsewhere, OtherLine
from openmaas.relay.lines.own import OwnLine
from openmaas.relay.lines.owner import part_of
from openmaas.relay.lines.replica import Replica
from openmaas.relay.upstream.pool import Pool


class Replicas:
    """``owners`` are how the owners of all parts are reached; without any, all queues are here."""

    def __init__(self, pool: Pool, clock: Clock, owners: Sequence[Elsewhere] = ()) -> None:
        self.lines: dict[str, ModelLine] = {}
        self._pool, self._clock = pool, clock
        self._owners = owners

    def line(self, model: str) -> ModelLine:
        """The line of a model; an empty one when it has no deployment."""
        found = self.lines.get(model)
        if found is None:
            if self._owners:
                owner = self._owners[part_of(model, len(self._owners))]
                found = OtherLine(model, self._pool, self._clock, owner)
            else:
                found = OwnLine(model, self._pool, self._clock)
            self.lines[model] = found
        return found

    def own(self, model: str) -> OwnLine:
        """The line of a model whose queue is here."""
        found = self.line(model)
        assert isinstance(found, OwnLine)
        return found

    def renew(self, wanted: dict[str, list[Replica]]) -> None:
        """Take the new list of replicas; one that is known keeps its state and its requests."""
        known = {replica.name: replica for line in self.lines.values() for replica in line.replicas}
        for model in {*wanted, *self.lines}:
            fresh = wanted.get(model, [])
            self.line(model).renew([known.get(replica.name, replica).settled(replica) for replica in fresh])

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
            line.came()
