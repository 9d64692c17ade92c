"""The arithmetic of money at its edges: each number here was worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmaas.core.errors import FieldInvalid
from openmaas.core.money import (
    AMOUNT_NANOS_MAX,
    MILLION,
    WHOLE,
    charge_nanos,
    check_currency,
    parse_amount,
    share_nanos,
    show_amount,
    worst_nanos,
)
from openmaas.core.terms import Band, Hours, Terms, flat
from openmaas.core.usage import Usage
from openmaas.ledger.legs import rest_worst, split
from openmaas.ledger.selling.explaining import percent


def test_a_line_is_rounded_half_up_once() -> None:
    assert [charge_nanos(units, 500_000) for units in (0, 1, 2, 3)] == [0, 1, 1, 2]
    assert charge_nanos(1, 499_999) == 0
    half = WHOLE // 2
    assert [charge_nanos(units, MILLION, half) for units in (1, 2, 3)] == [1, 1, 2]
    assert charge_nanos(1, MILLION, half - 1) == 0
    assert charge_nanos(3, MILLION, WHOLE) == charge_nanos(3, MILLION) == 3


def test_a_worst_case_is_rounded_up() -> None:
    assert [worst_nanos(1, price) for price in (0, 1, MILLION, MILLION + 1)] == [0, 1, 1, 2]
    assert worst_nanos(10, MILLION, WHOLE // 4) == 3


def test_a_share_is_rounded_half_up() -> None:
    assert [share_nanos(1, part, 4) for part in range(5)] == [0, 0, 1, 1, 1]
    assert share_nanos(7, 3, 7) == 3


def test_amounts_are_read_to_the_ninth_decimal() -> None:
    assert parse_amount("12.5") == 12_500_000_000
    assert parse_amount("-0.000000001") == -1
    assert parse_amount("1.0000000000") == 1_000_000_000
    assert parse_amount("4000000000") == AMOUNT_NANOS_MAX
    for wrong in ("1.0000000001", "4000000000.000000001", "1e3", "", ".5", "1_0"):
        with pytest.raises(FieldInvalid):
            parse_amount(wrong)
    assert [show_amount(n, "CNY") for n in (1_500_000_000, -1, 10)] == [
        "1.50 CNY",
        "-0.000000001 CNY",
        "0.00000001 CNY",
    ]
    for wrong in ("cny", "CN", "CNYX"):
        with pytest.raises(FieldInvalid):
            check_currency(wrong)


BAND = Band(8 * MILLION, 2 * MILLION, 32 * MILLION)


def test_cached_tokens_are_a_part_of_the_prompt_and_thought_a_part_of_the_output() -> None:
    assert BAND.charge(Usage(10, 5, 4), WHOLE) == 6 * 8 + 4 * 2 + 5 * 32
    assert BAND.charge(Usage(10, 5, 99), WHOLE) == 10 * 2 + 5 * 32
    thinks = Band(8 * MILLION, 2 * MILLION, 32 * MILLION, 16 * MILLION)
    assert thinks.charge(Usage(1, 5, 0, 3), WHOLE) == 8 + 2 * 32 + 3 * 16
    assert thinks.charge(Usage(1, 5, 0, 9), WHOLE) == 8 + 5 * 16
    assert thinks.worst(1, 5, WHOLE) == 8 + 5 * 32 + 2  # four lines can be rounded up
    dear = Band(8 * MILLION, 2 * MILLION, 32 * MILLION, 64 * MILLION)
    assert dear.worst(1, 5, WHOLE) == 8 + 5 * 64 + 2
    assert BAND.worst(1, 5, WHOLE) == 8 + 5 * 32 + 1


def test_what_is_free_needs_no_money() -> None:
    assert flat(0, 0).worst(10, 5, WHOLE) == 0
    assert Band(0, 0, 0, 0).worst(10, 5, WHOLE) == 0
    assert Band(8 * MILLION, 2 * MILLION, 32 * MILLION, 16 * MILLION).worst(10, 5, 0) == 0  # hours that give it away
    assert Band(0, 0, 32 * MILLION).worst(10, 5, WHOLE) == 5 * 32
    assert Band(8 * MILLION, 0, 0, 0).worst(10, 5, WHOLE) == 10 * 8 + 1


BANDS = Terms(
    (
        Band(1 * MILLION, MILLION, 1 * MILLION),
        Band(2 * MILLION, MILLION, 2 * MILLION, output_from=10),
        Band(5 * MILLION, MILLION, 5 * MILLION, input_from=100),
        Band(4 * MILLION, MILLION, 4 * MILLION, input_from=1_000),
    ),
    units={"call": 7 * MILLION},
)


def test_a_request_is_priced_whole_in_the_last_band_that_it_reaches() -> None:
    for prompt, completion, price in ((99, 9, 1), (99, 10, 2), (100, 9, 5), (100, 10, 5), (999, 1, 5), (1_000, 1, 4)):
        assert BANDS.charge(Usage(prompt, completion)) == price * (prompt + completion), (prompt, completion)
    assert BANDS.charge(Usage(1, 1, units=(("call", 3), ("image", 5)))) == 2 + 21


def test_a_hold_is_taken_at_the_dearest_band_that_can_be_reached() -> None:
    assert BANDS.worst(99, 9) == 108 + 1
    assert BANDS.worst(99, 10) == 2 * 109 + 1
    assert BANDS.worst(100, 0) == 5 * 100 + 1
    assert BANDS.worst(1_000, 0) == 5 * 1_000 + 1  # it may end in the dearer band before


def test_a_hold_has_the_units_that_a_request_may_use_each_rounded_up() -> None:
    assert BANDS.worst(99, 9, units=(("call", 3), ("image", 5))) == 108 + 1 + 21
    calls = Terms((BANDS.bands[0],), units={"call": 7 * MILLION, "image": 1})
    assert calls.worst(0, 0, WHOLE // 2, (("call", 1), ("image", 1))) == 4 + 1


@given(st.integers(0, 2_000), st.integers(0, 30), st.floats(0, 1), st.floats(0, 1), st.integers(0, WHOLE))
def test_no_smaller_use_costs_more_than_the_worst(prompt: int, output: int, p: float, o: float, factor: int) -> None:
    used = Usage(int(prompt * p), int(output * o), int(prompt * p * o))
    assert BANDS.charge(used, factor) <= BANDS.worst(prompt, output, factor)


def at(day: int, hour: int, minute: int = 0) -> int:
    """A moment of March 2027 (the 1st is a Monday) in Shanghai."""
    return round(datetime(2027, 3, day, hour, minute, tzinfo=UTC).timestamp() * 1000) - 8 * 3_600_000


def test_hours_have_a_first_minute_and_no_last_one() -> None:
    peak = Hours(14 * 60, 18 * 60, "Asia/Shanghai", 3 * MILLION)
    assert [peak.hold(at(1, *time)) for time in ((13, 59), (14, 0), (17, 59), (18, 0))] == [False, True, True, False]


def test_hours_past_midnight_belong_to_the_day_they_began_on() -> None:
    night = Hours(22 * 60, 2 * 60, "Asia/Shanghai", MILLION // 2, days=(0,))
    held = [night.hold(at(*time)) for time in ((1, 21, 59), (1, 22), (2, 1, 59), (2, 2), (1, 1), (2, 22), (3, 1))]
    assert held == [False, True, True, False, False, False, False]


def test_the_first_hours_that_hold_count_and_a_batch_halves_what_they_say() -> None:
    hours = (Hours(14 * 60, 18 * 60, "Asia/Shanghai", 3 * MILLION), Hours(0, 1440, "Asia/Shanghai", 2 * MILLION))
    terms = Terms(flat(1, 1).bands, hours=hours)
    assert terms.factor(at(1, 15), batch=False) == 3 * WHOLE
    assert terms.factor(at(1, 13), batch=False) == 2 * WHOLE
    assert terms.factor(at(1, 13), batch=True) == WHOLE
    assert flat(1, 1).factor(at(1, 13), batch=True) == WHOLE // 2
    assert flat(1, 2) == flat(1, 2, 1)


def test_legs_pay_in_order_and_the_next_one_pays_the_part_that_is_left() -> None:
    assert split([100], [200]) == ((100,), 0)
    assert split([100, 1_000], [40, 10_000]) == ((40, 600), 0)
    assert split([100, 1_000], [100, 10_000]) == ((100, 0), 0)
    assert split([100, 1_000, 10], [40, 300, 10]) == ((40, 300, 3), 0)
    assert split([100, 1_000], [40, 500]) == ((40, 500), 100)  # in the currency of the last leg
    assert split([0, 1_000], [40, 500]) == ((0, 0), 0)
    assert rest_worst(10, 1, 3) == 4
    assert rest_worst(9, 1, 3) == 3


amounts = st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 10**6), st.floats(0, 1)), min_size=1, max_size=4)


@given(amounts, st.floats(0, 1))
def test_what_was_held_for_the_worst_covers_every_smaller_use(legs: list[tuple[int, int, float]], used: float) -> None:
    part, whole, holds, costs = 1, 1, [], []
    for number, (worst, _, reach) in enumerate(legs):
        need = rest_worst(worst, part, whole)
        got = need if number == len(legs) - 1 else int(need * reach)
        holds.append(got)
        costs.append(int(worst * used))
        part, whole = (part * (need - got), whole * need) if need else (0, 1)
    paid, excess = split(costs, holds)
    assert all(0 <= amount <= hold for amount, hold in zip(paid, holds, strict=True))
    assert excess == 0


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (0, "0 %"),
        (1, "< 0.1 %"),
        (499_999, "< 0.1 %"),
        (500_000, "0.1 %"),
        (31_400_000, "3.1 %"),
        (99_000_000, "9.9 %"),
        (990_000_000, "99 %"),
        (1_000_000_000, "100 %"),
        (12_345_000_000, "1234.5 %"),
    ],
)
def test_a_share_of_a_window_is_read_as_people_write_it(part: int, said: str) -> None:
    assert percent(part, 1_000_000_000) == said
