"""Which replica a request goes to. Each rule is called with all replicas and the request; it returns one that takes it
now, or None. Chance is handed in."""

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
#: So many blocks of a prompt are how it begins. One would not do: where all share a system prompt (every request of
#: Mooncake's conversations does), the ring had one point.
BLOCKS_HASHED = 2

Choose = Callable[[Sequence[Server], Turn], Server | None]


class Affinity:
    """Where it is read soonest: the tokens before it and its own that the replica does not hold, by the replica's
    speed. So a prefix that is held wins exactly while it is worth more than the queue before it. Ties are broken by
    chance, or all relays would send a burst to the same replica."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def __call__(self, servers: Sequence[Server], turn: Turn) -> Server | None:
        """The one with the least delay, of equal ones any."""
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
        return _any(best, self._chance)


class LeastLoad:
    """The one with the fewest requests, of equal ones any."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def __call__(self, servers: Sequence[Server], turn: Turn) -> Server | None:
        """The least busy that takes it."""
        able = [server for server in servers if server.takes(turn)]
        least = min((server.running for server in able), default=0)
        return _any([server for server in able if server.running == least], self._chance)


class RoundRobin:
    """One after the other."""

    def __init__(self, _chance: random.Random) -> None:
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
    """How a prompt begins names a point of a ring, and the next replica on it that is not too busy serves it."""

    def __init__(self, chance: random.Random) -> None:
        self._least_load = LeastLoad(chance)
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
        at = bisect(self._ring, (_beginning(turn), 0))
        for step in range(len(self._ring)):
            server = servers[self._ring[(at + step) % len(self._ring)][1]]
            if server.running + 1 <= max(1.0, most) and server.takes(turn):
                return server
        return self._least_load(servers, turn)


def _any(servers: list[Server], chance: random.Random) -> Server | None:
    if len(servers) > 1:
        return chance.choice(servers)
    return servers[0] if servers else None


def _beginning(turn: Turn) -> int:
    """A point of the ring, 32 bits. Hashed again: a chain need not be of hashes, traces number blocks."""
    said = b"%d" % turn.chain[:BLOCKS_HASHED][-1] if turn.chain else turn.tenant.encode()
    return crc32(said)


def _delay(server: Server, turn: Turn) -> float:
    work = server.reading + WRITING_SHARE * server.writing + turn.prompt_tokens - server.cached(turn)
    return work / (server.weight * server.warmth)


#: The rules by name; each is made anew for each model, for it may have a memory.
RULES: dict[str, Callable[[random.Random], Choose]] = {
    "affinity": Affinity,
    "least_load": LeastLoad,
    "round_robin": RoundRobin,
    "bounded_hash": BoundedHash,
}
