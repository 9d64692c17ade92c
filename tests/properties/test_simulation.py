"""The simulator: one seed is one outcome, no request and no token is lost, and what it is built to show can be seen."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Sequence
from math import inf
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmaas.core.errors import FieldInvalid
from openmaas.scheduling.choose import RULES
from openmaas.scheduling.fair import QUEUES
from openmaas.scheduling.turn import Turn
from openmaas.simulation.engine import Engine
from openmaas.simulation.engine import Sequence as Running
from openmaas.simulation.profile import Profile, load
from openmaas.simulation.report import Report, percentiles, report
from openmaas.simulation.traces import Arrival, dealt, faster, flooded, ideal_hits, overlaid, read
from openmaas.simulation.world import World

MOONCAKE = Path(__file__).parents[1] / "traces" / "mooncake.jsonl"
IDEAL = 0.135  #: share of blocks in that excerpt that came before; of the whole trace 0.366
GPU = load("glm-4.6-fp8-4xh200")
SMALL = Profile(
    name="small",
    source="made up for tests",
    measured=False,
    slots=4,
    chunk_tokens=256,
    memory_tokens=100_000,
    cache_tokens=50_000,
    step_s=0.01,
    sequence_s=0.001,
    held_token_s=1e-7,
    read_token_s=1e-4,
    read_held_token_s=1e-9,
)


def run(
    arrivals: Sequence[Arrival],
    profile: Profile = GPU,
    replicas: int = 4,
    policy: str = "affinity",
    queue: str = "fair",
    seed: int = 1,
) -> Report:
    """The figures of a run."""
    outcome = World(profile, replicas, policy, queue, seed).run(arrivals)
    return report(outcome, arrivals, replicas=replicas, policy=policy, queue=queue, flooded=False, seed=seed)


def test_a_trace_of_mooncake_keeps_its_prefixes() -> None:
    arrivals = read(MOONCAKE)
    assert len(arrivals) == 400
    assert arrivals[0].chain == tuple(range(14))
    seen: set[int] = set()
    hits = blocks = 0
    for each in arrivals:  # chained ids: of a prompt's blocks those that are known stand at its beginning
        hits += len(seen.intersection(each.chain))
        blocks += len(each.chain)
        seen.update(each.chain)
    assert ideal_hits(arrivals) == (hits, blocks)
    assert round(hits / blocks, 3) == IDEAL


@pytest.mark.skipif("OPENMAAS_TEST_TRACES" not in os.environ, reason="wants a folder with the whole traces")
def test_an_unlimited_cache_hits_as_much_of_mooncakes_conversations_as_was_published() -> None:
    hits, blocks = ideal_hits(read(Path(os.environ["OPENMAAS_TEST_TRACES"]) / "mooncake_conversation_trace.jsonl"))
    assert round(hits / blocks, 3) == 0.366


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("a,b\n1,2\n", "none of"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,x\n", "line 2"),
        ('{"timestamp": 0, "input_length": 5, "hash_ids": [1]}\n', "line 1: .*output_length"),
        ('{"timestamp": 0, "input_length": -5, "output_length": 1, "hash_ids": [1]}\n', "negative"),
    ],
)
def test_a_line_that_is_no_request_is_named(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "trace"
    path.write_text(content)
    with pytest.raises(FieldInvalid, match=said):
        read(path)


def test_the_three_forms_of_traces_are_read(tmp_path: Path) -> None:
    azure = tmp_path / "azure.csv"
    azure.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,0\n"
    )
    assert [(round(each.at_s, 4), each.prompt_tokens, each.output_tokens) for each in read(azure)] == [
        (0, 374, 44),
        (4.3146, 396, 1),
    ]
    arena = tmp_path / "arena.jsonl"
    arena.write_text(
        '{"req_id": 1, "adapter_dir": "lora-rank-8-13", "prompt_len": 13, "output_len": 199, "req_time": 2.0}\n'
    )
    assert read(arena) == [Arrival(0, "13", 13, 199)]


def test_a_profile_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "profile.toml"
    path.write_bytes(SMALL.toml())
    assert load(str(path)) == SMALL
    path.write_bytes(SMALL.toml() + b"colour = 1\n")
    with pytest.raises(FieldInvalid, match="colour"):
        load(str(path))
    with pytest.raises(FieldInvalid, match="shipped are"):
        load("nothing-of-this-name")


def test_one_seed_is_one_outcome() -> None:
    arrivals = faster(read(MOONCAKE), 4)
    for policy in RULES:
        first, second = (run(arrivals, policy=policy, seed=7) for _ in range(2))
        assert first == second
    assert run(arrivals, seed=7) != run(arrivals, seed=8)


lengths = st.integers(1, 3_000)
crowds = st.lists(
    st.builds(
        Arrival,
        st.floats(0, 30),
        st.sampled_from("abc"),
        lengths,
        st.integers(1, 200),
        st.lists(st.integers(0, 9), max_size=5).map(tuple),
    ),
    min_size=1,
    max_size=60,
)


@settings(deadline=None, max_examples=60)
@given(crowds, st.sampled_from(list(RULES)), st.sampled_from(list(QUEUES)), st.integers(1, 3))
def test_every_request_is_served_whole_or_refused(crowd: list[Arrival], policy: str, queue: str, replicas: int) -> None:
    crowd.sort(key=lambda each: each.at_s)
    world = World(SMALL, replicas, policy, queue, 1)
    outcome = world.run(crowd)
    assert Counter(each.arrival for each in outcome.served) == Counter(crowd)
    for each in outcome.served:
        if not each.refused:
            assert each.said == each.arrival.output_tokens
            assert 1 <= each.read_tokens <= each.arrival.prompt_tokens
            assert each.arrival.at_s < each.first_s <= each.ended_s
    given_tokens = sum(each.read_tokens + 2 * each.said for each in outcome.served)
    assert sum(outcome.services.given.values()) == given_tokens
    assert all(0 <= busy_s <= outcome.ended_s + 1e-9 for busy_s in outcome.busy_s)
    line = world._line
    assert not len(line.queue)
    assert all((each.running, each.reading, each.writing) == (0, 0, 0) for each in line.servers)


def test_steps_taken_together_take_as_long_as_one_by_one() -> None:
    """A burst in closed form, beside the same formula step by step."""
    ends: list[float] = []
    engine = Engine(SMALL, lambda _: None, lambda each, _tokens, now_s: ends.append(now_s) if not each.unsaid else None)
    wanted = [(1_000, 50), (300, 20), (10, 120)]
    for prompt, output in wanted:
        engine.join(Running(Turn("a", prompt, output, told=lambda _: None), output, output), 0.0)
    while engine.ends_s < inf:
        engine.finish(engine.ends_s)
    now_s, said = 0.0, [0, 0, 0]
    unread, held = [prompt for prompt, _ in wanted], [0, 0, 0]
    slow: list[float] = []
    while any(said[n] < output for n, (_, output) in enumerate(wanted)):
        talking = [n for n, (_, output) in enumerate(wanted) if not unread[n] and 0 < said[n] < output]
        now_s += SMALL.step_s + len(talking) * SMALL.sequence_s + SMALL.held_token_s * sum(held[n] for n in talking)
        room = SMALL.chunk_tokens
        first = next((n for n in range(3) if unread[n]), 0)
        if unread[first] > room:
            pieces = [(first, room)]
        else:
            pieces = []
            for n in range(3):
                tokens = min(room, unread[n])
                room -= tokens
                if tokens:
                    pieces.append((n, tokens))
        for n, tokens in pieces:
            now_s += tokens * (SMALL.read_token_s + SMALL.read_held_token_s * (held[n] + tokens / 2))
            unread[n] -= tokens
            held[n] += tokens
            if not unread[n]:
                talking.append(n)
        for n in talking:
            said[n] += 1
            held[n] += 1
            if said[n] == wanted[n][1]:
                slow.append(now_s)
    assert ends == pytest.approx(slow)


def test_affinity_finds_more_prefixes_than_turns_do_and_no_more_than_there_are() -> None:
    arrivals = faster(read(MOONCAKE), 2)
    near, turns = (run(arrivals, policy=policy, replicas=8) for policy in ("affinity", "round_robin"))
    assert near.hit_rate is not None
    assert turns.hit_rate is not None
    assert near.hit_rate_ideal is not None
    assert turns.hit_rate < near.hit_rate <= near.hit_rate_ideal


def test_crowds_that_are_laid_over_each_other_share_nothing() -> None:
    arrivals = read(MOONCAKE)
    twice = overlaid(arrivals, 2, seed=1)
    assert len(twice) == 800
    assert twice == sorted(twice, key=lambda each: each.at_s)
    hits, blocks = ideal_hits(arrivals)
    assert ideal_hits(twice)[1] == 2 * blocks
    assert ideal_hits(twice)[0] <= 2 * hits  # a copy begins elsewhere, so some of it comes before what it shares


def test_prompts_that_begin_alike_are_dealt_to_one_tenant() -> None:
    owners: dict[int, set[str]] = {}
    for each in dealt(read(MOONCAKE), 5, seed=1):
        owners.setdefault(each.chain[min(1, len(each.chain) - 1)], set()).add(each.tenant)
    assert {len(found) for block, found in owners.items() if block} == {1}


def _crowd(seconds: float) -> list[Arrival]:
    """Four tenants, each a request every two seconds: under half of what two small replicas can do."""
    chance = random.Random(1)
    found = [
        Arrival(chance.uniform(0, seconds), f"t{tenant}", chance.randint(50, 400), chance.randint(20, 80))
        for tenant in range(4)
        for _ in range(int(seconds / 2))
    ]
    return sorted(found, key=lambda each: each.at_s)


def test_who_floods_delays_others_little_in_the_fair_queue_and_much_in_the_other() -> None:
    crowd = _crowd(200)
    flood = flooded(crowd, 1, rate=20.0)
    alone = run(crowd, SMALL, replicas=2).others_ttft_s_p99
    fair, first_come = (run(flood, SMALL, replicas=2, queue=queue) for queue in ("fair", "first_come"))
    assert alone is not None
    assert fair.others_ttft_s_p99 is not None
    assert first_come.others_ttft_s_p99 is not None
    assert fair.others_ttft_s_p99 < first_come.others_ttft_s_p99 / 10
    refused = {each.name: each.refused for each in fair.tenants}
    assert refused.pop("flood") > 0
    assert set(refused.values()) == {0}
    assert fair.tokens_per_s == pytest.approx(first_come.tokens_per_s, rel=0.03)


def test_what_waiting_tenants_are_given_differs_by_less_than_the_bounds() -> None:
    chance = random.Random(2)
    crowd = [
        Arrival(0.0, f"t{number % 5}", chance.randint(50, 2_000), chance.randint(20, 200)) for number in range(400)
    ]
    told = run(crowd, SMALL, replicas=2)
    assert 0 < told.gap <= told.gap_bound_vtc
    assert told.gap <= told.gap_bound


def test_percentiles_are_values_that_were_there() -> None:
    assert percentiles([]) == []
    found = percentiles([3.0, 1.0, 2.0])
    assert (found[0], found[50], found[99], found[100]) == (1.0, 2.0, 3.0, 3.0)


def test_a_report_is_json_that_can_be_read_again() -> None:
    told = run(faster(read(MOONCAKE), 8))
    assert msgspec.json.decode(msgspec.json.encode(told), type=Report) == told
