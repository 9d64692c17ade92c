"""A wrong price is corrected on a running house: by the command, seen by the customer, proved by the audit."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from installation import Installation
from openmaas.core.bounds import STALE_AFTER_S

#: The echo engine counts three tokens of prompt and answers with sixteen.
USED = 3 + 16


def rerate(house: Installation, organisation: str, *flags: str) -> dict[str, Any]:
    now = datetime.now(UTC)
    since, until = ((now + timedelta(hours=hours)).isoformat() for hours in (-1, 1))
    named = ("--model", "echo", "--since", since, "--until", until, "--organisation", organisation)
    done = house.command("ledger", "rerate", *named, "--json", *flags)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_corrected_price_comes_back_to_wallet_and_budget_and_shows_on_the_receipt(echo: Installation) -> None:
    organisation, key = echo.organisation("100")

    def price(each: str, since: datetime) -> None:
        body = {"model": "echo", "input": each, "output": each, "organisation_id": organisation}
        status, made = echo.admin("POST", "/prices", body | {"from_time": since.isoformat()})
        assert status == 201, made

    begun = datetime.now(UTC) - timedelta(minutes=30)
    price("100000", begun)
    budget = {"scope": "organisation", "amount": "80", "period": "total"}
    assert echo.admin("POST", f"/organisations/{organisation}/budgets", budget)[0] == 201
    time.sleep(STALE_AFTER_S)  # no relay knows less by then
    body = {"model": "echo", "messages": [{"role": "user", "content": "one two three"}], "max_tokens": 16}
    status, headers, answer = echo.ask("POST", "/v1/chat/completions", body, key=key)
    assert status == 200, answer
    receipt = echo.receipt(headers["x-request-id"], "posted", key=key)
    assert (Decimal(receipt["amount"]), receipt["corrections"]) == (Decimal("0.1") * USED, [])
    price("40000", begun)
    dry = rerate(echo, organisation, "--dry-run")
    assert echo.receipt(receipt["request_id"], key=key)["corrections"] == []
    done, again = rerate(echo, organisation), rerate(echo, organisation)
    back = Decimal("0.06") * USED
    assert dry["accounts"] == done["accounts"]
    assert [Decimal(each["given"]) for each in done["accounts"]] == [back, back]
    assert (dry["dry_run"], done["receipts"], again["accounts"]) == (True, 1, [])
    seen = echo.receipt(receipt["request_id"], key=key)
    kinds = [(each["account_id"].split(":")[0], Decimal(each["change"])) for each in seen["corrections"]]
    assert kinds == [("budget", back), ("wallet", back)]
    assert seen["amount"] == receipt["amount"]
    assert echo.settled(organisation) == 100 - Decimal("0.04") * USED
    standing = json.loads(echo.ask("GET", "/v1/standing", key=key)[2])["budgets"][0]
    assert Decimal(standing["used"]) == Decimal("0.04") * USED
    audit = echo.command("ledger", "audit")
    assert audit.returncode == 0, audit.stderr


def test_a_receipt_of_somebody_else_and_its_corrections_are_not_shown(echo: Installation) -> None:
    _, headers, _ = echo.chat()
    receipt = echo.receipt(headers["x-request-id"], "posted")
    _, other = echo.organisation("1")
    assert echo.ask("GET", f"/v1/receipts/{receipt['request_id']}", key=other)[0] == 404
