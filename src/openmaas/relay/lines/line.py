"""What the line of a model is to a request, whichever relay keeps its queue: a slot of a replica, with a connection."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import inf
from operator import attrgetter

from openmaas.core.bounds import QUEUE_TIMEOUT_S
from openmaas.core.clock import Clock
from openmaas.core.errors import FieldInvalid, NoReplica, OpenmaasError
from openmaas.dialects.dialect import Ask
from openmaas.identity.face import Caller
from openmaas.limits.book import Precedence
from openmaas.relay.door.message import Answer
from openmaas.relay.lines.replica import Grant, Replica
from openmaas.relay.upstream.pool import Pool
from openmaas.scheduling.turn import BATCH, URGENT, USUAL, Turn

#: The header that says for how many seconds a request may wait for a slot.
PATIENCE = b"x-queue-timeout"


class ModelLine(ABC):
    """The line of one model. Where its queue is, a subclass knows."""

    def __init__(self, model: str, pool: Pool, clock: Clock) -> None:
        self.model = model
        self.replicas: list[Replica] = []
        self.given: list[Replica] = []  # those of them that are not drained
        self._pool, self._now_s = pool, clock.mono_s

    def turn(
        self,
        caller: Caller,
        ask: Ask,
        precedence: Precedence,
        prompt_tokens: int,
        output_tokens_max: int,
        until_s: float,
    ) -> Turn:
        """A request as the queue sees it, which waits until ``until_s`` at most."""
        now_s = self._now_s()
        usual = URGENT if precedence.first else USUAL
        return Turn(
            caller.organisation_id,
            prompt_tokens,
            output_tokens_max,
            band=BATCH if caller.price_class == "batch" else usual,
            weight=precedence.weight,
            needs=ask.needs,
            arrived_s=now_s,
            until_s=until_s,
        )

    async def take(self, turn: Turn, ask: Ask, answer: Answer) -> Grant:
        """A slot for ``turn``, which is for ``ask``; leave it with ``with``. Nothing was sent when it raises
        ``NoReplica``, ``QueueFull``, or ``ClientLeft`` as nobody waits for ``answer`` any more."""
        while True:
            if not self.given:
                raise NoReplica(f"{self.model} has no deployment that takes requests", retry_after_s=5)
            replica = await self.find(turn, ask, answer)
            try:
                link = self._pool.kept(replica.place) or await self._pool.connect(replica.place)
            except OpenmaasError as error:
                self.unreached(turn, replica)
                if not self.ready:
                    raise NoReplica(f"{self.model}: {error.detail}", retry_after_s=1) from None
            else:
                return self.granted(Grant(turn, replica, link, self.over))

    @property
    def ready(self) -> bool:
        """Whether any replica answers."""
        return any(replica.ready for replica in self.given)

    def nearest(self) -> Replica:
        """The least busy replica that answers, for a question that takes no slot. Raises ``NoReplica``."""
        ready = [replica for replica in self.given if replica.ready]
        if not ready:
            raise NoReplica(f"{self.model} has no replica that is ready", retry_after_s=5)
        return min(ready, key=attrgetter("running"))

    # ── what depends on where the queue is ─────────────────────────────────────────────────────────────────────

    @property
    @abstractmethod
    def waiting(self) -> int:
        """How many requests of this relay, or of all that it serves, wait."""

    @abstractmethod
    async def find(self, turn: Turn, ask: Ask, answer: Answer) -> Replica:
        """The replica that serves ``turn``, once it is served. Raises as ``take``."""

    def unreached(self, turn: Turn, replica: Replica) -> None:
        """No connection to it could be made: ``turn`` is as it was before, and it is out."""
        replica.failed(self._now_s(), unreachable=True)

    @abstractmethod
    def granted(self, grant: Grant) -> Grant:
        """It has its slot and its connection."""

    @abstractmethod
    def over(self, grant: Grant) -> None:
        """It needs them no more."""

    def renew(self, replicas: list[Replica]) -> None:
        """These are there from now on; what runs on others runs to its end."""
        self.replicas = replicas
        self.given = [replica for replica in replicas if replica.share > 0]

    @abstractmethod
    def came(self) -> None:
        """A replica is to be used that was not before."""

    @abstractmethod
    def expire(self, now_s: float) -> None:
        """Refuse those who have waited too long."""


def patience_s(said: bytes | None) -> float:
    """How long a request may wait for a slot, by what its header (``PATIENCE``) says. Raises ``FieldInvalid``."""
    if said is None:
        return QUEUE_TIMEOUT_S
    try:
        wait_s = float(said)
    except ValueError:
        wait_s = -1.0
    if not 0 <= wait_s < inf:
        name = PATIENCE.decode()
        raise FieldInvalid(f"{name} must be seconds, such as 2.5, not {said[:64].decode('latin-1')!r}", field=name)
    return min(wait_s, QUEUE_TIMEOUT_S)
