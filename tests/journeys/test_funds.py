"""Ways to pay, on a real house: what a caller sees, and what the ledger says after."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from installation import Installation

CODING = "/api/coding/paas/v4/chat/completions"
#: The echo engine counts one token a word, and answers with so many.
PROMPT, ANSWER = 3, 16
PRICE = {"model": "echo", "input": "1", "output": "2"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A house with prices in money and in credits; its books agree when the tests are done."""
    made = Installation(tmp_path_factory.mktemp("funds") / "data")
    made.start()
    made.ready()
    made.settle_in("/openapi.json")
    assert made.admin("POST", "/models", {"name": "other", "context_tokens": 8})[0] == 201
    for price in (PRICE, {"model": "echo", "currency": "credits", "input": "100000", "output": "200000"}):
        assert made.admin("POST", "/prices", price)[0] == 201
    yield made
    made.end()


class Customer:
    """An organisation with a key."""

    def __init__(self, house: Installation, credit: str) -> None:
        self.house = house
        self.id, self.key = house.organisation(credit)

    def ask(self, path: str = "/v1/chat/completions", **fields: Any) -> tuple[int, dict[str, str], dict[str, Any]]:
        body = {"model": "echo", "messages": [{"role": "user", "content": "one two three"}], "max_tokens": 16, **fields}
        status, headers, answer = self.house.ask("POST", path, body, key=self.key)
        return status, headers, json.loads(answer)

    def receipt(self, path: str = "/v1/chat/completions") -> dict[str, Any]:
        """The posted receipt of one more request."""
        status, headers, answer = self.ask(path)
        assert status == 200, answer
        return self.house.receipt(headers["x-request-id"], "posted", key=self.key)

    def manage(self, path: str, body: Any, method: str = "POST") -> dict[str, Any]:
        status, found = self.house.admin(method, f"/organisations/{self.id}{path}", body)
        assert status in (200, 201), found
        return dict(found)

    def standing(self) -> dict[str, Any]:
        return dict(json.loads(self.house.ask("GET", "/v1/standing", key=self.key)[2]))

    def heard(self) -> None:
        """Wait until every relay has heard of a change."""
        time.sleep(1)


def in_days(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


def test_packs_pay_first_the_one_that_ends_first_and_the_wallet_pays_the_rest(house: Installation) -> None:
    customer = Customer(house, "1")
    for name, tokens, days in (("later", "1000", 2), ("sooner", "25", 1), ("other model", "1000", 0.5)):
        pack = {"name": name, "amount": tokens, "until_time": in_days(days), "request_key": name}
        if name == "other model":
            pack["models"] = ["other"]
        assert customer.manage("/packs", pack) == customer.manage("/packs", pack)
    customer.heard()
    first = customer.receipt()
    # 19 tokens were used. The worst case is more than 25, so the second pack stood by.
    assert [(Decimal(line["amount"]), line["leg"]) for line in first["charges"]] == [(19, 0), (0, 1)]
    second = customer.receipt()
    assert [Decimal(line["amount"]) for line in second["charges"]] == [6, 13]
    packs = {pack["name"]: Decimal(pack["used"]) for pack in customer.standing()["packs"]}
    assert packs == {"sooner": 25, "later": 13, "other model": 0}
    assert Decimal(house.wallet(customer.id)["posted"]) == 1


def test_what_a_pack_does_not_cover_the_wallet_pays_in_its_own_price(house: Installation) -> None:
    customer = Customer(house, "1")
    customer.manage("/packs", {"name": "p", "amount": "10", "until_time": in_days(1), "request_key": "p"})
    customer.heard()
    receipt = customer.receipt()
    tokens, money = receipt["charges"]
    assert Decimal(tokens["amount"]) == 10
    whole = Decimal(PROMPT * 1 + ANSWER * 2) / 10**6
    rest = (whole * (PROMPT + ANSWER - 10) / (PROMPT + ANSWER)).quantize(Decimal("1e-9"))
    assert Decimal(money["amount"]) == rest == Decimal(receipt["amount"])
    assert 1 - house.settled(customer.id) == rest


def test_a_pack_that_is_bought_is_paid_once_and_cannot_be_bought_without_funds(house: Installation) -> None:
    customer = Customer(house, "5")
    pack = {"name": "p", "amount": "1000", "until_time": in_days(1), "price": "3", "request_key": "one"}
    customer.receipt()  # the wallet is leased now: the sale asks for it back
    for _ in range(2):
        customer.manage("/packs", pack)
    assert 1 < house.settled(customer.id) < 2
    status, found = house.admin("POST", f"/organisations/{customer.id}/packs", {**pack, "request_key": "two"})
    assert (status, found["error"]["code"]) == (409, "funds_missing")


def plan(house: Installation, name: str, five_hours: str, week: str, price: str, **fields: Any) -> str:
    windows = [
        {"name": "5h", "kind": "rolling", "credits": five_hours, "hours": 5},
        {"name": "week", "kind": "cycle", "credits": week, "hours": 168},
    ]
    status, made = house.admin("POST", "/plans", {"name": name, "windows": windows, "price": price, **fields})
    assert status == 201, made
    return str(made["id"])


def test_a_plan_counts_in_its_windows_waits_when_they_are_used_up_and_never_takes_cash(house: Installation) -> None:
    customer = Customer(house, "50")
    assert customer.ask(CODING)[2]["error"]["code"] == "1311"
    lite = plan(house, "lite", "100", "1000", "20")
    made = customer.manage("/subscriptions", {"plan_id": lite, "request_key": "1"})
    assert customer.manage("/subscriptions", {"plan_id": lite, "request_key": "1"}) == made
    customer.heard()
    receipt = customer.receipt(CODING)
    used = Decimal(PROMPT * 100_000 + ANSWER * 200_000) / 10**6
    assert [Decimal(line["amount"]) for line in receipt["charges"]] == [used, used]
    assert receipt["currency"] == "credits"
    assert receipt["explanation"].startswith("3 input, 16 output: 3.5 % of the 5h window, free again at ")
    windows = {each["name"]: each for each in customer.standing()["plans"][0]["windows"]}
    assert Decimal(windows["5h"]["used"]) == Decimal(windows["week"]["used"]) == used
    assert windows["5h"]["again_at"] is not None
    answers = [customer.ask(CODING) for _ in range(30)]
    refused = [answer for answer in answers if answer[0] != 200]
    status, headers, told = refused[0]
    assert (status, told["error"]["code"]) == (429, "1308")
    assert 4 * 3600 < int(headers["retry-after"]) <= 5 * 3600
    assert headers["x-should-retry"] == "false"
    assert house.settled(customer.id) == 30  # only the plan's price was taken
    assert Decimal(customer.receipt()["amount"]) > 0  # the other base URL is paid as you go


def test_anthropic_s_base_url_uses_a_plan_that_covers_the_model_and_is_paid_as_you_go_without_one(
    house: Installation,
) -> None:
    path, customer = "/api/anthropic/v1/messages", Customer(house, "50")
    paid = customer.receipt(path)
    assert paid["currency"] != "credits"
    assert Decimal(paid["amount"]) > 0
    made = plan(house, "for claude", "100", "1000", "20")
    customer.manage("/subscriptions", {"plan_id": made, "request_key": "1"})
    customer.heard()
    assert customer.receipt(path)["currency"] == "credits"
    refused = next(answer for _ in range(31) if (answer := customer.ask(path))[0] != 200)
    assert (refused[0], refused[2]["error"]["type"], refused[1]["x-should-retry"]) == (429, "rate_limit_error", "false")


def test_a_request_above_the_whole_window_is_told_to_ask_for_less_and_no_time(house: Installation) -> None:
    customer = Customer(house, "50")
    made = plan(house, "small", "4", "100", "1", entrances=["coding", "responses"])
    customer.manage("/subscriptions", {"plan_id": made, "request_key": "1"})
    customer.heard()
    status, headers, told = customer.ask(CODING)
    assert (status, told["error"]["code"]) == (429, "1308")
    assert "max_tokens" in told["error"]["message"]
    assert "4" in told["error"]["message"]
    assert "重置" not in told["error"]["message"]
    assert "retry-after" not in headers
    assert headers["x-should-retry"] == "false"
    body = {"model": "echo", "input": "one two three", "max_output_tokens": 16}
    status, _, answer = house.ask("POST", "/api/v1/responses", body, key=customer.key)
    assert (status, json.loads(answer)["error"]["code"]) == (429, "request_over_plan")


def test_a_plan_overflows_into_cash_only_when_the_customer_said_so(house: Installation) -> None:
    customer = Customer(house, "50")
    made = customer.manage("/subscriptions", {"plan_id": plan(house, "tiny", "4", "100", "1"), "request_key": "1"})
    customer.heard()
    assert customer.ask(CODING)[0] == 429  # the worst case is more than the window
    status, changed = house.admin("PATCH", f"/subscriptions/{made['id']}", {"overflows": True})
    assert (status, changed["overflows"]) == (200, True)
    customer.heard()
    receipt = customer.receipt(CODING)
    assert [line["account_id"].partition(":")[0] for line in receipt["charges"]] == ["window", "window", "wallet"]
    assert Decimal(receipt["charges"][0]["amount"]) == Decimal("3.5")  # what was really used, it covers
    assert Decimal(receipt["amount"]) == 0


def test_a_dearer_plan_begins_at_once_for_the_difference_and_a_cheaper_one_later(house: Installation) -> None:
    customer = Customer(house, "1000")
    lite, pro = plan(house, "lite 2", "100", "1000", "20"), plan(house, "pro", "1000", "9000", "100")
    made = customer.manage("/subscriptions", {"plan_id": lite, "request_key": "1"})
    customer.heard()
    customer.receipt(CODING)
    status, changed = house.admin("PATCH", f"/subscriptions/{made['id']}", {"plan_id": pro})
    assert (status, changed["plan_id"]) == (200, pro)
    paid = 1000 - house.settled(customer.id)
    assert 99 < paid <= 100  # the first month and what is left of it, to the nano
    window = customer.standing()["plans"][0]["windows"][0]
    assert (Decimal(window["limit"]), Decimal(window["used"])) == (1000, Decimal("3.5"))
    status, changed = house.admin("PATCH", f"/subscriptions/{made['id']}", {"plan_id": lite})
    assert (changed["plan_id"], changed["next_plan_id"]) == (pro, lite)
    assert house.settled(customer.id) == 1000 - paid


def test_a_budget_refuses_what_the_wallet_could_pay_and_is_raised_at_once(house: Installation) -> None:
    customer = Customer(house, "50")
    budget = {"scope": "organisation", "amount": "0.0007", "period": "day"}
    made = customer.manage("/budgets", budget)
    customer.heard()
    receipt = customer.receipt()
    assert [line["account_id"].partition(":")[0] for line in receipt["charges"]] == ["wallet", "budget"]
    assert len({line["amount"] for line in receipt["charges"]}) == 1
    codes = [customer.ask()[2].get("error", {}).get("code") for _ in range(30)]
    assert codes[-1] == "budget_exceeded"
    assert Decimal(customer.standing()["budgets"][0]["used"]) <= Decimal("0.0007")
    assert house.admin("PATCH", f"/budgets/{made['id']}", {"amount": "1"})[0] == 200
    customer.heard()
    assert customer.ask()[0] == 200
    assert house.admin("DELETE", f"/budgets/{made['id']}", None)[0] == 200
    customer.heard()
    assert [line["part"] for line in customer.receipt()["charges"]] == [0]


def test_a_budget_that_is_lowered_takes_back_what_a_relay_has_leased(house: Installation) -> None:
    customer = Customer(house, "50")
    made = customer.manage("/budgets", {"scope": "organisation", "amount": "0.05", "period": "day"})
    customer.heard()
    assert customer.ask()[0] == 200  # the relay has a slice now
    assert house.admin("PATCH", f"/budgets/{made['id']}", {"amount": "0.0001"})[0] == 200
    customer.heard()
    status, _, answer = customer.ask()
    assert (status, answer["error"]["code"]) == (429, "budget_exceeded")


def test_a_credit_line_is_spent_and_never_passed(house: Installation) -> None:
    customer = Customer(house, "0.0001")
    customer.manage("/credit", {"credit": "0.001"}, "PUT")
    codes = [customer.ask()[0] for _ in range(60)]
    assert 200 in codes
    assert codes[-1] == 429
    assert -Decimal("0.001") <= house.settled(customer.id) < 0
    status, found = house.admin("PUT", f"/organisations/{customer.id}/credit", {"credit": "0"})
    assert (status, found["error"]["param"]) == (409, "credit")


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/packs", {"name": "p", "amount": "0", "until_time": in_days(1), "request_key": "k"}, "amount"),
        ("/packs", {"name": "p", "amount": "1", "until_time": in_days(-1), "request_key": "k"}, "until_time"),
        ("/packs", {"name": "p", "amount": "1", "until_time": "soon", "request_key": "k"}, "until_time"),
        (
            "/packs",
            {"name": "p", "amount": "1", "until_time": in_days(1), "request_key": "k", "models": ["no"]},
            "models",
        ),
        ("/budgets", {"scope": "organisation", "subject_id": "nosuch", "amount": "1"}, "subject_id"),
        ("/budgets", {"scope": "key", "subject_id": "nosuch", "amount": "1"}, "subject_id"),
        ("/budgets", {"scope": "organisation", "amount": "-1"}, "amount"),
        ("/budgets", {"scope": "organisation", "amount": "1", "period": "year"}, "period"),
        ("/subscriptions", {"plan_id": "nosuch", "request_key": "k"}, "plan_id"),
        ("/payer", {"currency": "CNY", "zone": "Mars"}, "zone"),
        ("/payer", {"currency": "CNY", "address": "a\x00b"}, "address"),
        ("/payer", {"currency": "CNY", "taxes": [{"name": "VAT", "rate": "6 %"}]}, "taxes.0.rate"),
        ("/payer", {"currency": "CNY", "taxes": [{"name": "VAT", "rate": "0.06"}] * 2}, "taxes"),
    ],
)
def test_a_mistake_is_named(house: Installation, path: str, body: dict[str, Any], field: str) -> None:
    customer = Customer(house, "1")
    method = "PUT" if path == "/payer" else "POST"
    status, found = house.admin(method, f"/organisations/{customer.id}{path}", body)
    assert 400 <= status < 500
    assert found["error"]["param"] == field, found


def test_a_plan_says_how_many_requests_of_a_model_may_be_in_flight(house: Installation) -> None:
    customer = Customer(house, "50")
    customer.manage(
        "/subscriptions", {"plan_id": plan(house, "seats", "500", "5000", "1", seats=2), "request_key": "1"}
    )
    customer.heard()
    answers: list[tuple[int, str]] = []

    def ask() -> None:
        status, _, answer = customer.ask(CODING, user="echo:tokens=16,pace_ms=100")
        answers.append((status, answer.get("error", {}).get("code", "")))

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [(200, "")] * 2 + [(429, "1302")] * 3
    assert customer.ask(CODING)[0] == 200
