"""A line whose queue is at one of several relays: what is asked of its owner, and asked again when that is another.

The bytes of requests never go that way: who has been granted a slot connects to the replica itself. While the owner is
gone what runs goes on and what wants a slot waits; the next owner is told of both, and may be ourselves.
"""

from __future__ import annotations

import asyncio
import itertools
import math

import msgspec

from openmaas.core.bounds import ASKED_BYTES_MAX, COUNT_INTERVAL_S, OWNER_GRACE_S, OWNER_RETRY_S
from openmaas.core.clock import Clock
from openmaas.core.errors import ClientLeft, NoReplica, OpenmaasError, QueueFull
from openmaas.dialects.dialect import Ask
from openmaas.relay.door.message import Answer
from openmaas.relay.lines.line import ModelLine
from openmaas.relay.lines.owner import Owner
from openmaas.relay.lines.replica import Grant, Replica
from openmaas.relay.lines.words import Answered, Asked, Back, End, Granted, Said, Take, answered, said
from openmaas.relay.upstream.pool import Pool
from openmaas.scheduling.prefix import chain_of
from openmaas.scheduling.turn import Turn


class Waiting(msgspec.Struct):
    """A request that has asked the owner, or has what it asked for."""

    take: Take
    until_s: float
    told: asyncio.Future[Granted]
    grant: Grant | None = None
    said: int = 0


class Elsewhere:
    """The connection to the owner of one part of the models."""

    def __init__(self, part: int, owner: Owner, clock: Clock) -> None:
        self._part, self._owner, self._now_s = part, owner, clock.mono_s
        self._numbers = itertools.count(1)
        self._writer: asyncio.StreamWriter | None = None
        self.asked: dict[int, Waiting] = {}

    def ask(self, take: Take, until_s: float) -> Waiting:
        """Ask for a slot."""
        take.number = next(self._numbers)
        made = Waiting(take, until_s, asyncio.get_running_loop().create_future())
        self.asked[take.number] = made
        self.say(take)
        return made

    def say(self, word: Asked) -> None:
        """Say it, if there is anybody; who comes is told all that is."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(said(word))

    def refuse(self, made: Waiting, error: OpenmaasError) -> None:
        """It has no slot."""
        self.asked.pop(made.take.number, None)
        if not made.told.done():
            made.told.set_exception(error)

    async def run(self) -> None:
        """Stay connected until cancelled. A part is seized when its last owner was the one of our number, and when
        nobody has answered for ``OWNER_GRACE_S``."""
        alone_since_s = math.inf
        while True:
            number = self._owner.last(self._part)
            if number == self._owner.number or self._now_s() > alone_since_s + OWNER_GRACE_S:
                self._owner.seize(self._part)
                number = self._owner.last(self._part)
            try:
                reader, writer = await asyncio.open_unix_connection(self._owner.sockets[number], limit=ASKED_BYTES_MAX)
            except OSError:
                alone_since_s = min(alone_since_s, self._now_s())
            else:
                alone_since_s = math.inf
                await self._stay(reader, writer)
            await asyncio.sleep(OWNER_RETRY_S)

    async def _stay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        try:
            self._tell_all()
            async with asyncio.TaskGroup() as group:
                telling = group.create_task(self._tell())
                while line := await reader.readline():
                    self._hear(answered.decode(line))
                telling.cancel()
        except* ConnectionError:
            pass
        finally:
            writer.close()
            self._writer = None

    def _tell_all(self) -> None:
        """A new owner knows nothing: first what runs, then what waits."""
        for made in sorted(self.asked.values(), key=lambda made: made.take.place is None):
            made.take.wait_s = max(0.0, made.until_s - self._now_s())
            self.say(made.take)
            made.said = 0

    async def _tell(self) -> None:
        """How far the answers are, a few times a second."""
        while True:
            await asyncio.sleep(COUNT_INTERVAL_S)
            for made in self.asked.values():
                if made.grant is not None and made.grant.progress is not None:
                    tokens = made.grant.progress()
                    if tokens > made.said:
                        made.said = tokens
                        self.say(Said(made.take.number, tokens))

    def _hear(self, word: Answered) -> None:
        made = self.asked.get(word.number)
        if made is None:  # it has left meanwhile
            if isinstance(word, Granted):
                self.say(Back(word.number, unreached=False))
        elif isinstance(word, Granted):
            made.take.place = word.place
            if not made.told.done():
                made.told.set_result(word)
        else:
            refusal = QueueFull if word.ready else NoReplica
            self.refuse(made, refusal(word.why, retry_after_s=word.retry_after_s))


class OtherLine(ModelLine):
    """The line of a model whose queue is at ``owner``."""

    def __init__(self, model: str, pool: Pool, clock: Clock, owner: Elsewhere) -> None:
        super().__init__(model, pool, clock)
        self._owner = owner
        self._mine: dict[Turn, Waiting] = {}

    @property
    def waiting(self) -> int:
        """See ``ModelLine``: of this relay."""
        return sum(made.take.place is None for made in self._mine.values())

    async def find(self, turn: Turn, ask: Ask, answer: Answer) -> Replica:
        """See ``ModelLine``."""
        if answer.gone:
            raise ClientLeft
        chain, wait_s = chain_of(ask.opening()), turn.until_s - self._now_s()
        sizes, needs = (turn.prompt_tokens, turn.output_tokens), tuple(turn.needs)
        take = Take(0, self.model, turn.tenant, *sizes, chain, turn.band, turn.weight, needs, wait_s)
        made = self._mine[turn] = self._owner.ask(take, turn.until_s)

        def left() -> None:
            self._owner.say(Back(made.take.number, unreached=False))
            self._owner.refuse(made, ClientLeft())

        answer.on_gone = left
        try:
            place = (await made.told).place
        except OpenmaasError:
            del self._mine[turn]
            raise
        finally:
            answer.on_gone = None
        replica = next((each for each in self.replicas if each.name == place), None)
        if replica is None:  # the owner has heard of a change that we have not, or the other way round
            self._done(turn, Back(made.take.number, unreached=False))
            raise NoReplica(f"the replicas of {self.model} are changing", retry_after_s=1)
        replica.running += 1
        return replica

    def unreached(self, turn: Turn, replica: Replica) -> None:
        """See ``ModelLine``."""
        super().unreached(turn, replica)
        replica.running -= 1
        self._done(turn, Back(self._mine[turn].take.number, unreached=True))

    def granted(self, grant: Grant) -> Grant:
        """See ``ModelLine``."""
        self._mine[grant.turn].grant = grant
        return grant

    def over(self, grant: Grant) -> None:
        """See ``ModelLine``."""
        grant.replica.running -= 1
        unread, output = grant.usage
        self._done(grant.turn, End(self._mine[grant.turn].take.number, output, unread, grant.answered))

    def came(self) -> None:
        """See ``ModelLine``: the owner asks by itself, and serves who waits."""

    def expire(self, now_s: float) -> None:
        """Those whose owner is gone for too long; an owner that is there has refused them."""
        for made in list(self._mine.values()):
            if made.take.place is None and now_s > made.until_s + 2 * OWNER_RETRY_S:
                self._owner.say(Back(made.take.number, unreached=False))
                self._owner.refuse(made, QueueFull(f"the queue of {self.model} does not answer", retry_after_s=5))

    def _done(self, turn: Turn, word: Back | End) -> None:
        made = self._mine.pop(turn)
        self._owner.asked.pop(made.take.number, None)
        self._owner.say(word)
