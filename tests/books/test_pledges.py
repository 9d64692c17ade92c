"""What a job holds for hours: set aside whole or not at all, charged once, and nobody else's meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from desk import CLOCK, WALLET, Desk
from openmaas.core.errors import BudgetExceeded, InsufficientFunds, ThingUnknown
from openmaas.core.usage import Usage
from openmaas.ledger.book import Account, find_account
from openmaas.ledger.posting.pledges import pledge, pledged, release, settle
from openmaas.ledger.posting.receipts import Finder, find_posted, list_usage
from openmaas.ledger.posting.writing_off import lost, write_off
from openmaas.ledger.prices import price_as, price_book, set_price
from openmaas.ledger.selling.payers import add_budget
from openmaas.ledger.spending.funds import Use, funding
from openmaas.ledger.spending.holds import Source
from openmaas.ledger.spending.leasing import Step, lease, open_journal
from openmaas.ledger.writing.records import Opened

TERMS = {"training": 5 * 10**9}  # 5 CNY for a million
TOKENS = 40_000_000
WORST = 200 * 10**9
USED = Usage(units=(("training", 10_000_000),))
COST = 50 * 10**9


def priced(desk: Desk) -> None:
    from_ms = CLOCK.wall_ms() - 10
    terms = desk.price.terms
    terms = type(terms)(terms.bands, units=TERMS)
    desk.database.call(set_price, model="m", currency="CNY", terms=terms, from_ms=from_ms)


def source(desk: Desk, tokens: int = TOKENS) -> Source:
    priced(desk)
    now_ms = CLOCK.wall_ms()
    use = Use("m", "", "org", "p", "k", 0, 0, now_ms, units=(("training", tokens),))
    return desk.database.look(funding, "org", now_ms, "CNY").wallet(use, desk.database.look(price_book))


def hold(desk: Desk, job_id: str = "ftjob_1", tokens: int = TOKENS) -> Opened:
    asked = source(desk, tokens)
    leg = desk.database.call(pledge, CLOCK, job_id, asked)
    return Opened("req_1", CLOCK.wall_ms(), "k", "p", "org", "m", "", (leg,), batch=False, job_id=job_id)


def wallet(desk: Desk) -> Account:
    return desk.database.look(find_account, WALLET)


def test_the_most_that_a_job_can_cost_is_leased_and_only_what_it_used_is_charged(desk: Desk) -> None:
    opened = hold(desk)
    assert opened.legs[0].hold_nanos == WORST
    assert wallet(desk).leased_nanos == WORST
    assert desk.disagreements() == []
    assert desk.database.look(lost, desk.layout.journals) == []  # there is no journal to be lost
    desk.database.call(settle, CLOCK, opened, USED, "done")
    assert (wallet(desk).leased_nanos, wallet(desk).posted_nanos) == (0, 10**15 - COST)
    receipt, _ = desk.database.look(find_posted, "req_1")
    assert receipt is not None
    assert (receipt["amount_nanos"], receipt["hold_nanos"], receipt["job_id"]) == (COST, WORST, "ftjob_1")
    day = {"by": ["model"], "organisation_id": "org", "offset": 0, "limit": None}
    (row,) = desk.database.look(list_usage, since_day="2000-01-01", until_day="2999-01-01", **day)
    assert row["units"] == {"training": 10_000_000}


def test_a_job_is_charged_once_however_often_it_is_settled_or_released(desk: Desk) -> None:
    opened = hold(desk)
    for _ in range(2):
        desk.database.call(settle, CLOCK, opened, USED, "done")
        desk.database.call(release, "ftjob_1")
    assert (wallet(desk).leased_nanos, wallet(desk).posted_nanos) == (0, 10**15 - COST)


def test_a_pledge_that_is_made_again_is_the_same(desk: Desk) -> None:
    assert [hold(desk).legs[0].hold_nanos for _ in range(2)] == [WORST, WORST]
    assert wallet(desk).leased_nanos == WORST
    desk.database.call(release, "ftjob_1")
    assert (wallet(desk).leased_nanos, wallet(desk).posted_nanos) == (0, 10**15)
    assert not desk.database.look(pledged, "ftjob_1")


def test_more_than_there_is_is_refused_and_nothing_of_it_is_held(desk: Desk) -> None:
    with pytest.raises(InsufficientFunds, match=r"can cost 2000000\.00 CNY, 1000000\.00 CNY is free"):
        hold(desk, tokens=400_000_000_000)
    assert wallet(desk).leased_nanos == 0
    assert not desk.database.look(pledged, "ftjob_1")


def test_what_a_relay_leases_is_not_a_job_s_and_the_other_way_round(desk: Desk) -> None:
    journal = desk.relay("rly_1")
    free = 10**15 - wallet(desk).leased_nanos
    with pytest.raises(InsufficientFunds):
        hold(desk, tokens=free // 5_000 + 1)
    hold(desk, tokens=free // 5_000)
    desk.database.call(open_journal, "rly_2", "elsewhere", 1)
    got = desk.database.call(lease, CLOCK, WALLET, Step("rly_2", 1), least_nanos=1, wish_nanos=1, share=1)
    assert got == 0
    desk.database.call(release, "ftjob_1")
    journal.end()


def test_budgets_count_along_and_refuse_what_they_never_have(desk: Desk) -> None:
    told = {"scope": "organisation", "subject_id": "org", "currency": "CNY", "period": "total"}
    desk.database.call(add_budget, CLOCK, "org", amount_nanos=WORST, **told)
    opened = hold(desk)
    budget_id = opened.legs[0].accounts[1]
    assert desk.database.look(find_account, budget_id).free_nanos == 0
    with pytest.raises(BudgetExceeded):
        hold(desk, "ftjob_2", 1)
    desk.database.call(settle, CLOCK, opened, USED, "client_closed")
    assert desk.database.look(find_account, budget_id).free_nanos == WORST - COST
    with pytest.raises(BudgetExceeded, match="all that it ever has"):
        hold(desk, "ftjob_3", TOKENS + 1)
    assert wallet(desk).leased_nanos == 0


def test_a_job_whose_hold_was_written_off_is_charged_no_more(desk: Desk) -> None:
    opened = hold(desk)
    desk.database.call(write_off, CLOCK, desk.layout.journals, "ftjob_1", "its machine is gone")
    desk.database.call(settle, CLOCK, opened, USED, "done")
    assert (wallet(desk).leased_nanos, wallet(desk).posted_nanos) == (0, 10**15)


def test_a_receipt_that_does_not_exist_is_not_waited_for_because_a_job_runs(desk: Desk) -> None:
    hold(desk)
    _, tails = desk.database.look(find_posted, "req_nobody")
    assert tails == []
    with pytest.raises(ThingUnknown):
        asyncio.run(Finder(desk.database, desk.layout.journals).find("req_nobody", None))
    desk.database.call(release, "ftjob_1")


def test_a_tuned_model_costs_what_its_base_costs_its_owner(desk: Desk) -> None:
    priced(desk)
    now_ms, terms = CLOCK.wall_ms(), desk.price.terms
    for owner, from_ms in (("org", 0), ("other", 0)):
        more = {"organisation_id": owner, "from_ms": from_ms}
        desk.database.call(
            set_price, model="m", currency="CNY", terms=type(terms)(terms.bands, batch_ppm=1 + len(owner)), **more
        )
    desk.database.call(set_price, model="m", currency="CNY", terms=terms, from_ms=now_ms - 9, until_ms=now_ms - 5)
    desk.database.call(price_as, "tuned", "m", "org", now_ms)
    book = desk.database.look(price_book)
    for organisation_id in ("org", ""):
        mine, base = (book.at(model, now_ms, "CNY", organisation_id) for model in ("tuned", "m"))
        assert mine is not None
        assert base is not None
        assert mine.terms == base.terms
    assert book.at("tuned", now_ms, "CNY", "other") == book.at("tuned", now_ms, "CNY", "")
