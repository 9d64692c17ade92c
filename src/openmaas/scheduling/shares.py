"""Shares and regions: which servers a request may go to at all, and which it should.

A server whose ``share`` is less than 1 is a canary: it gets no more than that of all requests. Each request draws a
lot; a canary's own lots are as many as its share, and go to it while it has a free slot, else to the others, which take
any lot: nobody waits for a canary. While no server without a share answers, the canaries have all lots among them, in
proportion, and one waits for the other. A request that not every server can serve has no lot: it goes to any that can.
Of equal servers those that are near come first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from openmaas.scheduling.turn import Server, Turn


def plain(servers: Sequence[Server]) -> bool:
    """True when there is nothing to deal: all servers take any request, and all are near."""
    return all(server.share >= 1 and server.near for server in servers)


def deal(servers: Sequence[Server]) -> None:
    """Give those that answer their lots."""
    ready = [server for server in servers if server.ready]
    canaries = [server for server in ready if server.share < 1]
    whole = sum(server.share for server in canaries)
    alone = len(canaries) == len(ready)
    scale = 1 / whole if whole and (alone or whole > 1) else 1.0
    at = 0.0
    for server in servers:
        server.lots = (0.0, 1.0)
    for server in canaries:
        server.lots = at, at + server.share * scale
        at += server.share * scale
    if alone and canaries:
        canaries[-1].lots = canaries[-1].lots[0], 1.0  # whatever was rounded off


def drawn(servers: Sequence[Server], turn: Turn) -> list[Server]:
    """The canary whose lot it drew, if it did; one that does not answer takes nobody."""
    return [server for server in servers if server.share < 1 and server.lots[0] <= turn.lot < server.lots[1]]


def preferred(servers: Sequence[Server], turn: Turn) -> Iterator[Sequence[Server]]:
    """Whom to ask first, and next: the canary whose lot it drew, those that are near, all."""
    if canary := drawn(servers, turn):
        yield canary
    yield [server for server in servers if server.near]
    yield servers
