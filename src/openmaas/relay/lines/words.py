"""What relays of a house say to the one that owns a model's queue, and what it answers: JSON, a line each."""

from __future__ import annotations

import msgspec

from openmaas.scheduling.turn import Turn


class Take(msgspec.Struct, array_like=True, tag=True):
    """A request wants a slot: ``number`` is its name on this connection. ``place`` is of one that has its slot from an
    owner who is gone: the deployment and what the model is called there."""

    number: int
    model: str
    tenant: str
    prompt_tokens: int
    output_tokens: int
    chain: tuple[int, ...]
    band: int
    weight: float
    needs: tuple[str, ...]
    wait_s: float
    place: tuple[str, str] | None = None

    def turn(self, now_s: float) -> Turn:
        """As the rules see it."""
        return Turn(
            self.tenant,
            self.prompt_tokens,
            self.output_tokens,
            chain=self.chain,
            band=self.band,
            weight=self.weight,
            needs=frozenset(self.needs),
            arrived_s=now_s,
            until_s=now_s + self.wait_s,
        )


class Said(msgspec.Struct, array_like=True, tag=True):
    """So many tokens of its answer were said so far."""

    number: int
    tokens: int


class Back(msgspec.Struct, array_like=True, tag=True):
    """Nobody wants it any more, before it was sent; ``unreached`` when its replica could not be."""

    number: int
    unreached: bool


class End(msgspec.Struct, array_like=True, tag=True):
    """It is over: what was said, what was read, and whether the replica answered at all."""

    number: int
    output_tokens: int
    unread_tokens: int
    answered: bool | None  # None: nothing was sent, or nobody waited for it


class Granted(msgspec.Struct, array_like=True, tag=True):
    """It has a slot of this replica."""

    number: int
    place: tuple[str, str]


class Refused(msgspec.Struct, array_like=True, tag=True):
    """It has none, and when to come again."""

    number: int
    ready: bool  # some replica answers: the queue is what was full
    why: str
    retry_after_s: float


Asked = Take | Said | Back | End
Answered = Granted | Refused
asked = msgspec.json.Decoder(Asked)
answered = msgspec.json.Decoder(Answered)


def said(word: Asked | Answered) -> bytes:
    """One line."""
    return msgspec.json.encode(word) + b"\n"
