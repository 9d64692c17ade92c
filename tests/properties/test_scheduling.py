"""Who is served next, and where: the rules themselves, with no clock and no socket."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmaas.core.bounds import (
    BLOCK_BYTES,
    BLOCK_TOKENS,
    FAILURES_MAX,
    PASSED_MAX,
    REST_S,
    SLACK_TOKENS,
    WARMTH_LEAST,
)
from openmaas.core.errors import NoReplica, OpenmaasError, QueueFull
from openmaas.dialects.dialect import SPECIAL
from openmaas.dialects.openai.request import Ask
from openmaas.engines.spec import LACKS
from openmaas.scheduling.choose import LOAD_BOUND, RULES
from openmaas.scheduling.fair import Fair
from openmaas.scheduling.health import Health
from openmaas.scheduling.line import Line
from openmaas.scheduling.prefix import Prefixes, chain_of
from openmaas.scheduling.shares import deal
from openmaas.scheduling.turn import BATCH, OUTPUT_WEIGHT, URGENT, USUAL, Server, Turn


def turn(tenant: str = "a", prompt: int = 100, output: int = 10, **more: object) -> Turn:
    return Turn(tenant, prompt, output, **more)  # type: ignore[arg-type]


def line_of(*slots: int, rule: str = "affinity", queue: str = "fair") -> Line:
    line = Line("m", rule, queue)
    line.servers = [Server(each, Prefixes(1000)) for each in slots]
    return line


def ends(line: Line, done: Turn, now_s: float = 0.0) -> None:
    line.end(done, done.output_tokens, now_s, done.prompt_tokens)


# ── prefixes ───────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.binary(max_size=6 * BLOCK_BYTES), st.binary(max_size=6 * BLOCK_BYTES), st.integers(0, 5))
def test_two_prompts_share_as_many_blocks_as_they_share_whole_blocks_of_bytes(
    one: bytes, two: bytes, same: int
) -> None:
    two = one[: same * BLOCK_BYTES] + two
    held = Prefixes(100)
    held.read(chain_of(one))
    shared = 0
    while (
        one[: (shared + 1) * BLOCK_BYTES] == two[: (shared + 1) * BLOCK_BYTES]
        and len(one) >= (shared + 1) * BLOCK_BYTES
    ):
        shared += 1
    assert held.match(chain_of(two)) == shared


@given(st.lists(st.lists(st.integers(0, 20), max_size=12), max_size=40), st.integers(1, 15))
def test_what_is_held_is_bounded_and_of_each_prompt_its_beginning(prompts: list[list[int]], most: int) -> None:
    held = Prefixes(most)
    for words in prompts:
        chain = chain_of(b"".join(bytes([word]) * BLOCK_BYTES for word in words))
        held.read(chain)
        assert len(held) <= most
        assert held.match(chain) == min(len(chain), most)  # the last one is held as far as there is room


def test_what_was_needed_longest_ago_is_forgotten_first() -> None:
    held = Prefixes(4)
    for chain in ((1, 2), (3, 4), (1, 2), (5, 6)):
        held.read(chain)
    assert (held.match((1, 2)), held.match((3, 4)), held.match((5, 6))) == (2, 0, 2)


# ── choosing ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_held_prefix_wins_while_it_is_worth_more_than_the_queue_before_it() -> None:
    line = line_of(8, 8)
    holds, idle = line.servers
    chain = tuple(range(4))
    holds.prefixes.read(chain)
    asked = [turn(prompt=4 * BLOCK_TOKENS + 10, chain=chain) for _ in range(3)]
    holds.reading = 4 * BLOCK_TOKENS - 1
    line.enter(asked[0], 0)
    assert asked[0].server is holds
    holds.reading = 4 * BLOCK_TOKENS + 1
    line.enter(asked[1], 0)
    assert asked[1].server is idle
    assert idle.prefixes.match(chain) == 4  # which reads it now, and will hold it


def test_ties_are_broken_by_chance() -> None:
    seen = set()
    for _ in range(40):
        line, asked = line_of(1, 1, 1), turn()
        line.enter(asked, 0)
        seen.add(line.servers.index(asked.server))  # type: ignore[arg-type]
    assert seen == {0, 1, 2}


def test_work_is_held_until_it_is_done() -> None:
    line, asked = line_of(4, 4), turn(prompt=1000, output=100)
    line.enter(asked, 0)
    server = asked.server
    assert server is not None
    assert (server.running, server.reading, server.writing) == (1, 1000, 100)
    line.read(asked)
    line.wrote(asked, 40)
    assert (server.reading, server.writing) == (0, 60)
    line.wrote(asked, 100)  # more than was expected
    assert server.writing == 0
    line.end(asked, 140, 1, 1000)
    assert (server.running, server.reading, server.writing) == (0, 0, 0)


def test_a_replica_twice_as_fast_is_given_about_twice_as_much() -> None:
    line = line_of(1000, 1000)
    line.servers[0].weight = 2.0
    for _ in range(300):
        line.enter(turn(), 0)
    fast, slow = [server.running for server in line.servers]
    assert 1.8 < fast / slow < 2.2


@pytest.mark.parametrize("rule", list(RULES))
def test_no_rule_gives_a_request_to_a_replica_that_cannot_take_it(rule: str) -> None:
    chance = random.Random(7)
    line = line_of(2, 3, 4, 5, rule=rule)
    line.servers[1].ready = False
    line.servers[2].lacks = frozenset({"logit_bias"})
    running: list[Turn] = []
    for number in range(400):
        needs = frozenset({"logit_bias"}) if chance.random() < 0.3 else frozenset()
        asked = turn(str(number % 5), chain=(chance.randrange(9),), needs=needs)
        line.enter(asked, number)
        running = [each for each in (*running, asked) if each.server is not None]
        for server in line.servers:
            assert server.running <= server.slots
        assert line.servers[1].running == 0
        assert not any(each.server is line.servers[2] and each.needs for each in running)
        if running and chance.random() < 0.6:
            ends(line, running.pop(chance.randrange(len(running))), number)


def test_bounded_hashing_keeps_a_prompt_where_it_was_and_no_replica_above_its_share() -> None:
    line = line_of(*[100] * 8, rule="bounded_hash")
    alone = []
    for _ in range(5):
        asked = turn(chain=(42,))
        line.enter(asked, 0)
        alone.append(asked.server)
        ends(line, asked)
    assert len(set(alone)) == 1
    for _ in range(80):
        line.enter(turn(chain=(42,)), 0)
    assert max(server.running for server in line.servers) <= LOAD_BOUND * 81 / 8 + 1


# ── the fair queue ─────────────────────────────────────────────────────────────────────────────────────────────────


def served(
    line: Line, rounds: int, chance: random.Random, tenants: dict[str, tuple[int, int]]
) -> tuple[Counter[str], int]:
    """Keep all ``tenants`` (prompt and output tokens of each request) waiting for ``rounds`` answers; returns what each
    was given and the most that one request can use."""
    got: Counter[str] = Counter()
    running: list[Turn] = []

    def told(granted: Turn) -> None:
        if granted.server is not None:
            running.append(granted)

    for name, (prompt, output) in tenants.items():
        for _ in range(40):
            line.enter(Turn(name, prompt, output, told=told), 0)
    for number in range(rounds):
        done = running.pop(chance.randrange(len(running)))
        ends(line, done, number)
        got[done.tenant] += done.prompt_tokens + OUTPUT_WEIGHT * done.output_tokens
        line.enter(Turn(done.tenant, done.prompt_tokens, done.output_tokens, told=told), number)
    return got, max(prompt + OUTPUT_WEIGHT * output for prompt, output in tenants.values())


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 4000), st.integers(1, 2000)), min_size=2, max_size=6),
    st.integers(1, 8),
    st.integers(0, 99),
)
def test_tenants_that_wait_are_given_the_same_within_the_bound(
    sizes: list[tuple[int, int]], slots: int, seed: int
) -> None:
    """VTC, Theorem 4.4, with the slack of the deficit: 2 × (slack + what one may have under way)."""
    line = line_of(slots)
    got, largest = served(line, 300, random.Random(seed), {str(number): size for number, size in enumerate(sizes)})
    assert max(got.values()) - min(got[str(number)] for number in range(len(sizes))) <= 2 * (
        SLACK_TOKENS + slots * largest
    )


def test_one_who_floods_waits_behind_one_who_asks_once() -> None:
    line = line_of(1)
    first = turn("flood")
    line.enter(first, 0)
    flood = [turn("flood") for _ in range(100)]
    for each in flood:
        line.enter(each, 0)
    line.read(first)
    line.wrote(first, 2000)
    quiet = turn("quiet")
    line.enter(quiet, 0)
    ends(line, first)
    assert quiet.server is not None
    assert not any(each.server for each in flood)


def test_who_comes_back_has_saved_nothing_up() -> None:
    queue = Fair(slack_tokens=0)
    line = line_of(1)
    line.queue = queue
    served(line, 50, random.Random(1), {"busy": (100, 10)})
    line.enter(turn("idle"), 0)
    assert queue.counter("idle", USUAL) >= queue.counter("busy", USUAL) - 2 * 120


def test_a_tenant_of_three_times_the_weight_is_given_three_times_as_much() -> None:
    line, got, running = line_of(2), Counter[str](), []

    def told(granted: Turn) -> None:
        running.append(granted)

    for name, weight in (("gold", 3.0), ("plain", 1.0)):
        for _ in range(200):
            line.enter(Turn(name, 200, 50, told=told, weight=weight), 0)
    for _ in range(160):
        done = running.pop(0)
        ends(line, done)
        got[done.tenant] += 1
    assert 2.5 < got["gold"] / got["plain"] < 3.5


def test_among_equals_the_longest_held_prefix_goes_first_and_nobody_is_passed_for_ever() -> None:
    line = line_of(1)
    line.servers[0].prefixes.read((1, 2, 3))
    busy = turn()
    line.enter(busy, 0)
    cold = turn(prompt=3 * BLOCK_TOKENS)
    warm = [turn(prompt=3 * BLOCK_TOKENS, chain=(1, 2, 3)) for _ in range(PASSED_MAX + 3)]
    for each in (cold, *warm):
        line.enter(each, 0)
    order, running = [], busy
    while True:
        ends(line, running)
        granted = [each for each in (cold, *warm) if each.server is not None and each not in order]
        if not granted:
            break
        (running,) = granted
        order.append(running)
    assert order[0] is warm[0]
    assert order.index(cold) == PASSED_MAX
    assert len(order) == len(warm) + 1


def test_earlier_bands_go_first_and_batch_work_leaves_a_slot() -> None:
    line = line_of(2)
    batch = [turn("jobs", band=BATCH) for _ in range(3)]
    for each in batch:
        line.enter(each, 0)
    assert [each.server is not None for each in batch] == [True, False, False]
    usual = turn()
    line.enter(usual, 0)
    assert usual.server is not None  # the slot that was left
    waiting, urgent = turn(), turn("c", band=URGENT)
    line.enter(waiting, 0)
    line.enter(urgent, 0)
    ends(line, usual)
    assert urgent.server is not None
    assert waiting.server is None
    ends(line, batch[0])
    assert waiting.server is not None
    assert batch[1].server is None


def test_who_floods_a_full_queue_has_to_go_and_the_others_stay() -> None:
    line = line_of(1)
    line.queue = Fair(own_max=50, all_max=20)
    line.enter(turn(), 0)
    quiet = [turn(f"q{number}") for number in range(3)]
    flood = [turn("flood") for _ in range(40)]
    for each in (*flood[:17], *quiet, *flood[17:]):
        line.enter(each, 0)
    assert not any(each.error for each in quiet)
    assert len(line.queue) == 20
    refused = [each for each in flood if each.error is not None]
    assert len(refused) == 40 - 17
    assert all(isinstance(each.error, QueueFull) and each.error.retry_after_s for each in refused)


def test_who_cannot_be_served_in_time_is_told_at_once_when_to_come_again() -> None:
    line, now_s = line_of(1), 0.0
    running = turn("a", 100, 0)
    line.enter(running, now_s)
    waiting = [turn("a", 100, 0, until_s=1e9) for _ in range(60)]
    for each in waiting:
        line.enter(each, now_s)
    for each in waiting[:10]:  # a hundred tokens a second
        now_s += 1
        ends(line, running, now_s)
        assert each.server is not None
        running = each
    hurried = turn("a", 100, 0, arrived_s=now_s, until_s=now_s + 5)
    line.enter(hurried, now_s)
    assert isinstance(hurried.error, QueueFull)
    assert hurried.error.retry_after_s is not None
    assert 40 <= hurried.error.retry_after_s <= 60
    patient = turn("b", 100, 0, arrived_s=now_s, until_s=now_s + 5)
    line.enter(patient, now_s)
    assert patient.error is None  # another tenant's turn comes sooner
    line.expire(now_s + 6)
    assert patient.error is not None
    assert not any(each.error for each in waiting)


def test_what_some_replicas_lack_goes_to_one_that_has_it_and_what_all_lack_to_any_which_says_so() -> None:
    line, asked = line_of(4, 4), turn(needs=frozenset({"echo"}))
    line.servers[0].lacks = frozenset({"echo", "suffix"})
    line.servers[1].reading = 10_000  # busier
    line.enter(asked, 0)
    assert asked.server is line.servers[1]
    line.servers[1].lacks = frozenset({"suffix"})
    nobody_can = turn(needs=frozenset({"suffix"}))
    line.enter(nobody_can, 0)
    assert nobody_can.server is line.servers[0]


def test_all_that_an_engine_lacks_is_looked_for_in_a_request() -> None:
    assert {name for lacks in LACKS.values() for name in lacks} <= SPECIAL
    body = b'{"model":"m","prompt":"p","echo":true,"suffix":null,"logprobs":0,"logit_bias":{}}'
    assert Ask("completions", body).needs == {"echo", "logprobs"}


@pytest.mark.parametrize("way", ["they left", "their time was up", "a replica came"])
def test_an_idle_hour_says_nothing_about_the_speed_of_a_line(way: str) -> None:
    line, now_s = line_of(1), 0.0
    running = turn("a", 100, 0)
    line.enter(running, now_s)
    for _ in range(5):  # a hundred tokens a second
        waiting = turn("a", 100, 0, until_s=50)
        line.enter(waiting, now_s)
        now_s += 1
        ends(line, running, now_s)
        running = waiting
    last = turn("a", 100, 0, until_s=50)
    line.enter(last, now_s)
    if way == "they left":
        line.leave(last)
    elif way == "their time was up":
        line.expire(51)
    else:
        line.servers.append(Server(1, Prefixes(10)))
        line.serve()
    ends(line, running, now_s + 3600)
    line.servers = []
    asked = [turn("a", 100, 0, arrived_s=4000, until_s=4060) for _ in range(2)]
    for each in asked:
        line.enter(each, 4000)
    assert [each.error for each in asked] == [None, None]


def test_without_a_replica_that_answers_the_refusal_says_so() -> None:
    line, asked = line_of(1), turn(until_s=1.0)
    line.servers[0].ready = False
    line.enter(asked, 0)
    line.expire(2.0)
    error: OpenmaasError | None = asked.error
    assert isinstance(error, NoReplica)


def test_what_was_charged_by_an_estimate_is_put_right() -> None:
    line, queue = line_of(1), Fair()
    line.queue = queue
    asked = turn("a", prompt=1000, output=100)
    line.enter(asked, 0)
    line.end(asked, 10, 1, 200)  # it read 200 tokens, and said 10
    again = turn("a", prompt=1000)
    line.enter(again, 1)
    line.end(again, 0, 2, 1000)
    assert queue.counter("a", USUAL) == 200 + OUTPUT_WEIGHT * 10 + 1000


# ── health ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_replica_is_out_after_three_failures_in_a_row_and_rests_longer_each_time() -> None:
    health = Health()
    assert [health.failed(0, unreachable=False) for _ in range(FAILURES_MAX)] == [False, False, True]
    assert health.out_until_s == REST_S
    assert health.failed(10, unreachable=False)
    assert health.out_until_s == 10 + 2 * REST_S
    health.worked()
    assert not health.failed(20, unreachable=False)
    assert health.failed(20, unreachable=True)


def test_a_fresh_replica_is_taken_to_be_slow_at_first() -> None:
    health = Health()
    assert health.warmth(5) == 1
    health.came(5)
    assert health.warmth(5) == WARMTH_LEAST
    assert WARMTH_LEAST < health.warmth(10) < health.warmth(14) < 1 == health.warmth(16)


def served_by(line: Line, requests: int) -> list[int]:
    """How many requests each server got, each answered before the next comes."""
    counts = [0] * len(line.servers)
    for _ in range(requests):
        one = turn()
        line.enter(one, 0)
        assert one.server is not None
        counts[line.servers.index(one.server)] += 1
        ends(line, one)
    return counts


@given(st.lists(st.sampled_from([1.0, 0.05, 0.3, 0.5]), min_size=1, max_size=5))
def test_lots_are_dealt_whole_and_a_canary_has_its_share(shares: list[float]) -> None:
    line = line_of(*(4 for _ in shares))
    for server, share in zip(line.servers, shares, strict=True):
        server.share = share
    deal(line.servers)
    canaries = [server for server in line.servers if server.share < 1]
    for lot in (0.0, 0.01, 0.5, 0.999999):
        one = turn()
        one.lot = lot
        assert any(server.takes(one) for server in line.servers)
        assert sum(server.takes(one) for server in canaries) <= 1
    if len(canaries) < len(shares) and sum(server.share for server in canaries) <= 1:
        for server in canaries:
            assert server.lots[1] - server.lots[0] == pytest.approx(server.share)


def test_a_canary_gets_its_share_and_all_when_nothing_else_answers() -> None:
    line = line_of(4, 4)
    line.servers[1].share = 0.2
    line.servers = line.servers
    _, canary = served_by(line, 2_000)
    assert 300 < canary < 500
    line.servers[0].ready = False
    assert served_by(line, 20) == [0, 20]
    line.servers[0].ready, line.servers[1].ready = True, False
    assert served_by(line, 20) == [20, 0]


def test_nobody_waits_for_a_canary_that_is_full_and_it_is_given_no_more_than_its_share() -> None:
    line = line_of(200, 1)
    line.servers[1].share = 0.5
    line.servers = line.servers
    many = [turn() for _ in range(100)]
    for each in many:
        line.enter(each, 0)
    assert all(each.server is not None for each in many)
    assert line.servers[1].running == 1
    full = line_of(1, 200)
    full.servers[1].share = 0.1
    full.servers = full.servers
    many = [turn() for _ in range(100)]
    for each in many:
        full.enter(each, 0)
    assert 0 < full.servers[1].running < 40  # a tenth, though all the others wait


def test_what_a_request_needs_counts_before_the_lot_it_drew() -> None:
    line = line_of(4, 4)
    line.servers[1].share = 0.05
    line.servers[0].lacks = frozenset({"logit_bias"})
    line.servers[1].ready = False
    line.servers = line.servers
    many = [turn(needs=frozenset({"logit_bias"})) for _ in range(4)]
    for each in many:
        line.enter(each, 0)
    assert not any(each.server for each in many)
    line.servers[1].ready = True
    line.serve()
    assert all(each.server is line.servers[1] for each in many)


def test_a_canary_that_was_promoted_while_it_was_away_is_one_no_more() -> None:
    line = line_of(4, 4)
    line.servers[1].share = 0.05
    line.servers = line.servers
    line.servers[1].ready = False
    line.servers[1].share = 1.0
    line.servers = line.servers
    line.servers[1].ready = True
    one, other = served_by(line, 200)
    assert one > 50 < other


def test_servers_of_another_region_are_used_while_no_near_one_has_room() -> None:
    line = line_of(2, 2)
    line.servers[0].near = False
    line.servers = line.servers
    many = [turn() for _ in range(5)]
    for each in many:
        line.enter(each, 0)
    assert [each.server for each in many] == [*[line.servers[1]] * 2, *[line.servers[0]] * 2, None]
    ends(line, many[0])
    assert many[4].server is line.servers[1]
