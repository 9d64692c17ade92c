"""Subscriptions, packs and budgets at the edges of their time: the last day of a month, the hour before a renewal, the
moment after the end. The clock is the test's."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from openmaas.core.bounds import PAGE_SIZE_MAX, QUARTER_MS
from openmaas.core.clock import Clock
from openmaas.core.errors import Conflict, StoreFailed
from openmaas.core.money import NANO
from openmaas.house.poster import renew_due
from openmaas.ledger.book import find_account, open_account, own_id, top_up, transfer, wallet_id
from openmaas.ledger.law import returns
from openmaas.ledger.law_sold import subscriptions
from openmaas.ledger.selling.packs import add_pack, end_packs
from openmaas.ledger.selling.payers import add_budget, change_budget, take_cuts
from openmaas.ledger.selling.plans import Plan, add_plan
from openmaas.ledger.selling.standing import standing
from openmaas.ledger.selling.subscribing import change_plan, find_subscription, revise, subscribe
from openmaas.ledger.spending.funds import funding, period_around
from openmaas.ledger.spending.leasing import Step, free_again_ms, give_back, lease, open_journal
from openmaas.ledger.spending.plans import PlanTerms, Window, month_around
from openmaas.store.changes import changes
from openmaas.store.outbox import events
from servers import STORES, new_database

WALLET = wallet_id("org", "CNY")
HOUR_MS, DAY_MS = 3_600_000, 24 * 3_600_000


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


class Year:
    """An organisation with a thousand, two plans, and a clock that stands on 31 January."""

    def __init__(self, store: str, folder: Path) -> None:
        self.database = new_database(store, folder)
        self.now_ms = ms("2027-01-31T10:00")
        self.clock = Clock(wall_ms=lambda: self.now_ms)
        self.lite, self.pro = self.plan("lite", 20, 100), self.plan("pro", 80, 1_000)
        self.top_up("org", 1_000)
        self.database.call(open_journal, "rly_1", "home", self.now_ms)

    def plan(self, name: str, price: int, allowed: int, currency: str = "CNY") -> Plan:
        windows = (Window("5h", "rolling", allowed * NANO, 5 * 3600), Window("month", "month", 9 * allowed * NANO))
        return self.database.call(add_plan, self.clock, name, PlanTerms(windows, price * NANO, currency))

    def top_up(self, organisation_id: str, amount: int, key: str = "1") -> None:
        fields = {"currency": "CNY", "amount_nanos": amount * NANO, "request_key": key, "memo": ""}
        self.database.call(top_up, self.clock, organisation_id, **fields)

    def subscribe(self, plan: Plan, organisation_id: str = "org") -> str:
        return self.database.call(subscribe, self.clock, organisation_id, plan.id, request_key="1").id

    def renew(self) -> int:
        return renew_due(self.database, self.clock)

    def told(self, event: str) -> int:
        """How often it was announced."""
        query = sa.select(sa.func.count()).where(events.c.type == event)
        return int(self.database.look(lambda tx: tx.execute(query).scalar_one()))

    def posted(self, account_id: str = WALLET) -> int:
        return self.database.look(find_account, account_id).posted_nanos


@pytest.fixture(params=STORES)
def year(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Year]:
    made = Year(request.param, tmp_path)
    yield made
    made.database.close()


def test_a_month_that_began_on_the_31st_ends_on_the_last_day_and_comes_back_to_the_31st(year: Year) -> None:
    began = year.subscribe(year.lite)
    for end in ("2027-02-28T10:00", "2027-03-31T10:00", "2027-04-30T10:00", "2027-05-31T10:00"):
        assert year.database.look(find_subscription, began).until_ms == ms(end)
        year.now_ms = ms(end) - HOUR_MS - 1
        assert year.renew() == 0
        year.now_ms += 1
        assert year.renew() == 1
        assert year.renew() == 0  # once
    assert year.posted() == (1_000 - 5 * 20) * NANO


def test_those_who_cannot_pay_keep_nobody_else_from_renewing_and_lapse(
    year: Year,
) -> None:
    for number in range(PAGE_SIZE_MAX + 1):
        year.top_up(f"poor_{number}", 20)
        year.subscribe(year.lite, f"poor_{number}")
    began = year.subscribe(year.lite)
    year.now_ms = ms("2027-02-28T10:00")
    assert sum(year.renew() for _ in range(2)) == 1
    assert year.database.look(find_subscription, began).until_ms == ms("2027-03-31T10:00")
    year.now_ms += 1  # what was not paid has lapsed
    assert year.renew() == 0


FAILED = "subscription.renewal_failed"


def test_what_relays_lease_and_do_not_use_is_asked_back_for_a_renewal_and_nobody_is_told(year: Year) -> None:
    began = year.subscribe(year.lite)
    year.now_ms = ms("2027-02-28T09:30")
    step = {"least_nanos": 970 * NANO, "wish_nanos": 970 * NANO, "share": 1}
    year.database.call(lease, year.clock, WALLET, Step("rly_1", 1), **step)
    assert year.renew() == 0
    assert year.told(FAILED) == 0
    recalled = sa.select(changes.c.subject).where(changes.c.kind == "recall")
    assert [each.split()[0] for each in year.database.look(lambda tx: tx.execute(recalled).scalars().all())] == [WALLET]
    year.now_ms = ms("2027-02-28T10:00")  # busy until the end: now it is told
    assert year.renew() == 0
    assert year.told(FAILED) == 1
    year.database.call(give_back, WALLET, Step("rly_1", 2), 970 * NANO)
    assert year.renew() == 1
    assert year.database.look(find_subscription, began).trouble == ""


def test_who_lacks_the_money_though_relays_gave_all_back_is_told_at_once(year: Year) -> None:
    year.top_up("poor", 30)
    year.subscribe(year.lite, "poor")
    year.now_ms = ms("2027-02-28T09:30")
    fields = {"least_nanos": 5 * NANO, "wish_nanos": 5 * NANO, "share": 1}
    year.database.call(lease, year.clock, wallet_id("poor", "CNY"), Step("rly_1", 1), **fields)
    assert [year.renew(), year.renew(), year.told(FAILED)] == [0, 0, 1]


def test_a_house_that_was_off_at_the_end_renews_when_it_is_back(year: Year) -> None:
    began = year.subscribe(year.lite)
    year.now_ms = ms("2027-03-01T10:00")
    assert year.renew() == 1
    assert year.database.look(find_subscription, began).until_ms == ms("2027-03-31T10:00")
    assert year.posted() == (1_000 - 2 * 20) * NANO


def test_what_ended_more_than_a_day_ago_lapses_and_is_told_once(year: Year) -> None:
    began = year.subscribe(year.lite)
    year.now_ms = ms("2027-03-01T10:00") + 1
    assert [year.renew(), year.renew(), year.told(FAILED)] == [0, 0, 1]
    had = year.database.look(find_subscription, began)
    assert (had.renews, had.trouble, had.until_ms) == (False, "it ended while nobody renewed", ms("2027-02-28T10:00"))
    assert year.posted() == (1_000 - 20) * NANO


def test_what_has_ended_is_not_renewed_beside_the_one_that_was_begun_after_it(year: Year) -> None:
    began = year.subscribe(year.lite)
    year.now_ms = ms("2027-02-28T11:00")
    year.database.call(subscribe, year.clock, "org", year.pro.id, request_key="2")
    assert year.renew() == 0
    assert not year.database.look(find_subscription, began).renews
    assert year.posted() == (1_000 - 20 - 80) * NANO


def test_all_are_renewed_beside_a_relay_that_leases_of_their_wallets(year: Year) -> None:
    names = [f"busy_{number}" for number in range(60)]
    for name in names:
        year.top_up(name, 100)
        year.subscribe(year.lite, name)
    year.now_ms = ms("2027-02-28T09:30")
    stop = threading.Event()

    def leases() -> None:
        for turn in itertools.count():
            if stop.wait(0.01):
                return
            wallet, step = wallet_id(names[turn % len(names)], "CNY"), Step("rly_1", turn + 1)
            with contextlib.suppress(StoreFailed):
                year.database.call(lease, year.clock, wallet, step, least_nanos=1, wish_nanos=10, share=4)

    busy = threading.Thread(target=leases)
    busy.start()
    try:
        assert year.renew() == len(names)
    finally:
        stop.set()
        busy.join()


def test_a_cheaper_plan_begins_with_the_next_month(year: Year) -> None:
    began = year.subscribe(year.pro)
    assert year.database.call(change_plan, year.clock, began, year.lite.id).next_plan_id == year.lite.id
    year.now_ms = ms("2027-02-28T09:30")
    assert year.renew() == 1
    rows = year.database.look(lambda tx: tx.execute(sa.select(subscriptions).order_by("started_ms")).all())
    assert [(row.plan_id, row.renews, row.until_ms) for row in rows] == [
        (year.pro.id, False, ms("2027-02-28T10:00")),
        (year.lite.id, True, ms("2027-03-31T10:00")),
    ]
    assert year.posted() == (1_000 - 80 - 20) * NANO


def test_a_subscription_that_does_not_renew_is_not_promised_a_cheaper_plan(year: Year) -> None:
    began = year.subscribe(year.pro)
    year.database.call(change_plan, year.clock, began, year.lite.id)
    year.database.call(lambda tx: revise(tx, find_subscription(tx, began), {"renews": False}))
    assert year.database.call(change_plan, year.clock, began, year.pro.id).next_plan_id is None  # as it was
    with pytest.raises(Conflict, match="does not renew") as refused:
        year.database.call(change_plan, year.clock, began, year.lite.id)
    assert refused.value.field == "plan_id"
    assert year.database.look(find_subscription, began).next_plan_id is None
    assert year.told("subscription.changed") == 2


def test_a_subscription_that_another_follows_does_not_renew_again_and_stops_nobody(year: Year) -> None:
    began = year.subscribe(year.pro)
    year.database.call(change_plan, year.clock, began, year.lite.id)
    year.now_ms = ms("2027-02-28T09:30")
    assert year.renew() == 1
    had = year.database.look(find_subscription, began)
    with pytest.raises(Conflict, match="another plan follows"):
        year.database.call(revise, had, {"renews": True})
    change = subscriptions.update().where(subscriptions.c.id == began).values(renews=True)
    year.database.call(lambda tx: tx.execute(change))  # as a mistake of ours would
    year.top_up("other", 100)
    year.subscribe(year.lite, "other")
    year.now_ms = ms("2027-02-28T09:59")
    year.renew()
    follower = "after:" + began
    held = year.database.look(lambda tx: tx.execute(sa.select(subscriptions.c.request_key)).scalars().all())
    assert list(held).count(follower) == 1
    year.now_ms = ms("2027-03-28T09:20")
    assert year.renew() == 1  # of the other one, whose month ends in this hour


def test_a_dearer_plan_costs_the_difference_of_what_is_left(year: Year) -> None:
    began = year.subscribe(year.lite)
    year.now_ms += 7 * DAY_MS  # a quarter of the 28 days
    year.database.call(change_plan, year.clock, began, year.pro.id)
    assert year.posted() == (1_000 - 20 - 45) * NANO


def test_a_dearer_plan_after_the_renewal_costs_the_difference_of_the_next_month_too(year: Year) -> None:
    began = year.subscribe(year.lite)
    year.now_ms = ms("2027-02-28T09:30")
    assert year.renew() == 1
    year.database.call(change_plan, year.clock, began, year.pro.id)
    left = round(60 * NANO / (28 * 48))  # half an hour of the month that runs
    assert year.posted() == (1_000 - 20 - 20 - 60) * NANO - left


def test_a_plan_of_another_currency_is_neither_dearer_nor_cheaper(year: Year) -> None:
    began = year.subscribe(year.pro)
    for price in (1, 81):  # of CNY 80
        abroad = year.plan(f"abroad {price}", price, 100, "USD")
        with pytest.raises(Conflict, match="begin a new subscription") as refused:
            year.database.call(change_plan, year.clock, began, abroad.id)
        assert refused.value.field == "plan_id"
    assert year.database.look(find_subscription, began).next_plan_id is None


def test_the_plan_of_a_subscription_that_has_ended_cannot_be_changed(year: Year) -> None:
    began = year.subscribe(year.lite)
    year.database.call(lambda tx: revise(tx, find_subscription(tx, began), {"renews": False}))
    year.now_ms = ms("2027-02-28T10:00")
    for days in (0, 3, 40):
        year.now_ms += days * DAY_MS
        with pytest.raises(Conflict):
            year.database.call(change_plan, year.clock, began, year.pro.id)


def leased(year: Year, bound: object, turn: int = 1, wish: int = 10**18) -> int:
    """What a relay gets of the window or budget, as it knew it."""
    fields = {"least_nanos": 1, "wish_nanos": wish, "share": 1, "fill": bound.fill}
    return year.database.call(lease, year.clock, bound.account_id, Step("rly_1", turn), **fields)


def test_a_window_allows_what_the_plan_says_though_the_relay_has_not_heard_of_the_change(year: Year) -> None:
    began = year.subscribe(year.lite)
    had = year.database.look(find_subscription, began)
    stale, later = had.bounds(year.lite.terms, year.now_ms)
    assert leased(year, stale) == 100 * NANO  # this one has begun
    year.database.call(change_plan, year.clock, began, year.pro.id)
    assert leased(year, stale, 2) == 900 * NANO
    assert leased(year, later) == 9_000 * NANO  # and this one not


def test_a_budget_allows_what_it_says_though_the_relay_has_not_heard_of_the_change(year: Year) -> None:
    fields = {"scope": "organisation", "subject_id": "org", "currency": "CNY", "amount_nanos": 100, "period": "day"}
    made = year.database.call(add_budget, year.clock, "org", **fields)
    stale = made.bound("org", "UTC", year.now_ms)
    year.database.call(change_budget, year.clock, made.id, 30)
    assert leased(year, stale) == 30
    year.database.call(change_budget, year.clock, made.id, 50)
    assert leased(year, stale, 2) == 20
    year.database.call(give_back, stale.account_id, Step("rly_1", 3), 40)
    year.database.call(change_budget, year.clock, made.id, 20)
    assert leased(year, stale, 4) == 10


def test_a_lowered_budget_ends_at_what_was_asked_when_relays_give_back_what_they_lease(year: Year) -> None:
    fields = {"scope": "organisation", "subject_id": "org", "currency": "CNY", "amount_nanos": 100, "period": "day"}
    made = year.database.call(add_budget, year.clock, "org", **fields)
    stale = made.bound("org", "UTC", year.now_ms)
    assert leased(year, stale) == 100
    year.database.call(change_budget, year.clock, made.id, 20)  # nothing is free
    year.database.call(give_back, stale.account_id, Step("rly_1", 2), 30)
    assert leased(year, stale, 3) == 0
    year.database.call(give_back, stale.account_id, Step("rly_1", 4), 60)
    year.database.call(take_cuts, year.clock)
    assert year.posted(stale.account_id) == 20
    assert year.database.look(standing, year.clock, "org").budgets[0].limit_nanos == 20
    assert leased(year, stale, 5) == 10
    year.database.call(change_budget, year.clock, made.id, 5)
    year.database.call(change_budget, year.clock, made.id, 25)  # what was still to be taken is not given first
    assert year.posted(stale.account_id) == 25


def test_the_trouble_of_one_subscription_keeps_nobody_else_from_renewing_and_is_told(year: Year) -> None:
    year.top_up("broken", 1_000)
    year.top_up("poor", 30)
    broken, poor, well = (year.subscribe(year.lite, name) for name in ("broken", "poor", "org"))
    year.now_ms = ms("2027-02-28T09:30")
    taken = {"kind": "purchase", "debit": wallet_id("broken", "CNY"), "credit": own_id("revenue", "CNY")}
    key = f"plan:{broken}:{ms('2027-02-28T10:00')}"  # as a payment of another amount, made before
    year.database.call(transfer, year.clock, request_key=key, amount_nanos=1, **taken)
    assert year.renew() == 1
    told = {each: year.database.look(find_subscription, each) for each in (broken, poor, well)}
    assert [each.until_ms == ms("2027-03-31T10:00") for each in told.values()] == [False, False, True]
    assert "stands for another transfer" in told[broken].trouble
    assert "is missing" in told[poor].trouble
    assert told[well].trouble == ""
    year.top_up("poor", 1_000, "2")
    assert year.renew() == 1
    assert year.database.look(find_subscription, poor).trouble == ""


def test_a_rolling_window_rolls_as_long_as_the_new_plan_says(year: Year) -> None:
    windows = (Window("5h", "rolling", 1_000 * NANO, 3600),)
    quick = year.database.call(add_plan, year.clock, "quick", PlanTerms(windows, 90 * NANO))
    began = year.subscribe(year.lite)
    bound = year.database.look(find_subscription, began).bounds(year.lite.terms, year.now_ms)[0]
    assert leased(year, bound, wish=1) == 1
    row = {"debit": bound.account_id, "credit": own_id("counted", "credits"), "amount_nanos": 1}
    used = year.database.call(transfer, year.clock, request_key="u", kind="expiry", **row)
    due = {"transfer_id": used.id, "account_id": bound.account_id, "amount_nanos": 1}
    year.database.call(lambda tx: tx.execute(returns.insert().values(due_ms=year.now_ms + 5 * HOUR_MS, **due)))
    year.database.call(change_plan, year.clock, began, quick.id)
    assert year.database.look(find_account, bound.account_id).returns_after_ms == HOUR_MS
    assert year.database.look(free_again_ms, bound.account_id, 1) == year.now_ms + HOUR_MS


def test_the_request_path_reads_what_lives_and_an_old_receipt_what_lived_then(year: Year) -> None:
    times = {"from_ms": year.now_ms, "until_ms": year.now_ms + DAY_MS}
    fields = {"request_key": "1", "name": "p", "currency": "tokens", "amount_nanos": 10, "models": None}
    year.database.call(add_pack, year.clock, "org", **fields, **times)
    year.subscribe(year.lite)
    then_ms, later_ms = year.now_ms, year.now_ms + 40 * DAY_MS
    had = {at_ms: year.database.look(funding, "org", at_ms) for at_ms in (then_ms, later_ms)}
    assert [(len(each.subscriptions), len(each.packs)) for each in had.values()] == [(1, 1), (0, 0)]


def test_a_pack_that_has_ended_waits_for_its_leases_and_ends_again_when_something_comes_back(year: Year) -> None:
    times = {"from_ms": year.now_ms, "until_ms": year.now_ms + DAY_MS}
    fields = {"request_key": "1", "name": "p", "currency": "tokens", "amount_nanos": 10, "models": None}
    pack = year.database.call(add_pack, year.clock, "org", **fields, **times).account_id
    step = {"least_nanos": 4, "wish_nanos": 4, "share": 1}
    assert year.database.call(lease, year.clock, pack, Step("rly_1", 1), **step) == 4
    assert year.database.call(end_packs, year.clock) == 0
    year.now_ms += DAY_MS
    assert year.database.call(end_packs, year.clock) == 0
    year.database.call(give_back, pack, Step("rly_1", 2), 4)
    assert [year.database.call(end_packs, year.clock) for _ in range(2)] == [1, 0]
    fields = {"kind": "correction", "debit": own_id("counted", "tokens"), "credit": pack, "amount_nanos": 10}
    year.database.call(lambda tx: open_account(tx, own_id("counted", "tokens")))
    year.database.call(transfer, year.clock, request_key="back", **fields)
    assert [year.database.call(end_packs, year.clock) for _ in range(2)] == [1, 0]
    assert year.posted(pack) == 0


ZONES = ("UTC", "Asia/Shanghai", "America/Havana", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Beirut")


@given(st.sampled_from(ZONES), st.sampled_from(["day", "week", "month"]), st.integers(1_050_000, 2_000_000))
def test_every_moment_of_a_period_lies_in_it(zone: str, period: str, quarter: int) -> None:
    begin, end = period_around(period, zone, quarter)
    assert end is not None
    assert begin <= quarter * QUARTER_MS < end
    for moment in (begin, end - 1):
        assert period_around(period, zone, moment // QUARTER_MS) == (begin, end)
    assert period_around(period, zone, end // QUARTER_MS)[0] == end


@pytest.mark.parametrize("zone", ZONES)
def test_the_days_of_a_year_follow_each_other_whatever_the_clocks_do(zone: str) -> None:
    first = round(datetime(2026, 1, 1, tzinfo=ZoneInfo(zone)).timestamp() * 1000)
    quarters = range(first // QUARTER_MS, (first + 370 * DAY_MS) // QUARTER_MS)
    days = list(dict.fromkeys(period_around("day", zone, quarter) for quarter in quarters))
    assert all(before[1] == after[0] for before, after in itertools.pairwise(days))


@given(st.integers(ms("2026-01-01"), ms("2032-01-01")), st.integers(0, 2_000))
def test_months_from_any_day_follow_each_other(began: int, days: int) -> None:
    now = began + days * DAY_MS
    begin, end = month_around(began, now)
    assert began <= begin <= now < end
    assert month_around(began, end)[0] == end
    assert timedelta(days=27) < timedelta(milliseconds=end - begin) < timedelta(days=32)


def test_a_key_that_stands_for_a_pack_is_refused_for_another(year: Year) -> None:
    pack = {"name": "p", "currency": "tokens", "amount_nanos": NANO, "models": ("m",), "from_ms": None}
    pack |= {"until_ms": year.now_ms + DAY_MS, "price_nanos": NANO, "price_currency": "CNY"}

    def sell(**other: Any) -> Any:
        return year.database.call(add_pack, year.clock, "org", request_key="1", **pack | other)

    made = sell()
    year.now_ms += 2 * DAY_MS
    assert sell() == sell(from_ms=made.from_ms) == made  # also when it has ended
    for name, other in {
        "name": "q",
        "amount_nanos": 2 * NANO,
        "currency": "CNY",
        "models": None,
        "from_ms": made.from_ms + 1,
        "until_ms": year.now_ms + 1,
        "price_nanos": 0,
        "price_currency": "USD",
    }.items():
        with pytest.raises(Conflict, match="another pack") as refused:
            sell(**{name: other})
        assert refused.value.field == "request_key", name
    assert year.posted() == 999 * NANO


def test_a_key_that_stands_for_a_subscription_is_refused_for_another_plan(year: Year) -> None:
    free = [year.plan(f"free {number}", 0, 100) for number in range(2)]
    for began, other in ((year.lite, year.pro), (year.pro, year.lite), (year.lite, free[0]), (free[0], year.lite)):
        organisation = f"{began.name} {other.name}"
        year.top_up(organisation, 1_000)
        first = year.subscribe(began, organisation)
        with pytest.raises(Conflict, match="another plan") as refused:
            year.subscribe(other, organisation)
        assert refused.value.field == "request_key"
        year.now_ms += 1
        year.database.call(change_plan, year.clock, first, year.pro.id)
        assert year.subscribe(began, organisation) == first  # the order is the same, whatever became of it
