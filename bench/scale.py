"""``python -m bench.scale TRACES PART…``: the simulated figures of docs/scale.md, as rows of JSON.

TRACES is a folder with the whole traces (tests/traces/README.md names their sources). Without PART, all are run.
Constants of the rules, which ``openmaas simulate`` takes as they are, are varied here.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from pathlib import Path

import msgspec

from openmaas.core.bounds import BLOCK_TOKENS, PREFIX_BLOCKS_MAX
from openmaas.scheduling import choose
from openmaas.scheduling.fair import QUEUES, Fair
from openmaas.scheduling.turn import Turn
from openmaas.simulation.engine import Engine
from openmaas.simulation.engine import Sequence as Running
from openmaas.simulation.profile import Profile, load
from openmaas.simulation.report import Report, report
from openmaas.simulation.traces import Arrival, dealt, faster, flooded, overlaid, read
from openmaas.simulation.world import World

SEED = 1
GPU, CPU = load("glm-4.6-fp8-4xh200"), load("smollm2-135m-cpu")
#: A share of Mooncake's conversations that one replica of GPU carries at a time to the first token under 15 s.
SPEED_EACH = 0.2


def run(
    what: str,
    crowd: Sequence[Arrival],
    replicas: int,
    policy: str = "affinity",
    queue: str = "fair",
    profile: Profile = GPU,
    believed: int = PREFIX_BLOCKS_MAX,
) -> Report:
    """One run, and its row on standard output."""
    began_s = time.process_time()
    outcome = World(profile, replicas, policy, queue, SEED, believed).run(crowd)
    told = report(outcome, crowd, replicas=replicas, policy=policy, queue=queue, flooded=False, seed=SEED)
    row = {
        "what": what,
        "replicas": replicas,
        "policy": policy,
        "queue": queue,
        "requests": told.requests,
        "refused": told.refused,
        "refused_others": told.refused - sum(each.refused for each in told.tenants if each.name == "flood"),
        "tokens_per_s": round(told.tokens_per_s),
        "hit_rate": told.hit_rate and round(told.hit_rate, 4),
        "ideal": told.hit_rate_ideal and round(told.hit_rate_ideal, 4),
        "ttft_s_p50": round(told.ttft_s(50) or 0, 3),
        "ttft_s_p99": round(told.ttft_s(99) or 0, 3),
        "others_p99": round(told.others_ttft_s_p99 or 0, 3),
        "gap": told.gap,
        "gap_bound": told.gap_bound,
        "gap_bound_vtc": told.gap_bound_vtc,
        "cpu_s": round(time.process_time() - began_s, 1),
    }
    print(json.dumps(row), flush=True)
    return told


def fit(_traces: Path) -> None:
    """The five runs that the profile of a GPU was made from, as one engine has them: all requests come at once."""
    chance = random.Random(SEED)  # noqa: S311 - no secret
    drawn = [(1 + int(chance.expovariate(1 / 214)), 1 + int(chance.expovariate(1 / 200))) for _ in range(1000)]
    for what, requests in (
        ("random 32K", [(32_000, 97)] * 100),
        ("random 4K", [(4_000, 200)] * 500),
        ("random 2K", [(2_000, 100)] * 500),
        ("random 128", [(128, 4)] * 1000),
        ("ShareGPT", drawn),
    ):
        firsts: list[float] = []
        engine = Engine(msgspec.structs.replace(GPU, slots=1024), lambda _: None, partial(_note, firsts))
        for prompt, output in requests:
            engine.join(Running(Turn("bench", prompt, output, told=lambda _: None), output, output), 0.0)
        ended_s = 0.0
        while engine.ends_s < inf:
            ended_s = engine.ends_s
            engine.finish(ended_s)
        print(json.dumps({"what": what, "seconds": round(ended_s, 1), "ttft_s": round(statistics.fmean(firsts), 1)}))


def flood(traces: Path) -> None:
    """One tenant floods eight others on GPUs, and the 27 of the arena on this machine's kind of engine."""
    azure = dealt(faster(read(traces / "AzureLLMInferenceTrace_conv.csv")[:4000], 4), 8, SEED)
    arena = faster(read(traces / "vtc_arena_trace.jsonl"), 0.5)
    for name, crowd, replicas, profile, rate in (
        ("azure, 64 slots", azure, 5, msgspec.structs.replace(GPU, slots=64), 60.0),
        ("azure, 256 slots", azure, 5, msgspec.structs.replace(GPU, slots=256), 60.0),
        ("arena, CPU", arena, 32, CPU, 10.0),
    ):
        run(f"{name}: alone", crowd, replicas, profile=profile)
        for queue in QUEUES:
            run(f"{name}: flooded", flooded(crowd, SEED, rate=rate), replicas, queue=queue, profile=profile)


def share(traces: Path) -> None:
    """What a token still to be said counts in routing."""
    mooncake = faster(read(traces / "mooncake_conversation_trace.jsonl"), 4)
    azure = faster(read(traces / "AzureLLMInferenceTrace_conv.csv")[:8000], 4)
    usual = choose.WRITING_SHARE
    for choose.WRITING_SHARE in (0.0, 0.1, 0.25, 0.5, 1.0, 2.0):
        run(f"mooncake, share {choose.WRITING_SHARE}", mooncake, 20)
        run(f"azure, share {choose.WRITING_SHARE}", azure, 5)
    choose.WRITING_SHARE = usual


def slack(traces: Path) -> None:
    """How far counters may be apart before a held prefix counts no more, on a fleet that is too small."""
    trace = faster(read(traces / "mooncake_conversation_trace.jsonl")[:4000], 1.5)
    usual = QUEUES["fair"]
    for tokens in (0.0, 2_000.0, 8_000.0, 32_000.0, 128_000.0):
        QUEUES["fair"] = _fair(tokens)
        for deal in range(3):  # what is cached depends on who has which prompts
            run(f"mooncake, slack {tokens:.0f}, dealt {deal}", dealt(trace, 8, deal), 4)
    QUEUES["fair"] = usual


def fleet(traces: Path) -> None:
    """How many replicas the same crowd needs, by rule of routing."""
    mooncake = faster(read(traces / "mooncake_conversation_trace.jsonl"), 4)
    for replicas in (16, 18, 20, 24):
        for policy in choose.RULES:
            run("mooncake at 4 times its speed", mooncake, replicas, policy)


def growth(traces: Path) -> None:
    """Fleet and crowd grow together."""
    trace = read(traces / "mooncake_conversation_trace.jsonl")
    for replicas, crowds in ((1, 1), (4, 1), (16, 1), (64, 1), (256, 2), (1024, 2)):
        crowd = faster(overlaid(trace, crowds, SEED), SPEED_EACH * replicas / crowds)
        for policy in ("affinity", "round_robin"):
            run(f"{crowds} × mooncake", crowd, replicas, policy)


def belief(traces: Path) -> None:
    """How much a replica is taken to hold, beside what it holds."""
    mooncake = faster(read(traces / "mooncake_conversation_trace.jsonl"), 4)
    for held in (2_650_000, 520_000):
        for taken in (PREFIX_BLOCKS_MAX, held // BLOCK_TOKENS):
            profile = msgspec.structs.replace(GPU, cache_tokens=held)
            what = f"mooncake, holds {held // BLOCK_TOKENS}, taken for {taken}"
            run(what, mooncake, 20, profile=profile, believed=taken)


def _note(firsts: list[float], running: Running, tokens: int, now_s: float) -> None:
    if running.said == tokens:
        firsts.append(now_s)


def _fair(tokens: float) -> Callable[[], Fair]:
    return lambda: Fair(tokens)


PARTS = {part.__name__: part for part in (fit, flood, share, slack, belief, fleet, growth)}

if __name__ == "__main__":
    for chosen in sys.argv[2:] or PARTS:
        PARTS[chosen](Path(sys.argv[1]))
