"""Where a request is paid from, from the first lease to the audit: relays with real purses, both databases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from openmaas.core.bounds import RENEW_GRACE_S
from openmaas.core.errors import BudgetExceeded, InsufficientFunds, ModelUnknown
from openmaas.core.money import MILLION, NANO
from openmaas.core.terms import Terms, flat
from openmaas.core.usage import Usage
from openmaas.ledger.audit import audit
from openmaas.ledger.book import find_account, top_up, wallet_id
from openmaas.ledger.prices import set_price
from openmaas.ledger.selling.packs import add_pack
from openmaas.ledger.selling.payers import Payer, add_budget, change_budget, set_payer
from openmaas.ledger.selling.plans import add_plan
from openmaas.ledger.selling.subscribing import list_subscriptions, revise, subscribe
from openmaas.ledger.spending.funds import Use
from openmaas.ledger.spending.plans import PlanTerms, Window
from openmaas.ledger.writing.records import Opened
from servers import STORES
from whole import SHORT, World

START_MS = round(datetime(2027, 1, 31, 10, tzinfo=UTC).timestamp() * 1000)
FREE, PRICED = flat(0, 0), flat(NANO, 2 * NANO)
HOUR_MS = 3_600_000


class House:
    """A ledger with one relay, and an organisation that has nothing."""

    def __init__(self, store: str, folder: Path) -> None:
        self.world = World(store, folder, START_MS)
        self.relay = self.world.begin_relay()

    def call(self, book: Any, *args: Any, **kwargs: Any) -> Any:
        return self.world.database.call(book, *args, **kwargs)

    def price(self, model: str, currency: str, terms: Terms = PRICED) -> None:
        self.call(set_price, model=model, currency=currency, terms=terms, from_ms=self.world.now_ms)
        self.world.run(self.relay.heard())

    def ask(self, model: str, entrance: str = "api") -> Any:
        """What a request that can use ten tokens each way is opened with, or its refusal; it uses two and one."""
        use = Use(model, entrance, "org", "p1", "k1", 10, 10, self.world.now_ms)
        opened = self.world.run(self.relay.open(use))
        if isinstance(opened, Opened):
            self.relay.end(opened.request_id, Usage(2, 1))
        return opened

    def posted(self, account_id: str) -> int:
        self.world.post()
        return self.world.database.look(find_account, account_id).posted_nanos


@pytest.fixture(params=STORES)
def house(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    for name, value in SHORT.items():
        monkeypatch.setattr(name, value)
    made = House(request.param, tmp_path)
    yield made
    made.world.post()
    assert made.world.database.look(audit, tmp_path / "journals", {}).disagreements == []
    made.world.close()


def test_a_free_model_answers_who_has_nothing(house: House) -> None:
    house.price("free", "CNY", FREE)
    house.price("dear", "CNY")
    assert house.ask("free").legs[0].hold_nanos == 0
    assert isinstance(house.ask("dear"), InsufficientFunds)
    assert house.posted(wallet_id("org", "CNY")) == 0


def test_prices_in_another_currency_move_nobody_who_was_given_none(house: House) -> None:
    for amount, currency in ((NANO, "CNY"), (NANO, "USD")):
        fields = {"currency": currency, "amount_nanos": amount, "request_key": currency, "memo": ""}
        house.call(top_up, house.world.clock, "org", **fields)
    house.price("m", "CNY")
    assert house.ask("m").legs[0].currency == "CNY"
    house.price("m", "USD")  # begins later
    assert house.ask("m").legs[0].currency == "CNY"
    house.call(set_payer, Payer(organisation_id="org", currency="USD"))
    house.world.run(house.relay.heard())
    assert house.ask("m").legs[0].currency == "USD"


def test_a_model_without_a_price_in_the_customers_currency_is_refused_by_its_name(house: House) -> None:
    house.price("m", "USD")
    refused = house.ask("m")
    assert isinstance(refused, ModelUnknown)
    assert "no price in CNY" in str(refused)


def test_a_window_that_a_free_model_met_first_allows_what_the_plan_says(house: House) -> None:
    house.price("free", "credits", FREE)
    house.price("dear", "credits")
    windows = (Window("5h", "rolling", NANO, 5 * 3600),)
    plan = house.call(add_plan, house.world.clock, "lite", PlanTerms(windows))
    house.call(subscribe, house.world.clock, "org", plan.id, request_key="1")
    (window,) = house.ask("free", "coding").legs[0].accounts
    assert house.posted(window) == NANO
    house.ask("dear", "coding")
    assert house.posted(window) == NANO - 4_000
    assert house.world.database.look(find_account, window).returns_after_ms == 5 * HOUR_MS


@pytest.mark.parametrize("models", [None, ("old",)])
def test_a_pack_for_every_model_covers_one_that_is_offered_later(house: House, models: tuple[str, ...] | None) -> None:
    house.price("old", "CNY")
    times = {"from_ms": START_MS, "until_ms": START_MS + HOUR_MS}
    fields = {"request_key": "1", "name": "p", "currency": "tokens", "amount_nanos": 1_000 * NANO, "models": models}
    pack = house.call(add_pack, house.world.clock, "org", **fields, **times).account_id
    house.price("new", "CNY")
    for model, covered in (("old", True), ("new", models is None)):
        opened = house.ask(model)
        assert covered == isinstance(opened, Opened), (model, opened)
    assert house.posted(pack) == (1_000 - 3 * (1 + (models is None))) * NANO


def test_a_price_in_tokens_that_the_operator_sets_is_kept_when_a_pack_is_sold_or_a_model_priced(house: House) -> None:
    times = {"from_ms": START_MS, "until_ms": START_MS + HOUR_MS}
    fields = {"request_key": "1", "name": "p", "currency": "tokens", "amount_nanos": 1_000 * NANO, "models": None}
    pack = house.call(add_pack, house.world.clock, "org", **fields, **times).account_id
    house.price("m", "tokens", flat(2 * MILLION * NANO, MILLION * NANO))
    house.price("m", "CNY")
    house.ask("m")
    assert house.posted(pack) == (1_000 - 2 * 2 - 1) * NANO


@pytest.fixture
def subscriber(house: House) -> House:
    """An organisation with money, a subscription for one of three models, and prices in money for all."""
    fields = {"currency": "CNY", "amount_nanos": NANO, "request_key": "1", "memo": ""}
    house.call(top_up, house.world.clock, "org", **fields)
    for model in ("in", "out", "uncounted"):
        house.price(model, "CNY")
    house.price("in", "credits")
    house.price("out", "credits")
    windows = (Window("5h", "rolling", NANO, 5 * 3600),)
    plan = house.call(add_plan, house.world.clock, "lite", PlanTerms(windows, models=("in", "uncounted")))
    house.call(subscribe, house.world.clock, "org", plan.id, request_key="1")
    return house


def paid_from(house: House, model: str, entrance: str) -> str:
    """The kind of account that pays, or what was refused."""
    opened = house.ask(model, entrance)
    return opened.legs[0].accounts[0].partition(":")[0] if isinstance(opened, Opened) else type(opened).__name__


def revised(house: House, **values: bool) -> None:
    (had,) = house.world.database.look(list_subscriptions, organisation_id="org", limit=9)
    house.call(revise, had, values)
    house.world.run(house.relay.heard())


@pytest.mark.parametrize("entrance", ["coding", "anthropic", "responses"])
def test_on_a_plan_s_base_url_what_the_plan_does_not_cover_takes_no_cash_unless_the_customer_said_so(
    subscriber: House, entrance: str
) -> None:
    models = ("in", "out", "uncounted")
    assert [paid_from(subscriber, each, entrance) for each in models] == ["window", "PlanMissing", "PlanMissing"]
    assert [paid_from(subscriber, each, "api") for each in models] == ["wallet"] * 3
    revised(subscriber, overflows=True)
    outside = "PlanMissing" if entrance == "coding" else "wallet"
    assert [paid_from(subscriber, each, entrance) for each in models] == ["window", outside, outside]


def test_a_plan_that_waits_for_its_renewal_takes_no_cash_and_one_that_has_lapsed_is_no_plan(subscriber: House) -> None:
    subscriber.world.now_ms = round(datetime(2027, 2, 28, 10, tzinfo=UTC).timestamp() * 1000)
    assert paid_from(subscriber, "in", "anthropic") == "PlanMissing"
    subscriber.world.now_ms += RENEW_GRACE_S * 1000
    assert paid_from(subscriber, "in", "anthropic") == "wallet"
    assert paid_from(subscriber, "in", "coding") == "PlanMissing"


def test_a_plan_that_was_not_to_renew_is_no_plan_from_its_end_on(subscriber: House) -> None:
    revised(subscriber, renews=False)
    subscriber.world.now_ms = round(datetime(2027, 2, 28, 10, tzinfo=UTC).timestamp() * 1000)
    assert paid_from(subscriber, "in", "anthropic") == "wallet"


def test_a_budget_counts_nothing_of_a_free_model_and_all_of_another(house: House) -> None:
    house.price("free", "CNY", FREE)
    house.price("dear", "CNY")
    fields = {"scope": "organisation", "subject_id": "org", "currency": "CNY", "amount_nanos": 50_000, "period": "day"}
    made = house.call(add_budget, house.world.clock, "org", **fields)
    assert len(house.ask("free").legs[0].accounts) == 1
    house.call(top_up, house.world.clock, "org", currency="CNY", amount_nanos=NANO, request_key="1", memo="")
    _, budget = house.ask("dear").legs[0].accounts
    assert house.posted(budget) == 50_000 - 4_000
    house.call(change_budget, house.world.clock, made.id, 10_000)
    assert isinstance(house.ask("dear"), BudgetExceeded)
    assert house.ask("free").legs[0].hold_nanos == 0
