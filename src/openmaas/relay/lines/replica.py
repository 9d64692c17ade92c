"""One engine: where it is and how it is spoken to, whether it answers, and a request's hold on one of its slots."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from openmaas.core.bounds import PREFIX_BLOCKS_MAX
from openmaas.core.usage import Usage
from openmaas.dialects.dialect import PLAIN, Manner
from openmaas.relay.upstream.link import Exchange, Link
from openmaas.relay.upstream.place import Place, Sink
from openmaas.relay.upstream.pool import Pool
from openmaas.scheduling.health import Health
from openmaas.scheduling.prefix import Prefixes
from openmaas.scheduling.turn import Server, Turn


class Replica(Server):
    """A server that the relay can reach. A ``local`` one is not taken to be up until it says so."""

    __slots__ = ("asked", "deployment_id", "health", "local", "manner", "place", "served_name")

    def __init__(
        self,
        deployment_id: str,
        served_name: str,
        place: Place,
        slots: int,
        *,
        local: bool,
        manner: Manner = PLAIN,
        lacks: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(slots, Prefixes(PREFIX_BLOCKS_MAX), lacks=lacks)
        self.deployment_id = deployment_id
        self.served_name = served_name
        self.place = place
        self.manner = manner
        self.local = local
        self.health = Health()
        self.asked = False  # whether it lives, and has not answered yet
        self.ready = not local

    @property
    def name(self) -> tuple[str, str]:
        """By which all relays know it."""
        return self.deployment_id, self.served_name

    def settled(self, fresh: Replica) -> Replica:
        """The same, as it is set now."""
        self.weight, self.share, self.near = fresh.weight, fresh.share, fresh.near
        return self

    def heard(self, now_s: float, *, answered: bool) -> None:
        """Whether it answered a request at all."""
        if answered:
            self.health.worked()
            self.trial = False
        else:
            self.failed(now_s, unreachable=False)

    def failed(self, now_s: float, *, unreachable: bool) -> None:
        """It did not answer, or could not even be reached."""
        if self.health.failed(now_s, unreachable=unreachable):
            self.ready, self.trial = False, True

    def lives(self, now_s: float, *, well: bool) -> bool:
        """It was asked whether it lives, and this is what it said; returns whether it is to be used now and was not
        before."""
        came = well and not self.ready and now_s >= self.health.out_until_s
        if came:
            self.health.came(now_s)
            self.prefixes.clear()  # what was started again has forgotten what it had read
        self.ready = came or (self.ready and well)
        return came


class Grant:
    """A slot of a replica for the length of a ``with``, and a connection to it. ``progress`` says how many tokens of
    the answer were said, and ``usage`` at the end how many of the prompt were read anew and of the answer said."""

    __slots__ = ("_link", "_over", "answered", "progress", "replica", "turn", "usage")

    def __init__(self, turn: Turn, replica: Replica, link: Link, over: Callable[[Grant], None]) -> None:
        self.turn, self.replica, self._over = turn, replica, over
        self._link: Link | None = link
        self.progress: Callable[[], int] | None = None
        self.usage: tuple[int, int] = 0, 0
        self.answered: bool | None = None  # nothing was sent, or nobody waited for the answer

    def send(self, pool: Pool, target: bytes, headers: bytes, body: bytes, sink: Sink) -> Exchange:
        """Send the request, once."""
        link, self._link = self._link, None
        assert link is not None
        place = self.replica.place
        return pool.post(link, place, place.prefix + target, headers, body, sink)

    def settle(self, usage: Usage, now_s: float, answered: bool | None) -> None:
        """What was really used, and whether the replica answered at all, as far as anybody can know."""
        self.usage = max(0, usage.prompt_tokens - usage.cached_tokens), usage.completion_tokens
        if self._link is None and answered is not None:
            self.answered = answered
            self.replica.heard(now_s, answered=answered)

    def __enter__(self) -> Grant:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._link is not None:
            self._link.give_back()
        self._over(self)
