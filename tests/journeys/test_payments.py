"""Orders and their payments, with bytes signed as Stripe signs them: booked once, or refused and not booked."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest

from installation import Installation
from openmaas.control import stripe
from openmaas.core.errors import SignatureInvalid
from stripe_events import SECRET, session, signature


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A house that takes Stripe's events; its books agree when the tests are done."""
    made = Installation(tmp_path_factory.mktemp("payments") / "data", stripe_webhook_secret=SECRET)
    made.start()
    yield made
    made.end()


class Customer:
    """An organisation with 1 CNY that orders."""

    def __init__(self, house: Installation) -> None:
        self.house = house
        self.id, self.key = house.organisation("1")
        self.payments = 0

    def order(self, amount: str = "50", currency: str = "CNY", **fields: Any) -> str:
        self.payments += 1
        body = {"amount": amount, "currency": currency, "request_key": str(self.payments), **fields}
        status, _, answer = self.house.ask("POST", "/v1/orders", body, key=self.key)
        assert status == 201, answer
        return str(json.loads(answer)["id"])

    def payment(self) -> str:
        """A provider's id that nobody had before."""
        self.payments += 1
        return f"pi_{self.id}_{self.payments}"

    def balance(self, currency: str = "CNY") -> Decimal:
        accounts = json.loads(self.house.ask("GET", "/v1/balance", key=self.key)[2])["data"]
        return sum((Decimal(each["posted"]) for each in accounts if each["currency"] == currency), Decimal())


def hear(house: Installation, event: Any, header: str | None = None) -> tuple[int, dict[str, Any]]:
    """What is answered to an event, signed now unless a ``header`` is given. Without a key, as Stripe sends it."""
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    headers = {"stripe-signature": signature(body) if header is None else header, "authorization": ""}
    status, _, answer = house.ask("POST", "/payments/stripe", body, headers=headers)
    return status, json.loads(answer)


def test_a_paid_session_tops_the_wallet_up_once_however_often_it_is_told(house: Installation) -> None:
    customer = Customer(house)
    order, payment = customer.order(), customer.payment()
    event = session(order, 5000, "cny", payment)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: hear(house, event), range(6)))
    assert {status for status, _ in answers} == {200}
    assert len({answer["transfer_id"] for _, answer in answers}) == 1
    assert customer.balance() == 51
    status, _, found = house.ask("GET", f"/v1/orders/{order}", key=customer.key)
    assert (status, json.loads(found)["payment_id"]) == (200, payment)
    transfers = house.admin("GET", f"/transfers?account_id=wallet:{customer.id}:CNY")[1]["data"]
    assert transfers[-1]["request_key"] == f"topup:{customer.id}:stripe:{payment}"


@pytest.mark.parametrize(
    ("amount", "currency", "minor"), [("50.25", "USD", 5025), ("500", "JPY", 500), ("5.12", "KWD", 5120)]
)
def test_minor_units_are_those_of_the_currency(house: Installation, amount: str, currency: str, minor: int) -> None:
    customer = Customer(house)
    order = customer.order(amount, currency)
    assert hear(house, session(order, minor + 1, currency.lower(), customer.payment()))[0] == 409
    assert hear(house, session(order, minor, currency.lower(), customer.payment()))[0] == 200
    assert customer.balance(currency) == Decimal(amount)


def test_a_payment_that_is_not_what_was_ordered_is_refused_and_never_booked(house: Installation) -> None:
    customer = Customer(house)
    order = customer.order()
    refused = [
        (session(order, 4999, "cny", customer.payment()), 409, "the order is for 50.00 CNY, what came in is 49.99 CNY"),
        (session(order, 500000, "cny", customer.payment()), 409, "what came in is 5000.00 CNY"),
        (session(order, 5000, "usd", customer.payment()), 409, "what came in is 50.00 USD"),
        (session(order, 0, "cny", customer.payment(), amount_total=None), 409, "what came in is 0.00 CNY"),
        (session(customer.order(channel="bank"), 5000, "cny", customer.payment()), 409, "to be paid by bank"),
        (session("ord_nosuch", 5000, "cny", customer.payment()), 404, "there is no order ord_nosuch"),
        (session(None, 5000, "cny", customer.payment()), 400, "client_reference_id"),
        (session(order, 5000, "cny", payment_status=7), 400, "payment_status"),
        (b"[]", 400, "object"),
        (b"{", 400, "not valid JSON"),
    ]
    for event, status, said in refused:
        found, answer = hear(house, event)
        assert (found, said in answer["error"]["message"]) == (status, True), answer
    assert customer.balance() == 1


def test_what_tells_of_no_payment_is_heard_and_books_nothing(house: Installation) -> None:
    customer = Customer(house)
    order, payment = customer.order(), customer.payment()
    unpaid = session(order, 5000, "cny", payment, payment_status="unpaid")
    for event in (unpaid, {**unpaid, "type": "invoice.paid", "data": {"object": {"id": "in_1"}}}):
        assert hear(house, event) == (200, {"booked": False, "reason": "this event tells of no payment"})
    assert customer.balance() == 1
    late = session(order, 5000, "cny", payment) | {"type": "checkout.session.async_payment_succeeded"}
    assert hear(house, late)[1]["booked"] is True
    assert customer.balance() == 51


def test_an_order_is_paid_once_and_a_payment_pays_one_order(house: Installation) -> None:
    customer = Customer(house)
    first, second, payment = customer.order(), customer.order(), customer.payment()
    assert hear(house, session(first, 5000, "cny", payment))[0] == 200
    assert (
        f"is paid by {payment}" in hear(house, session(first, 5000, "cny", customer.payment()))[1]["error"]["message"]
    )
    assert f"paid the order {first}" in hear(house, session(second, 5000, "cny", payment))[1]["error"]["message"]
    assert customer.balance() == 51


def test_unsigned_old_and_forged_events_are_refused_and_never_booked(house: Installation) -> None:
    customer = Customer(house)
    body = json.dumps(session(customer.order(), 5000, "cny", customer.payment())).encode()
    now = int(time.time())
    good = signature(body)
    headers = [
        "",
        "nonsense",
        f"t={now}",
        good.replace("v1=", "v0="),
        good.replace(f"t={now}", f"t={now + 1}"),
        signature(body, "whsec_other"),
        signature(body + b" "),
        signature(body, t=now - 301),
        signature(body, t=now + 302),
        f"t={'9' * 5000},v1={'0' * 64}",
        f"t={now},{good}",
    ]
    for header in headers:
        status, answer = hear(house, body, header)
        assert (status, answer["error"]["code"]) == (400, "invalid_signature"), header
    assert customer.balance() == 1
    assert hear(house, body, signature(body, t=now - 200, others=("0" * 64, "é")))[0] == 200
    assert customer.balance() == 51


def test_the_signature_of_the_documentation_is_ours() -> None:
    """A fixed vector, so that test and program cannot err alike: made with OpenSSL's command line."""
    header = "t=1492774577,v1=0e3b4a7a1a0b1c5ec6a1a4b5aa0b9f0b8b4d0bfb2f3a8a4a6f3ce7b2b0a0c0de"
    with pytest.raises(SignatureInvalid):
        stripe.check_signature(header, b"{}", SECRET, 1492774577)
    right = "t=1492774577,v1=6b7116673ce957beb7fb22f85a7235b7d3a8a3859a83807cfebe0f4a71b80b5f"
    stripe.check_signature(right, b'{"id":"evt_1"}', SECRET, 1492774577 + 299)
    with pytest.raises(SignatureInvalid, match="more than 300 s ago"):
        stripe.check_signature(right, b'{"id":"evt_1"}', SECRET, 1492774577 + 301)


def test_orders_are_made_once_and_seen_by_their_own_customer(house: Installation) -> None:
    ours, theirs = Customer(house), Customer(house)
    body = {"amount": "50", "request_key": "same"}
    made = [json.loads(house.ask("POST", "/v1/orders", body, key=ours.key)[2]) for _ in range(2)]
    assert made[0] == made[1]
    status, _, answer = house.ask("POST", "/v1/orders", {**body, "amount": "51"}, key=ours.key)
    assert (status, json.loads(answer)["error"]["param"]) == (409, "request_key")
    assert house.ask("GET", f"/v1/orders/{made[0]['id']}", key=theirs.key)[0] == 404
    assert [o["id"] for o in json.loads(house.ask("GET", "/v1/orders", key=ours.key)[2])["data"]] == [made[0]["id"]]
    for fields in ({"amount": "0"}, {"amount": "1.005"}, {"amount": "1", "currency": "UGX"}):
        status, _, answer = house.ask("POST", "/v1/orders", {"request_key": "x", **fields}, key=ours.key)
        assert status == 400, answer


def test_what_came_in_by_bank_is_booked_by_the_operator(house: Installation) -> None:
    customer = Customer(house)
    order, payment = customer.order(channel="bank"), customer.payment()
    pay = f"/orders/{order}/pay"
    assert house.admin("POST", pay, {"amount": "49", "payment_id": payment})[0] == 409
    paid = house.admin("POST", pay, {"amount": "50", "payment_id": payment})
    assert paid[0] == 200
    assert house.admin("POST", pay, {"amount": "50", "payment_id": payment}) == paid
    assert customer.balance() == 51
    assert house.admin("POST", f"/orders/{customer.order()}/pay", {"amount": "50", "payment_id": "x"})[0] == 409


def test_a_house_without_a_secret_takes_no_events_and_none_is_printed(echo: Installation, house: Installation) -> None:
    status, answer = hear(echo, session("ord_1", 1, "cny"))
    assert (status, "stripe_webhook_secret" in answer["error"]["message"]) == (404, True)
    assert SECRET not in house.command("settings").stdout + house.command("settings", "--json").stdout
    assert SECRET not in house.log.read_text()


def test_commands_list_the_orders_of_one_organisation_alone(house: Installation) -> None:
    ours, other = Customer(house), Customer(house)
    made = [customer.order("5") for customer in (ours, other)]
    done = house.command("orders", "list", "--organisation", ours.id, "--json")
    assert [each["id"] for each in json.loads(done.stdout)["data"]] == made[:1], done.stderr


def test_a_balance_is_read_in_pages(house: Installation) -> None:
    customer = Customer(house)
    for currency in ("CNY", "USD", "EUR"):
        topup = {"amount": "1", "currency": currency, "request_key": currency}
        assert house.admin("POST", f"/organisations/{customer.id}/topups", topup)[0] == 201
    whole = json.loads(house.ask("GET", "/v1/balance", key=customer.key)[2])
    assert whole["next_after"] is None
    first = json.loads(house.ask("GET", "/v1/balance?limit=2", key=customer.key)[2])
    rest = json.loads(house.ask("GET", f"/v1/balance?limit=2&after={first['next_after']}", key=customer.key)[2])
    assert (len(first["data"]), first["data"] + rest["data"], rest["next_after"]) == (2, whole["data"], None)
