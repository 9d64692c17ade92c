"""The tenants of one band of priority: their counters, who of them waits, and whose turn it is."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice

from openmaas.core.bounds import PASSED_MAX, TENANTS_LOOKED_AT, TENANTS_REMEMBERED, TURNS_LOOKED_AT
from openmaas.scheduling.turn import Server, Turn


class Account:
    """What one tenant was given: ``counter``, in tokens by its weight, less ``credit``; and when it was last served, as
    the number of that time: of equal counters the one served longest ago goes first."""

    __slots__ = ("counter", "credit", "granted")

    def __init__(self) -> None:
        self.counter = self.credit = 0.0
        self.granted = 0


class Band:
    """Tenants that wait in one band, and the counters of all that are remembered."""

    def __init__(self, slack_tokens: float) -> None:
        self._accounts: dict[str, Account] = {}
        self.lines: dict[str, deque[Turn]] = {}
        self.sizes: dict[str, float] = {}  # of all that a tenant has waiting
        self.count = 0
        self._slack = slack_tokens
        self._last = 0.0  # the counter of who left last, when nobody waits any more
        self._granted = 0
        self._heap: list[tuple[float, int, str]] = []  # one entry for each line, no higher than its counter …
        self._entered: set[str] = set()  # … and for some who wait no more, until it is met

    def turns(self) -> Iterator[Turn]:
        """All who wait."""
        for line in self.lines.values():
            yield from line

    def weight_of(self, tenant: str) -> float:
        """Of one who waits."""
        return self.lines[tenant][0].weight

    def counter(self, tenant: str) -> float:
        """The tokens, by weight, that it was given, or is taken to have been given."""
        account = self._accounts.get(tenant)
        return account.counter if account is not None else 0.0

    def lift(self, tenant: str) -> Account:
        """Whoever comes, or comes back, begins no lower than those who wait, or than the last who did."""
        floor = self._least() if self.lines else self._last
        account = self._accounts.get(tenant)
        if account is None:
            if len(self._accounts) >= TENANTS_REMEMBERED:
                self._forget()
            account = self._accounts[tenant] = Account()
        account.counter = max(floor, account.counter)
        if not self.lines:
            self._last = account.counter
        return account

    def join(self, tenant: str) -> None:
        """It is served at once."""
        self._granted += 1
        self.lift(tenant).granted = self._granted

    def charge(self, tenant: str, tokens: float) -> None:
        """What comes back is taken off what is charged next: a counter never falls, or the heap would not know."""
        account = self._accounts.get(tenant)
        if account is None:  # forgotten meanwhile
            return
        owed = tokens - account.credit
        if owed >= 0:
            account.counter += owed
            account.credit = 0.0
        else:
            account.credit = -owed

    def add(self, turn: Turn) -> None:
        """It waits."""
        line = self.lines.get(turn.tenant)
        if line is None:
            account = self.lift(turn.tenant)
            line = self.lines[turn.tenant] = deque()
            self.sizes[turn.tenant] = 0.0
            if turn.tenant not in self._entered:
                self._entered.add(turn.tenant)
                heapq.heappush(self._heap, (account.counter, account.granted, turn.tenant))
        line.append(turn)
        self.sizes[turn.tenant] += turn.size
        self.count += 1

    def remove(self, turn: Turn) -> None:
        """It waits no longer, if it did."""
        line = self.lines.get(turn.tenant)
        if line is None or turn not in line:
            return
        line.remove(turn)
        self.count -= 1
        self.sizes[turn.tenant] -= turn.size
        if not line:
            self._last = self.counter(turn.tenant)
            del self.lines[turn.tenant], self.sizes[turn.tenant]

    def next(self, servers: Sequence[Server]) -> tuple[Turn, Server] | None:
        """Who is to be served by which of these; None when none of them can serve anybody."""
        looked: list[tuple[float, int, str]] = []
        best: tuple[int, Turn, Server] | None = None
        while len(looked) < TENANTS_LOOKED_AT and self.lines:
            counter = self._least()
            if best is not None and counter > looked[0][0] + self._slack:
                break
            looked.append(heapq.heappop(self._heap))
            for turn in islice(self.lines[looked[-1][2]], TURNS_LOOKED_AT):
                for server in servers:
                    if server.takes(turn) and (best is None or server.cached(turn) > best[0]):
                        best = (server.cached(turn), turn, server)
                if best is not None and turn.passed >= PASSED_MAX:
                    break
            if len(looked) == len(self.lines):
                break
        for entry in looked:
            heapq.heappush(self._heap, entry)
        if best is None:
            return None
        _, turn, server = best
        for before in self.lines[turn.tenant]:
            if before is turn:
                break
            before.passed += 1
        self.remove(turn)
        self._granted += 1
        self._accounts[turn.tenant].granted = self._granted
        return turn, server

    def _least(self) -> float:
        """The least counter of those who wait; its tenant is on top of the heap. Counters only rise, so an entry that
        is too low is put right when it is met."""
        while True:
            counter, granted, tenant = self._heap[0]
            account = self._accounts[tenant]
            if tenant not in self.lines:
                heapq.heappop(self._heap)
                self._entered.discard(tenant)
            elif (account.counter, account.granted) > (counter, granted):
                heapq.heapreplace(self._heap, (account.counter, account.granted, tenant))
            else:
                return counter

    def _forget(self) -> None:
        """The lower half of those who do not wait: they would be lifted anyway."""
        idle = [(one.counter, tenant) for tenant, one in self._accounts.items() if tenant not in self._entered]
        for _, tenant in sorted(idle)[: len(idle) // 2]:
            del self._accounts[tenant]
