"""Which replica a request goes to. Each rule is one function of all replicas and the request; it returns one that takes
it now, or None."""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Callable, Sequence
from zlib import crc32

from openmaas.scheduling.turn import Server, Turn

#: How much a token that is still to be said delays a newcomer, beside one that is still to be read: answers are said
#: together, a token of each at a step, prompts one after the other.
WRITING_SHARE = 0.25
#: Consistent hashing with bounded load (Mirrokni, Thorup, Zadimoghaddam, SODA 2018): no replica has more than this many
#: times the mean, and each stands at so many points of the ring.
LOAD_BOUND, POINTS = 1.25, 64

Choose = Callable[[Sequence[Server], Turn], Server | None]


def affinity(servers: Sequence[Server], turn: Turn) -> Server | None:
    """Where it is read soonest: the tokens before it and its own that the replica does not hold, by the replica's
    speed. So a prefix that is held wins exactly while it is worth more than the queue before it. Ties are broken by
    chance, or all relays would send a burst to the same replica."""
    if len(servers) == 1:
        return servers[0] if servers[0].takes(turn) else None
    best: list[Server] = []
    least = float("inf")
    for server in servers:
        if server.takes(turn):
            delay = _delay(server, turn)
            if delay < least:
                best, least = [server], delay
            elif delay == least:
                best.append(server)
    return _any(best)


def least_load(servers: Sequence[Server], turn: Turn) -> Server | None:
    """The one with the fewest requests, of equal ones any."""
    able = [server for server in servers if server.takes(turn)]
    least = min((server.running for server in able), default=0)
    return _any([server for server in able if server.running == least])


class RoundRobin:
    """One after the other."""

    def __init__(self) -> None:
        self._next = 0

    def __call__(self, servers: Sequence[Server], turn: Turn) -> Server | None:
        """The next that takes it."""
        for step in range(len(servers)):
            server = servers[(self._next + step) % len(servers)]
            if server.takes(turn):
                self._next += step + 1
                return server
        return None


class BoundedHash:
    """A prompt's first block names a point of a ring, and the next replica on it that is not too busy serves it."""

    def __init__(self) -> None:
        self._servers: Sequence[Server] = ()
        self._ring: list[tuple[int, int]] = []

    def __call__(self, servers: Sequence[Server], turn: Turn) -> Server | None:
        """The first on the ring that takes it and has no more than its share."""
        if self._servers != servers:
            self._servers = list(servers)
            ring = [
                (crc32(b"%d.%d" % (number, point)), number) for number in range(len(servers)) for point in range(POINTS)
            ]
            self._ring = sorted(ring)
        most = LOAD_BOUND * (sum(server.running for server in servers) + 1) / max(1, len(servers))
        at = bisect(self._ring, (turn.chain[0] if turn.chain else crc32(turn.tenant.encode()), 0))
        for step in range(len(self._ring)):
            server = servers[self._ring[(at + step) % len(self._ring)][1]]
            if server.running + 1 <= max(1.0, most) and server.takes(turn):
                return server
        return least_load(servers, turn)


def _any(servers: list[Server]) -> Server | None:
    if len(servers) > 1:
        return random.choice(servers)  # noqa: S311 - no secret
    return servers[0] if servers else None


def _delay(server: Server, turn: Turn) -> float:
    work = server.reading + WRITING_SHARE * server.writing + turn.prompt_tokens - server.cached(turn)
    return work / (server.weight * server.warmth)


#: The rules by name. A rule with a memory is made anew for each model.
RULES: dict[str, Callable[[], Choose]] = {
    "affinity": lambda: affinity,
    "least_load": lambda: least_load,
    "round_robin": RoundRobin,
    "bounded_hash": BoundedHash,
}
