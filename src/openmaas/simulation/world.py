"""The event loop: arrivals from a trace, a ``Line`` of the relay before modelled engines, and a clock that jumps.

Who waits, who is served next and by whom is decided by ``openmaas.scheduling``, the relay's own rules; this file only
tells them what happens, as the relay does, and keeps what happened. One seed, one outcome.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from collections.abc import Sequence as Many
from dataclasses import dataclass
from functools import partial
from itertools import count
from math import inf

from openmaas.core.bounds import PREFIX_BLOCKS_MAX, QUEUE_TIMEOUT_S, SWEEP_INTERVAL_S
from openmaas.scheduling.line import Line
from openmaas.scheduling.prefix import Prefixes
from openmaas.scheduling.turn import OUTPUT_WEIGHT, Server, Turn
from openmaas.simulation.engine import Engine, Sequence
from openmaas.simulation.profile import Profile
from openmaas.simulation.service import Services
from openmaas.simulation.traces import Arrival


@dataclass(frozen=True, slots=True)
class Served:
    """What became of one request. Times are seconds since the trace began; a refused one has ``inf`` for both."""

    arrival: Arrival
    first_s: float
    ended_s: float
    said: int  # tokens
    read_tokens: int  # of the prompt, that were computed
    cached_blocks: int  # of it, that were not

    @property
    def refused(self) -> bool:
        """It was told to come again later."""
        return self.ended_s == inf

    @property
    def ttft_s(self) -> float:
        """Time to the first token, with all waiting."""
        return self.first_s - self.arrival.at_s


@dataclass(frozen=True, slots=True)
class Outcome:
    """All requests in the order in which they ended, and what was counted on the way."""

    served: list[Served]
    services: Services
    busy_s: list[float]  # of each engine
    ended_s: float


class World:
    """``replicas`` engines of one profile behind one relay; ``routing`` and ``queueing`` name the relay's rules.
    Each engine is taken to hold as many blocks as the relay takes it to, or ``believed``."""

    def __init__(
        self,
        profile: Profile,
        replicas: int,
        routing: str,
        queueing: str,
        seed: int,
        believed: int = PREFIX_BLOCKS_MAX,
    ) -> None:
        self._line = Line("simulated", routing, queueing, random.Random(seed))  # noqa: S311 - no secret
        self._engines = [Engine(profile, self._admitted, self._said) for _ in range(replicas)]
        self._line.servers += [Server(profile.slots, Prefixes(believed)) for _ in range(replicas)]
        self._engine_of = dict(zip(map(id, self._line.servers), self._engines, strict=True))
        self._now_s = 0.0
        self._numbers = count()
        self._events: list[tuple[float, int, Engine | None]] = []
        self._served: list[Served] = []
        self._services = Services()
        self._sweeps = False
        self._arrivals: dict[int, tuple[Turn, Arrival]] = {}

    def run(self, arrivals: Many[Arrival], heard: Callable[[int, int], None] = lambda _done, _total: None) -> Outcome:
        """Serve them all; ``heard`` is told how many of how many have come."""
        for number, arrival in enumerate(arrivals):
            self._until(arrival.at_s)
            self._now_s = arrival.at_s
            self._come(arrival)
            heard(number + 1, len(arrivals))
        self._until(inf)
        busy_s = [engine.busy_s for engine in self._engines]
        ended_s = max((each.ended_s for each in self._served if not each.refused), default=0.0)
        return Outcome(self._served, self._services, busy_s, ended_s)

    def _until(self, end_s: float) -> None:
        events = self._events
        while events and events[0][0] <= end_s:
            at_s, _, engine = heapq.heappop(events)
            self._now_s = at_s
            if engine is None:
                self._sweep()
            elif engine.ends_s == at_s:  # or somebody joined it, and it ends sooner
                engine.finish(at_s)
                self._await(engine)
            self._services.settle()

    def _come(self, arrival: Arrival) -> None:
        turn = Turn(
            arrival.tenant,
            arrival.prompt_tokens,
            round(self._line.output_tokens_usual),  # a relay does not know how long the answer will be, either
            told=self._told,
            chain=arrival.chain,
            arrived_s=self._now_s,
            until_s=self._now_s + QUEUE_TIMEOUT_S,
        )
        self._arrivals[id(turn)] = turn, arrival
        self._line.enter(turn, self._now_s)
        if turn.server is None and turn.error is None:
            self._services.wait(arrival.tenant)
            turn.told = partial(self._told_later, arrival.tenant)
            if not self._sweeps:
                self._sweeps = True
                heapq.heappush(self._events, (self._now_s + SWEEP_INTERVAL_S, next(self._numbers), None))
        self._services.settle()

    def _told_later(self, tenant: str, turn: Turn) -> None:
        self._services.wait_no_longer(tenant)
        self._told(turn)

    def _told(self, turn: Turn) -> None:
        _, arrival = self._arrivals[id(turn)]
        if turn.server is None:
            del self._arrivals[id(turn)]
            self._served.append(Served(arrival, inf, inf, 0, 0, 0))
            return
        engine = self._engine_of[id(turn.server)]
        engine.join(Sequence(turn, arrival.output_tokens, arrival.output_tokens), self._now_s)
        self._await(engine)

    def _admitted(self, sequence: Sequence) -> None:
        turn = sequence.turn
        self._services.begin(turn.tenant, turn.prompt_tokens, sequence.read_tokens, sequence.output_tokens)

    def _said(self, sequence: Sequence, tokens: int, now_s: float) -> None:
        turn = sequence.turn
        if sequence.said == tokens:
            self._line.read(turn)
        self._services.give(turn.tenant, OUTPUT_WEIGHT * tokens, tokens)
        self._line.wrote(turn, tokens)
        if not sequence.unsaid:
            _, arrival = self._arrivals.pop(id(turn))
            self._services.end(turn.tenant, turn.prompt_tokens, sequence.read_tokens, arrival.output_tokens)
            self._served.append(
                Served(arrival, sequence.first_s, now_s, sequence.said, sequence.read_tokens, sequence.cached_blocks)
            )
            self._line.end(turn, sequence.said, now_s, sequence.read_tokens)

    def _sweep(self) -> None:
        self._line.expire(self._now_s)
        self._sweeps = bool(len(self._line.queue))
        if self._sweeps:
            heapq.heappush(self._events, (self._now_s + SWEEP_INTERVAL_S, next(self._numbers), None))

    def _await(self, engine: Engine) -> None:
        if engine.ends_s < inf:
            heapq.heappush(self._events, (engine.ends_s, next(self._numbers), engine))
