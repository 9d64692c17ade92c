"""Orders: what a customer wants to pay, and by which channel. A payment that agrees with its order tops the wallet up.

The provider's id of a payment is its key: one payment pays one order, once, however often the provider tells of it.
What differs in amount, currency or channel is refused and books nothing; a person must look at it.
"""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from openmaas.core.clock import Clock
from openmaas.core.errors import Conflict, FieldInvalid, ThingUnknown
from openmaas.core.money import check_currency, show_amount
from openmaas.ledger.book import top_up
from openmaas.ledger.law_sold import orders
from openmaas.store.outbox import announce


class Order(msgspec.Struct, frozen=True):
    """A top-up that was asked for; paid when it has a ``transfer_id``."""

    id: str
    organisation_id: str
    currency: str
    amount_nanos: int
    channel: str
    created_ms: int
    payment_id: str | None = None
    transfer_id: str | None = None
    paid_ms: int | None = None


class Payment(msgspec.Struct, frozen=True):
    """What a provider says that came in. ``id`` is the provider's own."""

    id: str
    channel: str
    currency: str
    amount_nanos: int


def add_order(
    tx: sa.Connection,
    clock: Clock,
    organisation_id: str,
    *,
    currency: str,
    amount_nanos: int,
    channel: str,
    request_key: str,
) -> Order:
    """Ask for a top-up. The same key twice is one order. Raises ``FieldInvalid``, and ``Conflict`` when the key stands
    for another order."""
    if amount_nanos <= 0:
        raise FieldInvalid("amount must be above 0", field="amount")
    key, wanted = f"{organisation_id}:{request_key}", (check_currency(currency), amount_nanos, channel)
    row = tx.execute(sa.select(orders).where(orders.c.request_key == key)).mappings().first()
    if row is not None:
        had = _order(row)
        if (had.currency, had.amount_nanos, had.channel) != wanted:
            raise Conflict(f"the key {request_key!r} stands for another order", field="request_key")
        return had
    made = Order(clock.new_id("ord").lower(), organisation_id, *wanted, clock.wall_ms())
    tx.execute(orders.insert().values(request_key=key, **msgspec.structs.asdict(made)))
    return made


def pay_order(tx: sa.Connection, clock: Clock, order_id: str, payment: Payment) -> Order:
    """Top up what was ordered, once; the same payment again returns the order as it is.

    Raises ``ThingUnknown``, and ``Conflict`` when the payment is not what was ordered or another one was before it.
    """
    had = find_order(tx, order_id)
    if had.payment_id == payment.id:
        return had
    if had.payment_id is not None:
        raise Conflict(f"the order {order_id} is paid by {had.payment_id}", field="order_id")
    elsewhere = tx.execute(sa.select(orders.c.id).where(orders.c.payment_id == payment.id)).scalar()
    if elsewhere is not None:
        raise Conflict(f"the payment {payment.id} paid the order {elsewhere}", field="payment_id")
    _check(had, payment)
    made = top_up(
        tx,
        clock,
        had.organisation_id,
        currency=had.currency,
        amount_nanos=had.amount_nanos,
        request_key=f"{payment.channel}:{payment.id}",
        memo=f"order {order_id}",
    )
    paid = {"payment_id": payment.id, "transfer_id": made.id, "paid_ms": clock.wall_ms()}
    tx.execute(orders.update().where(orders.c.id == order_id).values(paid))
    told = {"order_id": order_id, "payment_id": payment.id, "amount": show_amount(had.amount_nanos)}
    announce(tx, clock, had.organisation_id, "order.paid", {**told, "currency": had.currency})
    return msgspec.structs.replace(had, **paid)


def find_order(tx: sa.Connection, order_id: str, organisation_id: str | None = None) -> Order:
    """The order of this id, of this organisation when one is named. Raises ``ThingUnknown``."""
    row = tx.execute(sa.select(orders).where(orders.c.id == order_id)).mappings().first()
    if row is None or organisation_id not in (None, row["organisation_id"]):
        raise ThingUnknown(f"there is no order {order_id}", field="order_id")
    return _order(row)


def list_orders(tx: sa.Connection, organisation_id: str | None, *, after: str, limit: int) -> list[Order]:
    """Orders by id, after ``after``."""
    query = sa.select(orders).where(orders.c.id > after).order_by(orders.c.id).limit(limit)
    if organisation_id is not None:
        query = query.where(orders.c.organisation_id == organisation_id)
    return [_order(row) for row in tx.execute(query).mappings()]


def _check(order: Order, payment: Payment) -> None:
    if order.channel != payment.channel:
        raise Conflict(f"the order is to be paid by {order.channel}, not by {payment.channel}", field="channel")
    if (order.currency, order.amount_nanos) != (payment.currency, payment.amount_nanos):
        ordered, paid = (show_amount(each.amount_nanos, each.currency) for each in (order, payment))
        raise Conflict(f"the order is for {ordered}, what came in is {paid}", field="amount")


def _order(row: sa.RowMapping) -> Order:
    return Order(**{name: value for name, value in row.items() if name != "request_key"})
