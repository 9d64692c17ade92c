"""A line whose queue is here: this relay is the only one, or owns the queue of the model for all of the house."""

from __future__ import annotations

import asyncio

from openmaas.core.bounds import COUNT_INTERVAL_S
from openmaas.core.clock import Clock
from openmaas.core.errors import ClientLeft
from openmaas.dialects.dialect import Ask
from openmaas.relay.door.message import Answer
from openmaas.relay.lines.line import ModelLine
from openmaas.relay.lines.replica import Grant, Replica
from openmaas.relay.upstream.pool import Pool
from openmaas.scheduling.line import Line
from openmaas.scheduling.prefix import chain_of
from openmaas.scheduling.turn import Turn


class OwnLine(ModelLine):
    """``rules`` say who is next; what they must know of running answers is counted before each decision."""

    def __init__(self, model: str, pool: Pool, clock: Clock) -> None:
        super().__init__(model, pool, clock)
        self.rules = Line(model)
        self._grants: set[Grant] = set()
        self._counted_s = 0.0

    @property
    def waiting(self) -> int:
        """See ``ModelLine``: of all relays."""
        return len(self.rules.queue)

    async def find(self, turn: Turn, ask: Ask, answer: Answer) -> Replica:
        """See ``ModelLine``."""
        if len(self.given) > 1:
            turn.chain = chain_of(ask.opening())
        self.enter(turn)
        if turn.server is None and turn.error is None:
            turn.chain = turn.chain or chain_of(ask.opening())
            await self._told(turn, answer)
        if turn.error is not None:
            raise turn.error
        assert isinstance(turn.server, Replica)
        return turn.server

    def enter(self, turn: Turn) -> None:
        """Let ``turn`` be served or wait; it is told."""
        now_s = self._now_s()
        if self.waiting or (len(self.given) > 1 and now_s - self._counted_s > COUNT_INTERVAL_S):
            self._count(now_s)
        self._expect(turn)
        self.rules.enter(turn, now_s)

    def keep(self, turn: Turn, place: tuple[str, str]) -> None:
        """It has its slot already, from an owner who is gone; nothing is counted for a replica that is gone, too."""
        for replica in self.replicas:
            if replica.name == place:
                self._expect(turn)
                self.rules.keep(turn, replica)

    def end(self, turn: Turn, output_tokens: int, unread_tokens: int) -> None:
        """The answer of ``turn`` is over."""
        if self.waiting:
            self._count(self._now_s())
        self.rules.end(turn, output_tokens, self._now_s(), unread_tokens)

    def unreached(self, turn: Turn, replica: Replica) -> None:
        """See ``ModelLine``."""
        super().unreached(turn, replica)
        self.rules.back(turn)

    def granted(self, grant: Grant) -> Grant:
        """See ``ModelLine``."""
        self._grants.add(grant)
        return grant

    def over(self, grant: Grant) -> None:
        """See ``ModelLine``."""
        self._grants.discard(grant)
        unread, said = grant.usage
        self.end(grant.turn, said, unread)

    def renew(self, replicas: list[Replica]) -> None:
        """See ``ModelLine``."""
        super().renew(replicas)
        self.rules.servers = [*self.given]
        self.came()

    def came(self) -> None:
        """See ``ModelLine``."""
        self.rules.serve()

    def expire(self, now_s: float) -> None:
        """See ``ModelLine``."""
        self.rules.expire(now_s)

    def _expect(self, turn: Turn) -> None:
        """An answer is expected to be as long as others were: what may be asked for is hardly ever said."""
        turn.output_tokens = min(turn.output_tokens, int(self.rules.output_tokens_usual))

    def _count(self, now_s: float) -> None:
        self._counted_s = now_s
        for grant in self._grants:
            said = grant.progress() if grant.progress is not None else 0
            if said > grant.turn.said:
                self.rules.read(grant.turn)
                self.rules.wrote(grant.turn, said - grant.turn.said)

    async def _told(self, turn: Turn, answer: Answer) -> None:
        """Wait until it is served or refused."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def told(_turn: Turn) -> None:
            if not waiter.done():
                waiter.set_result(None)

        def left() -> None:
            if turn.server is None:  # else it has a slot, and gives it back
                self.rules.leave(turn)
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
