"""The line before the replicas of one model: who waits, who is served, how long it will take. It knows no clock and no
socket: the relay and the simulator tell it what happens and when."""

from __future__ import annotations

import math
import random

from openmaas.core.bounds import RATE_MEMORY_S, RETRY_AFTER_S_DEFAULT, RETRY_AFTER_S_MAX
from openmaas.core.errors import NoReplica, QueueFull
from openmaas.scheduling.choose import RULES, Choose
from openmaas.scheduling.fair import QUEUES, Queue
from openmaas.scheduling.shares import deal, drawn, plain, preferred
from openmaas.scheduling.turn import OUTPUT_WEIGHT, Server, Turn

#: How much the newest answer counts in the length that the next is expected to have.
_NEWEST = 0.05


class Line:
    """``routing`` is one of ``choose.RULES``, ``queueing`` one of ``fair.QUEUES``; ``chance`` breaks ties."""

    def __init__(
        self, model: str, routing: str = "affinity", queueing: str = "fair", chance: random.Random | None = None
    ) -> None:
        self.model = model
        self.queue: Queue = QUEUES[queueing]()
        self.output_tokens_usual = 256.0  # of an answer; learned
        self._servers: list[Server] = []
        self._plain = True
        self._chance = chance or random.Random()  # noqa: S311 - no secret
        self._choose: Choose = RULES[routing](self._chance)
        self._rate = _Rate()
        # Since when somebody waits, or since the last answer, if that was later.
        self._waited_since_s: float | None = None

    @property
    def servers(self) -> list[Server]:
        """All that are given requests."""
        return self._servers

    @servers.setter
    def servers(self, servers: list[Server]) -> None:
        self._servers = servers
        self._plain = plain(servers)
        deal(servers)

    def enter(self, turn: Turn, now_s: float) -> None:
        """Serve ``turn`` now or let it wait; it is told. Who cannot be served before its time is up is refused at once,
        and told when to come again."""
        if turn.needs and all(turn.needs & server.lacks for server in self._servers):
            turn.needs = frozenset()  # nobody can: whoever gets it says so
        if not self._plain:
            deal(self._servers)
            turn.lot = self._chance.random()
        server = self._unwaited(turn)
        if server is not None:
            self.queue.join(turn)
            self._grant(turn, server)
            return
        wait_s = self.wait_s(turn)
        if wait_s is not None and now_s + wait_s > turn.until_s:
            self._refuse(turn, f"{self.model} would have no free slot in time", wait_s)
            return
        if self._waited_since_s is None:
            self._waited_since_s = now_s
        gone = self.queue.add(turn)
        if gone is not None:
            self._refuse(gone, f"too many requests wait for {self.model}", wait_s)
        self.serve()

    def leave(self, turn: Turn) -> None:
        """Nobody wants it any more, before it was served."""
        self.queue.remove(turn)
        self._note_emptied()

    def read(self, turn: Turn) -> None:
        """Its prompt has been read: the first byte of its answer came."""
        if turn.server is not None:
            turn.server.reading -= turn.reading
            turn.reading = 0

    def wrote(self, turn: Turn, tokens: int) -> None:
        """So many tokens more of its answer were said."""
        assert turn.server is not None
        self._charge(turn, OUTPUT_WEIGHT * tokens)
        turn.said += tokens
        said = min(tokens, turn.writing)
        turn.writing -= said
        turn.server.writing -= said

    def end(self, turn: Turn, output_tokens: int, now_s: float, unread_tokens: int | None = None) -> None:
        """Its answer, of so many tokens in all, is over, and its slot free. ``unread_tokens`` are those of the prompt
        that the replica did not hold, if it said so: what was charged by an estimate is put right."""
        server = turn.server
        assert server is not None
        if unread_tokens is not None:
            self._charge(turn, unread_tokens + OUTPUT_WEIGHT * output_tokens - turn.charged)
        self._free(turn, server)
        if output_tokens:
            self.output_tokens_usual += _NEWEST * (output_tokens - self.output_tokens_usual)
        if self._waited_since_s is not None:
            self._rate.add(turn.prompt_tokens + OUTPUT_WEIGHT * output_tokens, now_s - self._waited_since_s)
            self._waited_since_s = now_s
            self.serve()

    def back(self, turn: Turn) -> None:
        """Its server could not be reached: nothing was used, and it may enter again."""
        assert turn.server is not None
        self._charge(turn, -turn.charged)
        self._free(turn, turn.server)
        turn.server = None
        self.serve()

    def serve(self) -> None:
        """Give what is free to those who wait."""
        if not self._plain:
            deal(self._servers)
        while len(self.queue) and (found := self.queue.next(self._with_room())) is not None:
            self._grant(*found)
        self._note_emptied()

    def expire(self, now_s: float) -> None:
        """Refuse those whose time is up."""
        for turn in self.queue.late(now_s):
            self._refuse(turn, f"{self.model} had no free slot in {turn.until_s - turn.arrived_s:.0f} s", None)
        self._note_emptied()

    def wait_s(self, turn: Turn) -> float | None:
        """How long ``turn`` would wait if it came now; None while nothing was measured."""
        rate = self._rate.value
        return self.queue.before(turn) / rate if rate else None

    def _unwaited(self, turn: Turn) -> Server | None:
        """Who may serve it as it comes: any, if nobody waits; else its canary, if that is free: of the first who wait
        nobody drew that, and ``next`` looks no further. One who drew it and stands behind them may be overtaken."""
        if not self.queue.waits_before(turn.band):
            return self._chosen(turn)
        canary = [] if self._plain else drawn(self._servers, turn)
        return self._choose(canary, turn) if canary else None

    def _chosen(self, turn: Turn) -> Server | None:
        if self._plain:
            return self._choose(self._servers, turn)
        for servers in preferred(self._servers, turn):
            if (found := self._choose(servers, turn)) is not None:
                return found
        return None

    def _note_emptied(self) -> None:
        """Nobody waits: until somebody does, answers say nothing about how fast the line could be."""
        if not len(self.queue):
            self._waited_since_s = None

    def _free(self, turn: Turn, server: Server) -> None:
        self.read(turn)
        server.writing -= turn.writing
        server.running -= 1
        turn.writing = 0

    def _with_room(self) -> list[Server]:
        return [server for server in self._servers if server.ready and server.running < server.slots]

    def keep(self, turn: Turn, server: Server) -> None:
        """``server`` serves ``turn`` already: count it, whether there is a slot or not."""
        unread = turn.prompt_tokens
        if turn.chain:
            unread -= server.cached(turn)
            server.prefixes.read(turn.chain)
        turn.server = server
        turn.reading, turn.writing = unread, turn.output_tokens
        server.running += 1
        server.reading += unread
        server.writing += turn.writing
        turn.charged = turn.said = 0
        self._charge(turn, unread)

    def _grant(self, turn: Turn, server: Server) -> None:
        self.keep(turn, server)
        turn.told(turn)

    def _charge(self, turn: Turn, tokens: int) -> None:
        turn.charged += tokens
        self.queue.charge(turn, tokens)

    def _refuse(self, turn: Turn, why: str, wait_s: float | None) -> None:
        after_s = RETRY_AFTER_S_DEFAULT if wait_s is None else min(max(1.0, wait_s), RETRY_AFTER_S_MAX)
        refusal = QueueFull if any(server.ready for server in self._servers) else NoReplica
        turn.error = refusal(why, retry_after_s=math.ceil(after_s))
        turn.told(turn)


class _Rate:
    """Weighted tokens a second while somebody waits; what was longer ago than ``RATE_MEMORY_S`` of that counts little.
    Of a line that nobody waits in, only the demand could be measured."""

    def __init__(self) -> None:
        self._tokens = self._seconds = 0.0

    def add(self, tokens: float, seconds: float) -> None:
        kept = math.exp(-seconds / RATE_MEMORY_S)
        self._tokens = self._tokens * kept + tokens
        self._seconds = self._seconds * kept + seconds

    @property
    def value(self) -> float:
        """0 while it is known from less than a second."""
        return self._tokens / self._seconds if self._seconds >= 1 else 0.0
