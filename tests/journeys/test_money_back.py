"""Refunds, credit notes and vouchers, on a real house whose relays lease of the same wallets; then the audit."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from installation import Installation


def post(house: Installation, path: str, body: Any = None, status: int = 201) -> dict[str, Any]:
    found, answer = house.admin("POST", path, body)
    assert found == status, answer
    return dict(answer)


def refund(house: Installation, organisation: str, amount: str, key: str, status: int = 201) -> dict[str, Any]:
    return post(house, f"/organisations/{organisation}/refunds", {"amount": amount, "request_key": key}, status)


def chat(house: Installation, key: str) -> int:
    body = {"model": "echo", "messages": [{"role": "user", "content": "one two three"}], "max_tokens": 16}
    return house.ask("POST", "/v1/chat/completions", body, key=key)[0]


def test_a_refund_takes_the_money_at_once_and_leaves_once(echo: Installation) -> None:
    organisation, key = echo.organisation("5")
    assert chat(echo, key) == 200  # the wallet is leased now: the refund asks for it back
    begun = refund(echo, organisation, "4.5", "r")
    assert (begun["state"], refund(echo, organisation, "4.5", "r")) == ("pending", begun)
    wallet = echo.wallet(organisation)
    assert Decimal(wallet["pending"]) == Decimal("4.5")
    assert 4 < Decimal(wallet["posted"]) <= 5
    told = refund(echo, organisation, "4.5", "other", 409)["error"]
    assert (told["code"], told["param"]) == ("funds_missing", "amount")
    assert "max_tokens" not in told["message"]
    assert refund(echo, organisation, "1", "r", 409)["error"]["param"] == "request_key"
    ended = post(echo, f"/refunds/{begun['id']}/post", status=200)
    assert post(echo, f"/refunds/{begun['id']}/post", status=200) == ended
    assert post(echo, f"/refunds/{begun['id']}/void", status=409)["error"]["code"] == "conflict"
    assert 0 < echo.settled(organisation) < Decimal("0.5")


def test_a_refund_that_is_voided_gives_the_money_back_to_be_spent(echo: Installation) -> None:
    organisation, key = echo.organisation("5")
    begun = refund(echo, organisation, "5", "r")
    assert chat(echo, key) == 429
    assert post(echo, f"/refunds/{begun['id']}/void", status=200)["state"] == "voided"
    assert chat(echo, key) == 200
    refund(echo, organisation, "1", "r2")
    listed = echo.admin("GET", f"/organisations/{organisation}/refunds")[1]["data"]
    assert [(each["amount"], each["state"]) for each in listed] == [("5.00", "voided"), ("1.00", "pending")]


def test_a_credit_line_is_never_paid_out(echo: Installation) -> None:
    organisation, _ = echo.organisation("1")
    assert echo.admin("PUT", f"/organisations/{organisation}/credit", {"credit": "10"})[0] == 200
    told = refund(echo, organisation, "1.5", "r", 409)
    assert "0.50 CNY is missing" in told["error"]["message"]
    refund(echo, organisation, "1", "r2")


def test_two_refunds_of_the_same_money_are_one(echo: Installation) -> None:
    organisation, _ = echo.organisation("1")
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(
                lambda n: echo.admin(
                    "POST", f"/organisations/{organisation}/refunds", {"amount": "0.7", "request_key": str(n % 4)}
                ),
                range(8),
            )
        )
    assert len({answer["id"] for status, answer in answers if status == 201}) == 1
    assert Decimal(echo.wallet(organisation)["free"]) == Decimal("0.3")


def test_only_a_refund_can_be_ended_as_one(echo: Installation) -> None:
    organisation, _ = echo.organisation("1")
    topup = post(echo, f"/organisations/{organisation}/topups", {"amount": "1", "request_key": "t"})
    for name in (topup["id"], "nosuch"):
        assert post(echo, f"/refunds/{name}/post", status=404)["error"]["param"] == "refund_id"


def test_a_conflict_of_keys_does_not_tell_our_own_key(echo: Installation) -> None:
    organisation, _ = echo.organisation("1")
    path = f"/organisations/{organisation}/topups"
    post(echo, path, {"amount": "1", "request_key": "b1"})
    told = post(echo, path, {"amount": "2", "request_key": "b1"}, 409)["error"]
    assert told["param"] == "request_key"
    assert "topup:" not in told["message"]


def test_a_credit_note_gives_back_what_was_earned_once(echo: Installation) -> None:
    organisation, _ = echo.organisation("1")
    note = {"amount": "0.25", "request_key": "n", "memo": "the outage of Monday"}
    made = post(echo, f"/organisations/{organisation}/credit-notes", note)
    assert post(echo, f"/organisations/{organisation}/credit-notes", note) == made
    assert (made["kind"], made["debit"]) == ("credit_note", "revenue:CNY")
    assert Decimal(echo.wallet(organisation)["posted"]) == Decimal("1.25")


def in_days(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


def redeem(house: Installation, key: str, code: str) -> tuple[int, dict[str, Any]]:
    status, _, answer = house.ask("POST", "/v1/vouchers/redeem", {"code": code}, key=key)
    return status, json.loads(answer)


def test_a_voucher_is_redeemed_once_however_it_is_written(echo: Installation) -> None:
    batch = {"amount": "2", "count": 3, "expires_at": in_days(1), "request_key": "spring"}
    made = post(echo, "/voucher-batches", batch)
    assert post(echo, "/voucher-batches", batch)["codes"] == []  # nobody can read them a second time
    assert post(echo, "/voucher-batches", {**batch, "amount": "3"}, 409)["error"]["param"] == "request_key"
    (first, second, third), (ours, key) = made["codes"], echo.organisation("1")
    other_id, other = echo.organisation("1")
    status, moved = redeem(echo, key, first.lower().replace("-", " ").replace("0", "o").replace("1", "l"))
    assert (status, moved["kind"], moved["debit"]) == (201, "voucher", "vouchers:CNY")
    assert redeem(echo, key, first) == (201, moved)
    assert redeem(echo, other, first)[1]["error"]["code"] == "conflict"
    assert redeem(echo, other, "AAAAA-AAAAA-AAAAA-AAAAA")[1]["error"]["code"] == "not_found"
    assert Decimal(echo.wallet(ours)["posted"]) == 3
    with ThreadPoolExecutor(6) as pool:  # two customers race for one code
        raced = list(pool.map(lambda n: redeem(echo, (key, other)[n % 2], second), range(6)))
    assert len({answer["id"] for status, answer in raced if status == 201}) == 1
    assert sum(Decimal(echo.wallet(each)["posted"]) for each in (ours, other_id)) == 6
    assert echo.admin("DELETE", f"/voucher-batches/{made['id']}")[0] == 200
    assert "no longer valid" in redeem(echo, key, third)[1]["error"]["message"]
    (listed,) = [b for b in echo.admin("GET", "/voucher-batches?limit=100")[1]["data"] if b["id"] == made["id"]]
    assert (listed["count"], listed["redeemed"]) == (3, 2)
    assert listed["ended_at"]


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/voucher-batches", {"amount": "0", "expires_at": in_days(1), "request_key": "0"}, "amount"),
        ("/voucher-batches", {"amount": "1", "expires_at": in_days(-1), "request_key": "0"}, "expires_at"),
        ("/voucher-batches", {"amount": "1", "expires_at": in_days(1), "request_key": "0", "count": 10**6}, "count"),
        ("/organisations/{id}/refunds", {"amount": "1", "request_key": "0", "memo": "a\0b"}, "memo"),
        ("/organisations/{id}/credit-notes", {"amount": "1", "request_key": "0", "memo": "a\0b"}, "memo"),
        ("/organisations/{id}/topups", {"amount": "1", "request_key": "0", "memo": "a\0b"}, "memo"),
        (
            "/voucher-batches",
            {"amount": "1", "expires_at": in_days(1), "request_key": "0", "memo": "a\0b"},
            "memo",
        ),
        ("/organisations/{id}/refunds", {"amount": "-1", "request_key": "0"}, "amount"),
        ("/organisations/{id}/refunds", {"amount": "0", "request_key": "0"}, "amount"),
        ("/organisations/{id}/credit-notes", {"amount": "-1", "request_key": "0"}, "amount"),
        ("/organisations/nosuch/refunds", {"amount": "1", "request_key": "0"}, "organisation_id"),
    ],
)
def test_a_mistake_is_named(echo: Installation, path: str, body: dict[str, Any], field: str) -> None:
    organisation, _ = echo.organisation("1")
    status, told = echo.admin("POST", path.replace("{id}", organisation), body)
    assert 400 <= status < 500
    assert told["error"]["param"] == field, told


def test_a_voucher_needs_a_key_that_may_read_the_balance(echo: Installation) -> None:
    _, key = echo.organisation("1", scopes=["inference"])
    assert redeem(echo, key, "AAAAA")[1]["error"]["code"] == "missing_scope"
