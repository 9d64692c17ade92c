"""The fair queue of one model: virtual token counters, and among tenants that are about equal the longest prefix.

Each tenant has a counter of the tokens it was given, by its weight: a prompt's when it is admitted, less what the
replica held of it, an answer's as it is said (VTC, Sheng et al., OSDI '24, https://arxiv.org/abs/2401.00588). Who comes
back to the queue starts no lower than the least of those who wait, so that nobody saves up. Of the tenants within
``slack`` tokens of the least, the request whose prefix a free replica holds the most of goes first: the deficit of DLPM
(Cao et al., https://arxiv.org/abs/2501.14312) is what a counter may still rise. So what two tenants that both wait were
given is never more than 2 × (slack + the most that one may have under way) apart.

The queue is bounded. When it is full, the last request of the tenant with the longest line of all has to go, whoever
came; so one who floods it is refused, and the others are not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from openmaas.core.bounds import QUEUE_LENGTH_MAX, QUEUE_LENGTH_OF_ALL_MAX, SLACK_TOKENS
from openmaas.scheduling.band import Band
from openmaas.scheduling.turn import BATCH, Server, Turn


class Queue(Protocol):
    """What a line asks of the order in which it serves."""

    def __len__(self) -> int:
        """How many wait."""

    def add(self, turn: Turn) -> Turn | None:
        """Let ``turn`` wait; returns who cannot wait any longer for it, which may be itself."""

    def remove(self, turn: Turn) -> None:
        """It waits no longer, if it did."""

    def next(self, servers: Sequence[Server]) -> tuple[Turn, Server] | None:
        """Who is to be served by which of these, and waits no longer; None when none of them can serve anybody."""

    def waits_before(self, band: int) -> bool:
        """True when somebody waits who goes before whoever comes now in ``band``."""

    def join(self, turn: Turn) -> None:
        """It is served at once, and did not wait."""

    def charge(self, turn: Turn, tokens: float) -> None:
        """The tenant was given so many weighted tokens; fewer than none when it had been charged for too many."""

    def before(self, turn: Turn) -> float:
        """The weighted tokens that would be given before ``turn``, if it came now."""

    def late(self, now_s: float) -> list[Turn]:
        """Those whose time is up; they wait no longer."""


class Fair:
    """See the module. Each band has counters of its own: what batch work got is not held against its tenant."""

    def __init__(
        self,
        slack_tokens: float = SLACK_TOKENS,
        own_max: int = QUEUE_LENGTH_MAX,
        all_max: int = QUEUE_LENGTH_OF_ALL_MAX,
    ) -> None:
        self._bands = [Band(slack_tokens) for _ in range(BATCH + 1)]
        self._own_max, self._all_max = own_max, all_max

    def __len__(self) -> int:
        urgent, usual, batch = self._bands
        return urgent.count + usual.count + batch.count

    def add(self, turn: Turn) -> Turn | None:
        """See ``Queue``."""
        band = self._bands[turn.band]
        if len(band.lines.get(turn.tenant, ())) >= self._own_max:
            return turn
        band.add(turn)
        if len(self) <= self._all_max:
            return None
        last = next(band for band in reversed(self._bands) if band.count)
        gone = max(last.lines.values(), key=len)[-1]
        last.remove(gone)
        return gone

    def remove(self, turn: Turn) -> None:
        """See ``Queue``."""
        self._bands[turn.band].remove(turn)

    def next(self, servers: Sequence[Server]) -> tuple[Turn, Server] | None:
        """See ``Queue``."""
        for band in self._bands:
            if band.count and (found := band.next(servers)) is not None:
                return found
        return None

    def waits_before(self, band: int) -> bool:
        """See ``Queue``."""
        return len(self) > 0 and any(each.count for each in self._bands[: band + 1])

    def join(self, turn: Turn) -> None:
        """See ``Queue``."""
        self._bands[turn.band].join(turn.tenant)

    def charge(self, turn: Turn, tokens: float) -> None:
        """See ``Queue``."""
        self._bands[turn.band].charge(turn.tenant, tokens / turn.weight)

    def before(self, turn: Turn) -> float:
        """See ``Queue``. Its own tenant's requests, and of every other as much by weight, if it has as much; all of
        earlier bands."""
        found = 0.0
        for number, band in enumerate(self._bands[: turn.band + 1]):
            if number < turn.band:
                found += sum(band.sizes.values())
            else:
                own = (band.sizes.get(turn.tenant, 0.0) + turn.size) / turn.weight
                found += sum(min(size, own * band.weight_of(tenant)) for tenant, size in band.sizes.items())
        return found

    def late(self, now_s: float) -> list[Turn]:
        """See ``Queue``."""
        late = [turn for band in self._bands for turn in band.turns() if turn.until_s <= now_s]
        for turn in late:
            self.remove(turn)
        return late

    def counter(self, tenant: str, band: int) -> float:
        """The weighted tokens that a tenant was given, since it is remembered."""
        return self._bands[band].counter(tenant)


class FirstCome:
    """Whoever came first, what most peers do: kept to be compared with."""

    def __init__(self, all_max: int = QUEUE_LENGTH_OF_ALL_MAX) -> None:
        self._turns: deque[Turn] = deque()
        self._all_max = all_max

    def __len__(self) -> int:
        return len(self._turns)

    def add(self, turn: Turn) -> Turn | None:
        """See ``Queue``."""
        if len(self._turns) >= self._all_max:
            return turn
        self._turns.append(turn)
        return None

    def remove(self, turn: Turn) -> None:
        """See ``Queue``."""
        if turn in self._turns:
            self._turns.remove(turn)

    def next(self, servers: Sequence[Server]) -> tuple[Turn, Server] | None:
        """See ``Queue``."""
        for turn in self._turns:
            for server in servers:
                if server.takes(turn):
                    self._turns.remove(turn)
                    return turn, server
        return None

    def waits_before(self, _band: int) -> bool:
        """See ``Queue``."""
        return bool(self._turns)

    def join(self, _turn: Turn) -> None:
        """See ``Queue``."""

    def charge(self, _turn: Turn, _tokens: float) -> None:
        """See ``Queue``."""

    def before(self, _turn: Turn) -> float:
        """See ``Queue``."""
        return float(sum(turn.size for turn in self._turns))

    def late(self, now_s: float) -> list[Turn]:
        """See ``Queue``."""
        late = [turn for turn in self._turns if turn.until_s <= now_s]
        for turn in late:
            self._turns.remove(turn)
        return late


#: The orders by name.
QUEUES: dict[str, Callable[[], Queue]] = {"fair": Fair, "first_come": FirstCome}
