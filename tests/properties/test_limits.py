"""The windows of limits beside plain models of them: whatever happens in whatever order, never too much."""

from __future__ import annotations

import asyncio
import math

from hypothesis import example, given
from hypothesis import strategies as st

from openmaas.core.bounds import BORROW_INTERVAL_S, SLICE_GRAIN_MS, WINDOW_GRAINS_A_SECOND, WINDOW_MS, WINDOW_S
from openmaas.limits.borrowing import Grant, RateWant, SeatsWant, lend_rate, lend_seats
from openmaas.limits.counters import Company, Mark, Places, Rate

GRAIN_S = 1 / WINDOW_GRAINS_A_SECOND
pauses_s = st.floats(0, 40, allow_nan=False)


@given(amount=st.integers(1, 20), asked=st.lists(st.tuples(pauses_s, st.integers(1, 8)), max_size=60))
def test_a_window_admits_what_a_list_of_moments_admits_and_never_more(
    amount: int, asked: list[tuple[float, int]]
) -> None:
    rate, now_s, taken = Rate("rpm:organisation:o:*", Company(), amount, "rpm"), 1_000.0, []
    for pause_s, need in asked:
        now_s += pause_s
        surely = sum(n for moment_s, n in taken if moment_s > now_s - WINDOW_S - GRAIN_S - 1e-6)
        truly = sum(n for moment_s, n in taken if moment_s > now_s - WINDOW_S + 1e-6)
        if rate.has(need, now_s):
            assert truly + need <= amount
            rate.take(need, now_s)
            taken.append((now_s, need))
        else:
            assert surely + need > amount
            if need <= amount:  # and at the moment that it names, it fits
                again_s = math.nextafter(now_s + rate.retry_after_s(need, now_s) + 1e-6, math.inf)
                assert Rate.has(rate, need, again_s)
                now_s = again_s


@given(amount=st.integers(1, 50), asked=st.lists(st.tuples(pauses_s, st.integers(1, 20), st.integers(0, 30))))
def test_what_a_request_did_not_use_comes_back_and_what_it_used_more_counts(
    amount: int, asked: list[tuple[float, int, int]]
) -> None:
    rate, now_s, used_at = Rate("tpm:organisation:o:*", Company(), amount, "tpm"), 1_000.0, []
    for pause_s, need, used in asked:
        now_s += pause_s
        if rate.has(need, now_s):
            rate.correct(rate.take(need, now_s), need, used, now_s)
            used_at.append((now_s, used))
        counted = rate.window.total(now_s)
        assert counted >= sum(n for moment_s, n in used_at if moment_s > now_s - WINDOW_S + 1e-6)
        assert counted <= sum(n for moment_s, n in used_at if moment_s > now_s - WINDOW_S - GRAIN_S - 1e-6)


#: A relay asks for so much, uses a part of it before it expires, and gives the rest back at its next call or never.
calls = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.integers(0, 20_000),
        st.integers(0, 30),
        st.floats(0, 1),
        st.floats(0, 1),
        st.booleans(),
    ),
    max_size=60,
)


@given(amount=st.integers(1, 40), calls=calls)
def test_slices_of_many_relays_are_never_used_beyond_the_limit_in_any_minute(
    amount: int, calls: list[tuple[int, int, int, float, float, bool]]
) -> None:
    state: dict[str, int] = {}
    now_ms, used, back = 1_700_000_000_123, [], {relay: [] for relay in range(4)}
    for relay, pause_ms, wish, part, when, honest in calls:
        now_ms += pause_ms
        want = RateWant(counter="c", amount=amount, wish=wish, least=wish // 2, back=tuple(back[relay]))
        grant = lend_rate(state, want, now_ms, 4)
        back[relay] = []
        assert 0 < grant.lasts_ms <= 2 * SLICE_GRAIN_MS
        spent = int(grant.amount * part)
        used.append((now_ms + int(when * (grant.lasts_ms - 1)), spent))
        if honest:
            back[relay].append((grant.grain, grant.amount - spent))
    for end_ms, _ in used:
        assert sum(n for moment_ms, n in used if end_ms - WINDOW_MS < moment_ms <= end_ms) <= amount


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4_000), st.integers(0, 10), st.integers(0, 5)), max_size=60)
)
def test_seats_that_live_relays_hold_are_never_more_than_the_limit(
    calls: list[tuple[int, int, int, int]],
) -> None:
    state: dict[str, list[int]] = {}
    held = dict.fromkeys(range(4), (0, 0))
    now_ms = 1_700_000_000_000
    for relay, pause_ms, wish, more in calls:
        now_ms += pause_ms
        seats, until_ms = held[relay]
        running = min(seats, 2) if until_ms > now_ms else 0
        want = SeatsWant(counter="c", amount=10, wish=wish, least=running + more, kept=running)
        grant = lend_seats(state, want, str(relay), now_ms, 4)
        held[relay] = grant.amount, now_ms + grant.lasts_ms
        assert grant.amount >= running
        assert sum(seats for seats, until_ms in held.values() if until_ms > now_ms) <= 10


#: A relay (of two) begins so many requests, ends so many, asks the lender, or hears its answer.
deeds = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from(("begin", "end", "ask", "hear")),
        st.integers(1, 4),
        st.sampled_from((0, int(BORROW_INTERVAL_S * 1000))),
    ),
    max_size=60,
)


@given(deeds)
@example(  # the first lets two of four seats go, the second takes one, and the first has four requests before it hears
    [
        *((0, deed, 4, 0) for deed in ("begin", "ask", "hear")),
        (0, "begin", 2, 0),
        (0, "ask", 1, int(BORROW_INTERVAL_S * 1000)),
        *((1, deed, 1, 0) for deed in ("begin", "ask", "hear", "begin")),
        (0, "begin", 2, 0),
    ]
)
def test_seats_taken_while_the_lender_is_asked_are_never_more_than_the_limit(
    deeds: list[tuple[int, str, int, int]],
) -> None:
    state: dict[str, list[int]] = {}
    relays = [Places("concurrency:organisation:o:*", Company(2, 0, True), 4) for _ in range(2)]
    under_way: dict[int, tuple[Grant, float]] = {}
    now_ms, loop = 1_700_000_000_000, asyncio.new_event_loop()
    for number, deed, times, pause_ms in deeds:
        now_ms += pause_ms
        relay, now_s = relays[number], now_ms / 1000
        if any(each.taken and now_s >= each.until_s for each in relays):
            break  # not heard for a whole term: its seats are anybody's
        if deed == "begin":
            for _ in range(times):
                if relay.has(1, now_s):
                    relay.take(1, now_s)
                else:
                    relay.waiting.append((1, loop.create_future()))
        elif deed == "end":
            for _ in range(min(times, relay.taken)):
                relay.correct(Mark(0, 0), 1, 0, now_s)
        elif deed == "ask" and number not in under_way and isinstance(want := relay.want(now_s), SeatsWant):
            under_way[number] = lend_seats(state, want, str(number), now_ms, 2), now_s
        elif deed == "hear" and number in under_way:
            relay.granted(*under_way.pop(number))
            relay.wake()
        assert sum(each.taken for each in relays) <= 4
    loop.close()
