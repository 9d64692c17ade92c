"""What is scheduled: a ``Turn`` is a request that wants a replica, a ``Server`` a replica as rules see it."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from openmaas.core.bounds import BATCH_LEAVES, BLOCK_TOKENS
from openmaas.core.errors import OpenmaasError
from openmaas.scheduling.prefix import Chain, Prefixes

#: Bands of priority: one is served only while nobody of an earlier one waits.
URGENT, USUAL, BATCH = range(3)
#: What a token of an answer counts beside one of a prompt (VTC, OSDI '24, §4.1: as vendors price them).
OUTPUT_WEIGHT = 2


class Server:
    """``slots`` requests at once, of which ``running`` are taken; ``reading`` and ``writing`` are the tokens of prompts
    and answers that are still to be read and said. ``lacks`` names what it cannot do. See ``shares`` for the ``lots``
    that are its own."""

    __slots__ = (
        "lacks",
        "lots",
        "near",
        "prefixes",
        "reading",
        "ready",
        "running",
        "share",
        "slots",
        "trial",
        "warmth",
        "weight",
        "writing",
    )

    def __init__(
        self,
        slots: int,
        prefixes: Prefixes,
        *,
        weight: float = 1.0,
        share: float = 1.0,
        near: bool = True,
        lacks: frozenset[str] = frozenset(),
    ) -> None:
        self.slots = slots
        self.prefixes = prefixes
        self.weight = weight  # its speed beside the others'
        self.share = share  # of all requests, the most that it gets
        self.near = near  # others are used while none of these has a free slot
        self.lots = (0.0, 1.0)
        self.lacks = lacks
        self.ready = True
        self.warmth = 1.0  # less than 1 while it has just begun: see ``health``
        self.trial = False  # it had failed, and gets one request to show that it works
        self.running = self.reading = self.writing = 0

    def takes(self, turn: Turn) -> bool:
        """Whether it could serve ``turn`` now."""
        slots = 1 if self.trial else self.slots
        if turn.band == BATCH and slots > 1:
            slots -= BATCH_LEAVES
        if not self.ready or self.running >= slots:
            return False
        return not turn.needs & self.lacks if turn.needs else self.lots[0] <= turn.lot < self.lots[1]

    def cached(self, turn: Turn) -> int:
        """The tokens of its prompt that need not be read again."""
        return min(self.prefixes.match(turn.chain) * BLOCK_TOKENS, turn.prompt_tokens) if turn.chain else 0


def _nobody(_turn: Turn) -> None:
    """Nobody is told: whoever asks looks."""


class Turn:
    """One request: of whom it is, how large, since when and until when it waits. ``told`` is called once, when a server
    was found (``server``) or none will be (``error``)."""

    __slots__ = (
        "arrived_s",
        "band",
        "chain",
        "charged",
        "error",
        "lot",
        "needs",
        "output_tokens",
        "passed",
        "prompt_tokens",
        "reading",
        "said",
        "server",
        "tenant",
        "told",
        "until_s",
        "weight",
        "writing",
    )

    def __init__(
        self,
        tenant: str,
        prompt_tokens: int,
        output_tokens: int,
        *,
        told: Callable[[Turn], None] = _nobody,
        chain: Chain = (),
        band: int = USUAL,
        weight: float = 1.0,
        needs: frozenset[str] = frozenset(),
        arrived_s: float = 0.0,
        until_s: float = inf,
    ) -> None:
        self.tenant = tenant
        self.prompt_tokens = prompt_tokens
        self.output_tokens = output_tokens  # as many as are expected
        self.chain = chain
        self.band = band
        self.weight = weight
        self.needs = needs
        self.arrived_s, self.until_s = arrived_s, until_s
        self.told = told
        self.lot = 0.0  # what it drew, of 0 to 1, where servers have shares
        self.passed = 0  # how often another of its tenant's went first
        self.server: Server | None = None
        self.error: OpenmaasError | None = None
        self.reading = self.writing = 0  # what of it its server still has to do
        self.charged = self.said = 0  # weighted tokens, and tokens of its answer, since it was granted

    @property
    def size(self) -> int:
        """What it is expected to use, in the weighted tokens of the queue."""
        return self.prompt_tokens + OUTPUT_WEIGHT * self.output_tokens
