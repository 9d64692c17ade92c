"""Usage cut into hours and days: whatever the zone does to its clocks, nothing is lost and nothing counts twice."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import example, given
from hypothesis import strategies as st

from openmaas.control.series import across, by_model, span_of, total
from openmaas.core.bounds import QUARTER_MS
from openmaas.ledger.posting.hours import Used

#: Whole hours, half ones, quarters; two that change their clocks, one of them by half an hour.
ZONES = st.sampled_from(
    ["UTC", "Asia/Shanghai", "Asia/Kolkata", "Asia/Kathmandu", "America/New_York", "Australia/Lord_Howe"]
)
FORM = "%Y-%m-%d %H:%M:%S"
starts = st.datetimes(datetime(2024, 1, 1), datetime(2027, 1, 1)).map(lambda at: at.replace(microsecond=0))  # noqa: DTZ001
uses = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.sampled_from("ab"), st.integers(1, 9)), max_size=9)


@given(ZONES, starts, st.integers(0, 40 * 86_400), st.booleans(), uses)
@example("America/New_York", datetime(2026, 10, 31), 3 * 86_400, False, [(0.43, "a", 1), (0.44, "a", 2)])  # noqa: DTZ001
@example("America/New_York", datetime(2026, 3, 8, 2, 30), 900, False, [(0.0, "a", 1)])  # noqa: DTZ001
@example("America/New_York", datetime(2026, 3, 7), 3 * 86_400, False, [(0.4, "a", 1)])  # noqa: DTZ001
def test_what_was_used_is_in_exactly_one_moment(
    zone: str, start: datetime, length_s: int, daily: bool, used: list[tuple[float, str, int]]
) -> None:
    end = start + timedelta(seconds=length_s)
    span = span_of(f"{start:{FORM}}", f"{end:{FORM}}", zone, 0, days=1, daily=daily)
    since_ms, until_ms = span.bounds_ms
    rows = []
    for where, model, tokens in used:
        opened_ms = since_ms + int(where * (until_ms - since_ms))
        rows.append(Used(opened_ms // QUARTER_MS * QUARTER_MS, model, 1, tokens, 0, tokens, tokens))
    models = by_model(span, rows)
    every = across(span, models)
    assert total(every) == total(rows)
    assert len(every) == len(span.moments())
    assert {name for name, _ in models} == {row.model for row in rows}
    for moment, found in zip(span.moments(), every, strict=True):
        inside = [row for row in rows if span.moment_of(row.begin_ms) == moment]
        assert found.tokens == total(inside).tokens


@given(ZONES, starts)
@example("America/New_York", datetime(2026, 3, 8, 2, 30))  # noqa: DTZ001
def test_a_moment_is_named_as_the_clocks_of_the_zone_show_it(zone: str, start: datetime) -> None:
    span = span_of(f"{start:{FORM}}", f"{start:{FORM}}", zone, 0, days=1)
    opened_ms = round(start.replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)
    assert span.bounds_ms[0] == opened_ms
    shown = datetime.fromtimestamp(opened_ms / 1000, ZoneInfo(zone)).replace(minute=0, second=0, tzinfo=None, fold=0)
    assert span.moments()[0] == span.moment_of(opened_ms) == shown
