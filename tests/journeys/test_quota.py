"""What quota tools, status lines and balance widgets read, held against the receipts and the ledger."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from installation import Installation
from searching import attach, library
from tokens import token

CODING = "/api/coding/paas/v4/chat/completions"
MONITOR = "/api/monitor/usage"
CREDIT = "/api/monitor/credit-usage"
#: Half an hour off: its hours begin between those of UTC.
ZONE = ZoneInfo("Asia/Kolkata")
CHAT = {"model": "echo", "messages": [{"role": "user", "content": "one two three"}], "max_tokens": 16}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A house with prices in money and in credits."""
    made = Installation(tmp_path_factory.mktemp("quota") / "data", currency="CNY")
    made.start()
    made.ready()
    for price in (
        {"currency": "CNY", "input": "1", "output": "2"},
        {"currency": "credits", "input": "1", "output": "2"},
    ):
        factor = 10**5 if price["currency"] == "credits" else 1
        asked = {**price, **{name: str(int(price[name]) * factor) for name in ("input", "output")}, "model": "echo"}
        assert made.admin("POST", "/prices", asked)[0] == 201
    yield made
    made.end()


class Customer:
    """An organisation in ``ZONE`` with a key and 50 CNY."""

    def __init__(self, house: Installation, credit: str = "50") -> None:
        self.house = house
        self.id, self.key = house.organisation(credit)
        payer = {"currency": "CNY", "zone": ZONE.key}
        assert house.admin("PUT", f"/organisations/{self.id}/payer", payer)[0] == 200

    def subscribe(self, name: str) -> dict[str, Any]:
        """Begin a plan of 100 credits in five hours, 1,000 a week and 5,000 a month."""
        windows = [
            {"name": "5h", "kind": "rolling", "credits": "100", "hours": 5},
            {"name": "week", "kind": "cycle", "credits": "1000", "hours": 168},
            {"name": "month", "kind": "month", "credits": "5000"},
        ]
        status, plan = self.house.admin("POST", "/plans", {"name": name, "windows": windows, "price": "20.5"})
        assert status == 201, plan
        asked = {"plan_id": plan["id"], "request_key": "1"}
        status, made = self.house.admin("POST", f"/organisations/{self.id}/subscriptions", asked)
        assert status in (200, 201), made
        time.sleep(1)  # every relay has heard of it
        return dict(made)

    def receipt(self, path: str = CODING) -> dict[str, Any]:
        """The posted receipt of one more request."""
        status, headers, answer = self.house.ask("POST", path, CHAT, key=self.key)
        assert status == 200, answer
        return self.house.receipt(headers["x-request-id"], "posted", key=self.key)

    def read(self, path: str, **more: Any) -> Any:
        """A page that this customer may read."""
        status, _, answer = self.house.ask("GET", path, key=self.key, **more)
        assert status == 200, answer
        return json.loads(answer)

    def console(self, path: str) -> Any:
        """What is in the console's envelope."""
        found = self.read(path)
        assert (found["code"], found["success"]) == (200, True)
        return found["data"]


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(ZONE)


def test_the_limits_are_those_of_the_receipts_and_of_the_standing(house: Installation) -> None:
    customer = Customer(house)
    made = customer.subscribe("GLM Coding Lite")
    idle = customer.console(f"{MONITOR}/quota/limit")
    assert idle["level"] == "lite"
    assert [(each["unit"], each["number"]) for each in idle["limits"]] == [(3, 5), (6, 1), (5, 1)]
    assert {"nextResetTime"} & set(idle["limits"][0]) == set()
    receipts = [customer.receipt() for _ in range(3)]
    used = sum(Decimal(receipt["charges"][0]["amount"]) for receipt in receipts)
    assert used == Decimal("10.5")
    limits = customer.console(f"{MONITOR}/quota/limit")["limits"]
    assert {each["type"] for each in limits} == {"TOKENS_LIMIT"}
    counted = [(each["usage"], each["currentValue"], each["remaining"], each["percentage"]) for each in limits]
    assert counted == [(100, 10, 89, 10), (1_000, 10, 989, 1), (5_000, 10, 4_989, 0)]
    windows = json.loads(house.ask("GET", "/v1/standing", key=customer.key)[2])["plans"][0]["windows"]
    for limit, window in zip(limits, windows, strict=True):
        assert datetime.fromtimestamp(limit["nextResetTime"] / 1000, UTC) == datetime.fromisoformat(window["again_at"])
    five_hours = limits[0]["nextResetTime"] - datetime.fromisoformat(receipts[0]["posted_at"]).timestamp() * 1000
    assert abs(five_hours - 5 * 3_600_000) < 1_000
    week, month = (limits[number]["nextResetTime"] / 1000 for number in (1, 2))
    started_s = datetime.fromisoformat(made["started_at"]).timestamp()
    assert abs(week - started_s - 7 * 86_400) < 1
    assert abs(month - datetime.fromisoformat(made["until_at"]).timestamp()) < 1


def test_a_key_is_taken_bare_with_bearer_and_as_a_token(house: Installation) -> None:
    customer = Customer(house)
    limits = f"{MONITOR}/quota/limit"
    for form in (customer.key, f"Bearer {customer.key}", token(customer.key), f"Bearer {token(customer.key)}"):
        assert house.ask("GET", limits, headers={"authorization": form})[0] == 200, form
    for path in (limits, "/api/biz/subscription/list"):
        status, _, answer = house.ask("GET", path, headers={"authorization": "a.b", "accept-language": "en"})
        told = json.loads(answer)
        assert (status, told["success"], told["code"], told["error"]["code"]) == (401, False, 1000, "1000")
        assert told["msg"] == told["error"]["message"]


def test_a_customer_without_a_plan_is_told_so_and_has_usage_all_the_same(house: Installation) -> None:
    customer = Customer(house)
    receipt = customer.receipt("/api/paas/v4/chat/completions")
    assert customer.console(f"{MONITOR}/quota/limit") == {"level": "", "limits": []}
    assert customer.console("/api/biz/subscription/list") == []
    usage = customer.console(f"{MONITOR}/model-usage")["totalUsage"]
    assert usage["totalTokensUsage"] == receipt["prompt_tokens"] + receipt["completion_tokens"]
    detail = customer.console(f"{CREDIT}/usage-detail")
    assert detail["modelUsage"]["totalUsage"] == {"totalTokens": 19, "totalCredits": "0.0000"}


def test_usage_by_the_hour_is_that_of_the_receipts_in_the_customer_s_own_hours(house: Installation) -> None:
    customer = Customer(house)
    customer.subscribe("Team")
    receipts = [customer.receipt(), customer.receipt(), customer.receipt("/api/paas/v4/chat/completions")]
    found = customer.console(f"{MONITOR}/model-usage")
    assert found["granularity"] == "hourly"
    assert len(found["x_time"]) == 25
    times = [datetime.strptime(each, "%Y-%m-%d %H:%M") for each in found["x_time"]]  # noqa: DTZ007 - of the zone
    assert all(later - earlier == timedelta(hours=1) for earlier, later in pairwise(times))
    hours = {local(receipt["opened_at"]).strftime("%Y-%m-%d %H:00") for receipt in receipts}
    assert {time for time, calls in zip(found["x_time"], found["modelCallCount"], strict=True) if calls} == hours
    tokens = sum(receipt["prompt_tokens"] + receipt["completion_tokens"] for receipt in receipts)
    assert sum(found["tokensUsage"]) == tokens
    summary = [{"modelName": "echo", "totalTokens": tokens, "sortOrder": 1}]
    assert found["totalUsage"] == {
        "totalModelCallCount": 3,
        "totalTokensUsage": tokens,
        "modelSummaryList": summary,
    }
    assert found["modelDataList"] == [{**summary[0], "tokensUsage": found["tokensUsage"]}]
    detail = customer.console(f"{CREDIT}/usage-detail?usageType=MODEL&type=1")
    counted = sum(Decimal(receipt["charges"][0]["amount"]) for receipt in receipts[:2])
    assert detail["modelUsage"]["totalUsage"] == {"totalTokens": tokens, "totalCredits": f"{counted:.4f}"}
    assert (detail["granularity"], detail["timezone"]) == ("HOUR", ZONE.key)
    (row,) = detail["modelUsage"]["modelDataList"]
    assert sum(row["inputTokensUsage"]) + sum(row["outputTokensUsage"]) == sum(row["totalTokensUsage"]) == tokens
    assert sum(map(Decimal, row["totalCreditsUsage"])) == counted
    assert Decimal(detail["summary"]["cacheHitRate"]["value"]) == Decimal("0.0000")


def test_a_time_is_taken_as_the_customer_s_clocks_show_it(house: Installation) -> None:
    customer = Customer(house)
    receipt = customer.receipt("/v1/chat/completions")
    opened = local(receipt["opened_at"]).replace(microsecond=0, tzinfo=None)

    def calls(start: datetime, end: datetime) -> int:
        asked = f"startTime={start:%Y-%m-%d+%H:%M:%S}&endTime={end:%Y-%m-%d+%H:%M:%S}"
        return int(customer.console(f"{MONITOR}/model-usage?{asked}")["totalUsage"]["totalModelCallCount"])

    second, day = timedelta(seconds=1), timedelta(days=1)
    assert calls(opened, opened) == calls(opened - day, opened) == calls(opened, opened + day) == 1
    assert calls(opened - day, opened - second) == calls(opened + second, opened + day) == 0
    long = f"startTime={opened - 30 * day:%Y-%m-%d+00:00:00}&endTime={opened:%Y-%m-%d+23:59:59}"
    found = customer.console(f"{MONITOR}/model-usage?{long}")
    assert (found["granularity"], len(found["x_time"])) == ("daily", 31)
    assert found["x_time"][-1] == f"{opened:%Y-%m-%d}"
    assert found["tokensUsage"] == [0] * 30 + [19]


def test_searches_are_counted_as_a_tool_and_not_as_a_model(
    house: Installation, tmp_path_factory: pytest.TempPathFactory
) -> None:
    attach(house, "finder", "search", "search", {"folder": library(tmp_path_factory.mktemp("web") / "files")}, "0.01")
    house.ready("finder")
    customer = Customer(house)
    customer.receipt("/v1/chat/completions")
    search = {"search_engine": "finder", "search_query": "leave"}
    for _ in range(2):
        status, headers, told = house.ask("POST", "/api/paas/v4/web_search", search, key=customer.key)
        assert status == 200, told
        house.receipt(headers["x-request-id"], "posted", key=customer.key)
    assert house.ask("POST", "/api/paas/v4/web_search", {**search, "count": 0}, key=customer.key)[0] == 400
    tools = customer.console(f"{MONITOR}/tool-usage")
    assert (sum(tools["networkSearchCount"]), tools["totalUsage"]["totalSearchMcpCount"]) == (2, 2)
    assert tools["toolDataList"] == [{"toolName": "finder", "totalUsageCount": 2}]
    models = customer.console(f"{MONITOR}/model-usage")
    assert (models["totalUsage"]["totalModelCallCount"], len(models["modelDataList"])) == (1, 1)
    assert customer.console(f"{CREDIT}/usage-detail?usageType=MCP")["mcpUsage"]["totalUsage"]["totalMcpCalls"] == 2
    assert customer.console(f"{CREDIT}/activity")["series"][-1]["mcpCalls"] == 2
    (row,) = (row for row in customer.read("/v1/usage?by=model")["data"] if row["model"] == "finder")
    assert row["units"] == {"call": 2}


def test_tools_that_nobody_called_are_none_and_the_year_has_its_days(house: Installation) -> None:
    customer = Customer(house)
    customer.receipt("/v1/chat/completions")
    tools = customer.console(f"{MONITOR}/tool-usage")
    assert len(tools["zreadMcpCount"]) == len(tools["x_time"]) == 25
    assert not any(tools["networkSearchCount"] + tools["webReadMcpCount"] + tools["toolDataList"])
    assert tools["totalUsage"]["totalSearchMcpCount"] == 0
    assert customer.console(f"{CREDIT}/usage-detail?usageType=MCP")["mcpUsage"]["mcpDataList"] == []
    activity = customer.console(f"{CREDIT}/activity?type=1")
    today = datetime.now(ZONE).strftime("%Y-%m-%d")
    assert activity["summary"] == {
        "totalTokens": 19,
        "peakDailyTokens": 19,
        "peakDailyTokensDate": today,
        "currentStreakDays": 1,
        "longestStreakDays": 1,
    }
    assert (len(activity["series"]), activity["series"][-1]["date"]) == (366, today)


def test_the_subscription_is_told_with_its_next_payment(house: Installation) -> None:
    customer = Customer(house)
    made = customer.subscribe("GLM Coding Max")
    (found,) = customer.console("/api/biz/subscription/list?pageSize=10&pageNum=1")
    started, until = local(made["started_at"]), local(made["until_at"])
    assert (found["id"], found["productName"], found["status"]) == (made["id"], "GLM Coding Max", "VALID")
    assert found["valid"] == f"{started:%Y-%m-%d %H:%M:%S}-{until:%Y-%m-%d %H:%M:%S}"
    assert (found["nextRenewTime"], found["currentRenewTime"]) == (f"{until:%Y-%m-%d}", f"{started:%Y-%m-%d}")
    assert (found["autoRenew"], found["actualPrice"], found["inCurrentPeriod"]) == (1, 20.5, True)
    assert customer.console("/api/biz/subscription/list?pageNum=2") == []


def test_what_is_left_is_told_in_every_shape_and_is_what_the_wallet_has(house: Installation) -> None:
    customer = Customer(house, "5")
    paid = sum(Decimal(customer.receipt("/v1/chat/completions")["amount"]) for _ in range(3))
    left = house.settled(customer.id)
    assert left == 5 - paid > 0
    assert customer.console("/api/paas/v4/balance") == {
        "currency": "CNY",
        "total_balance": float(left),
        "available_balance": float(left),
    }
    report = customer.console("/api/biz/account/query-customer-account-report")
    assert (report["balance"], report["rechargeAmount"], report["totalSpendAmount"]) == (float(left), 5, float(paid))
    for base in ("/v1", ""):
        grants = customer.read(f"{base}/dashboard/billing/credit_grants")
        assert (grants["total_granted"], grants["total_used"]) == (5, float(paid))
        assert grants["total_available"] == float(left)
        month = datetime.now(UTC)
        asked = f"start_date={month:%Y-%m-01}&end_date={month + timedelta(days=1):%Y-%m-%d}"
        usage = customer.read(f"{base}/dashboard/billing/usage?{asked}")
        (day,) = usage["daily_costs"]
        assert usage["total_usage"] == pytest.approx(float(paid * 100))
        assert [item["name"] for item in day["line_items"]] == ["echo"]
        limit = customer.read(f"{base}/dashboard/billing/subscription")["hard_limit_usd"]
        assert limit - usage["total_usage"] / 100 == pytest.approx(float(left))  # as clients reckon what is left


def test_a_credit_line_can_be_spent_and_an_empty_wallet_has_nothing(house: Installation) -> None:
    customer = Customer(house, "1")
    house.admin("PUT", f"/organisations/{customer.id}/credit", {"credit": "9"})
    found = customer.console("/api/paas/v4/balance")
    assert (found["total_balance"], found["available_balance"]) == (1, 10)
    _, other = house.admin("POST", "/organisations", {"name": "nothing yet"})
    _, project = house.admin("POST", "/projects", {"organisation_id": other["id"], "name": "p"})
    _, key = house.admin("POST", "/keys", {"project_id": project["id"]})
    told = json.loads(house.ask("GET", "/api/paas/v4/balance", key=key["key"])[2])["data"]
    assert told == {"currency": "CNY", "total_balance": 0, "available_balance": 0}


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (f"{MONITOR}/model-usage?startTime=yesterday", "startTime"),
        (f"{MONITOR}/model-usage?endTime=2026-01-31", "endTime"),
        (f"{MONITOR}/tool-usage?startTime=0001-01-01+00:00:00", "startTime"),
        (f"{MONITOR}/model-usage?startTime=2026-02-01+00:00:00&endTime=2026-01-01+00:00:00", "startTime"),
        (f"{MONITOR}/model-usage?startTime=2020-01-01+00:00:00&endTime=2026-01-01+00:00:00", "startTime"),
        (f"{CREDIT}/usage-detail?usageType=ALL", "usageType"),
        ("/api/biz/subscription/list?pageNum=0", "pageNum"),
        ("/v1/dashboard/billing/usage?start_date=soon", "start_date"),
        ("/v1/dashboard/billing/usage?start_date=2026-01-01&end_date=2026-12-31", "end_date"),
    ],
)
def test_a_mistake_is_named(house: Installation, path: str, field: str) -> None:
    status, _, answer = house.ask("GET", path)
    assert (status, json.loads(answer)["error"]["param"]) == (400, field), answer


def test_a_key_without_the_scope_reads_nothing(house: Installation) -> None:
    _, key = house.organisation("1", scopes=["inference"])
    for path in (f"{MONITOR}/quota/limit", "/api/biz/subscription/list", "/v1/dashboard/billing/usage"):
        assert house.ask("GET", path, key=key)[0] == 403
