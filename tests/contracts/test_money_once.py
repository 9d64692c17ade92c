"""Money that may move once, on each database, when many ask at the same moment."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from openmaas.core.clock import Clock
from openmaas.core.errors import Refused
from openmaas.ledger.audit import audit
from openmaas.ledger.book import find_account, top_up, wallet_id
from openmaas.ledger.selling.orders import Payment, add_order, pay_order
from openmaas.ledger.selling.refunds import end_refund, list_refunds, refund
from openmaas.ledger.selling.vouchers import issue, redeem
from openmaas.store.audit_log import Actor, audited, verify
from openmaas.store.database import Database
from servers import STORES, new_database

CLOCK = Clock()
WHO = Actor("key", CLOCK)
#: Until the year 2100.
LATER_MS = 4_102_444_800_000


@pytest.fixture(params=STORES)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A database of each kind with a wallet of 100; the audit and the audit log agree at the end."""
    made = new_database(request.param, tmp_path)
    made.call(top_up, CLOCK, "org", currency="CNY", amount_nanos=100, request_key="1", memo="")
    yield made
    assert made.look(audit, tmp_path, {}).disagreements == []
    assert made.look(verify)[1] == []
    made.close()


def meet(ask: Callable[[int], Any]) -> list[Any]:
    """What eight who ask at once are answered; None for who is refused."""

    def one(number: int) -> Any:
        try:
            return ask(number)
        except Refused:
            return None

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(one, range(8)))


def wallet(database: Database, organisation: str) -> tuple[int, int]:
    found = database.look(find_account, wallet_id(organisation, "CNY"))
    return found.posted_nanos, found.pending_nanos


def test_refunds_never_take_more_than_there_is_and_end_one_way(database: Database) -> None:
    book = audited(WHO, "refund.create", lambda made: str(made.id), refund)
    wanted = {"currency": "CNY", "amount_nanos": 30, "memo": ""}
    begun = meet(lambda n: database.call(book, CLOCK, "org", request_key=str(n), **wanted))
    assert len([each for each in begun if each]) == 3
    assert wallet(database, "org") == (100, 90)
    one = next(each for each in begun if each)
    ended = meet(lambda n: database.call(end_refund, CLOCK, one.id, post=n % 2 == 0))
    assert len({each.id for each in ended if each}) == 1
    states = sorted(each.state for each in database.look(list_refunds, "org", after="", limit=10))
    assert states[:2] == ["pending", "pending"]
    assert wallet(database, "org") == ((70, 60) if states[2] == "posted" else (100, 60))


def test_a_voucher_is_for_one_of_all_who_redeem_it(database: Database) -> None:
    terms = {"currency": "CNY", "amount_nanos": 5, "count": 1, "expires_ms": LATER_MS, "memo": ""}
    issued = meet(lambda _: database.call(issue, CLOCK, request_key="same", **terms))
    assert len({batch.id for batch, _ in issued}) == 1
    (code,) = [code for _, codes in issued for code in codes]
    book = audited(WHO, "voucher.redeem", lambda made: str(made.id), redeem)
    moved = meet(lambda n: database.call(book, CLOCK, f"org{n % 4}", code))
    assert len({each.id for each in moved if each}) == 1
    assert database.look(find_account, "vouchers:CNY").posted_nanos == -5


def test_an_order_is_paid_once_by_one_of_all_payments(database: Database) -> None:
    wanted = {"currency": "CNY", "amount_nanos": 7, "channel": "stripe"}
    orders = meet(lambda _: database.call(add_order, CLOCK, "org", request_key="same", **wanted))
    assert len({each.id for each in orders}) == 1
    book = audited(WHO, "order.pay", lambda made: str(made.id), pay_order)
    paid = meet(lambda n: database.call(book, CLOCK, orders[0].id, Payment(f"pi_{n % 3}", "stripe", "CNY", 7)))
    assert len({each.payment_id for each in paid if each}) == 1
    assert wallet(database, "org") == (107, 0)
