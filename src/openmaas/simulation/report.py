"""What a simulated run shows: figures of all, of each tenant, and how fair it was. Seconds, and rates a second."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import msgspec

from openmaas.core.bounds import SLACK_TOKENS
from openmaas.simulation.traces import FLOOD, Arrival, ideal_hits
from openmaas.simulation.world import Outcome, Served


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """Of one tenant. ``given`` are weighted tokens: a prompt's that were read, and twice an answer's."""

    name: str
    requests: int
    refused: int
    ttft_s_p50: float | None  #: of those that were served; None when none was
    ttft_s_p99: float | None
    given: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Of one run."""

    replicas: int
    policy: str
    queue: str
    flooded: bool
    seed: int
    requests: int
    refused: int
    seconds: float  #: from the first request to the last token
    tokens_per_s: float  #: prompts and answers that were served, cached tokens too
    output_tokens_per_s: float
    busy: float  #: share of all engines' time in which they had something to do
    hit_rate: float | None  #: blocks of served prompts that were in a cache; None when the trace has no blocks
    hit_rate_ideal: float | None  #: in one cache without bounds
    ttft_s_percentiles: list[float]  #: 0 to 100; empty when nothing was served
    others_ttft_s_p99: float | None  #: of everybody but who floods
    gap: int  #: the most that two tenants, both waiting, were given apart, in weighted tokens
    gap_bound_vtc: int  #: 2 · max(longest prompt, 2 · most tokens under way)
    gap_bound: float  #: ours: 2 · (slack + the most that one tenant had under way); of fair queues only
    tenants: list[Tenant]

    def ttft_s(self, percentile: int) -> float | None:
        """Time to the first token."""
        return self.ttft_s_percentiles[percentile] if self.ttft_s_percentiles else None


def report(
    outcome: Outcome, arrivals: Sequence[Arrival], *, replicas: int, policy: str, queue: str, flooded: bool, seed: int
) -> Report:
    """The figures of ``outcome``, which became of ``arrivals``."""
    done = [each for each in outcome.served if not each.refused]
    seconds = outcome.ended_s or 1.0
    hits, blocks = sum(each.cached_blocks for each in done), sum(len(each.arrival.chain) for each in done)
    best, all_blocks = ideal_hits(arrivals)
    output_tokens = sum(each.said for each in done)
    services = outcome.services
    others = percentiles([each.ttft_s for each in done if each.arrival.tenant != FLOOD])
    return Report(
        replicas=replicas,
        policy=policy,
        queue=queue,
        flooded=flooded,
        seed=seed,
        requests=len(outcome.served),
        refused=len(outcome.served) - len(done),
        seconds=outcome.ended_s,
        tokens_per_s=(sum(each.arrival.prompt_tokens for each in done) + output_tokens) / seconds,
        output_tokens_per_s=output_tokens / seconds,
        busy=sum(outcome.busy_s) / len(outcome.busy_s) / seconds,
        hit_rate=hits / blocks if blocks else None,
        hit_rate_ideal=best / all_blocks if all_blocks else None,
        ttft_s_percentiles=percentiles([each.ttft_s for each in done]),
        others_ttft_s_p99=others[99] if others else None,
        gap=services.gap,
        gap_bound_vtc=services.bound,
        gap_bound=2 * (SLACK_TOKENS + services.own_max),
        tenants=_tenants(outcome),
    )


def percentiles(values: Sequence[float]) -> list[float]:
    """0 to 100, each the least value that so many of a hundred do not exceed; none of none."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return [ordered[-(-last * share // 100)] for share in range(101)] if ordered else []


def _tenants(outcome: Outcome) -> list[Tenant]:
    of: dict[str, list[Served]] = defaultdict(list)
    for each in outcome.served:
        of[each.arrival.tenant].append(each)
    found = []
    for name, mine in sorted(of.items()):
        spread = percentiles([each.ttft_s for each in mine if not each.refused])
        found.append(
            Tenant(
                name=name,
                requests=len(mine),
                refused=sum(each.refused for each in mine),
                ttft_s_p50=spread[50] if spread else None,
                ttft_s_p99=spread[99] if spread else None,
                given=outcome.services.given[name],
            )
        )
    return found
