"""Orders and their payments: of the operator, of a customer with their own key, and what providers tell.

Annotations are evaluated here (no ``from __future__``): FastAPI must see the local ``Reader``.
"""

import logging
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request

from openmaas.control import stripe
from openmaas.control.acting import Acting, by_id
from openmaas.control.reading import Recognise, reading
from openmaas.control.rooms import Rooms
from openmaas.control.shapes import PageSize
from openmaas.control.shapes_money import BANK, NewOrder, NewOrderFor, NewPayment
from openmaas.control.show import check_limit, page, show
from openmaas.core.bounds import PAGE_SIZE
from openmaas.core.errors import Refused, ThingUnknown
from openmaas.core.money import parse_amount
from openmaas.identity.book import need_organisation
from openmaas.identity.face import Caller
from openmaas.ledger.selling import orders
from openmaas.ledger.selling.orders import Order, Payment
from openmaas.store.audit_log import Actor, audited

log = logging.getLogger(__name__)


def routes(rooms: Rooms) -> APIRouter:
    """The operator's routes over ``rooms``."""
    router = APIRouter(tags=["payments"])
    database = rooms.database

    @router.post("/orders", status_code=201)
    async def add_order(body: NewOrderFor, who: Acting) -> dict[str, Any]:
        await database.read(need_organisation, body.organisation_id)
        return show(await _add(rooms, who, body.organisation_id, body))

    @router.get("/orders")
    async def list_orders(
        organisation_id: str | None = None, after: str = "", limit: PageSize = PAGE_SIZE
    ) -> dict[str, Any]:
        rows = await database.read(orders.list_orders, organisation_id, after=after, limit=check_limit(limit) + 1)
        return page([show(row) for row in rows], limit)

    @router.post("/orders/{order_id}/pay")
    async def pay_order(order_id: str, body: NewPayment, who: Acting) -> dict[str, Any]:
        currency = body.currency or rooms.currency
        payment = Payment(body.payment_id, BANK, currency, parse_amount(body.amount))
        return show(await _pay(rooms, who, order_id, payment))

    return router


def own_routes(rooms: Rooms, caller: Recognise) -> APIRouter:
    """A customer's routes over ``rooms`` for whoever ``caller`` recognises."""
    router = APIRouter(tags=["customers"])

    Reader = Annotated[Caller, Depends(reading(caller))]  # noqa: N806 - a type

    @router.post("/orders", status_code=201)
    async def add_own_order(body: NewOrder, who: Reader, actor: Acting) -> dict[str, Any]:
        return show(await _add(rooms, actor, who.organisation_id, body))

    @router.get("/orders")
    async def list_own_orders(who: Reader, after: str = "", limit: PageSize = PAGE_SIZE) -> dict[str, Any]:
        rows = await rooms.database.read(
            orders.list_orders, who.organisation_id, after=after, limit=check_limit(limit) + 1
        )
        return page([show(row) for row in rows], limit)

    @router.get("/orders/{order_id}")
    async def own_order(order_id: str, who: Reader) -> dict[str, Any]:
        return show(await rooms.database.read(orders.find_order, order_id, who.organisation_id))

    return router


def provider_routes(rooms: Rooms) -> APIRouter:
    """What payment providers call. Nobody is recognised by a key here: the bytes are signed."""
    router = APIRouter(tags=["payments"])

    @router.post("/stripe")
    async def hear_stripe(request: Request, stripe_signature: Annotated[str, Header()] = "") -> dict[str, Any]:
        if not rooms.stripe_webhook_secret:
            raise ThingUnknown("Stripe is not set up here: the setting stripe_webhook_secret is empty")
        body = await request.body()
        try:
            stripe.check_signature(stripe_signature, body, rooms.stripe_webhook_secret, rooms.clock.wall_ms() / 1000)
            told = stripe.read_payment(body)
            if told is None:
                return {"booked": False, "reason": "this event tells of no payment"}
            order_id, payment = told
            paid = await _pay(rooms, Actor(stripe.CHANNEL, rooms.clock), order_id, payment)
        except Refused as error:
            log.warning("an event of Stripe was refused: %s", error.message)
            raise
        return {"booked": True, **show(paid)}

    return router


async def _add(rooms: Rooms, who: Actor, organisation_id: str, body: NewOrder) -> Order:
    amount_nanos, currency = parse_amount(body.amount), body.currency or rooms.currency
    if body.channel == stripe.CHANNEL:
        stripe.check_payable(currency, amount_nanos)
    return await rooms.database.run(
        audited(who, "order.create", by_id, orders.add_order, {**body.told(), "organisation_id": organisation_id}),
        rooms.clock,
        organisation_id,
        currency=currency,
        amount_nanos=amount_nanos,
        channel=body.channel,
        request_key=body.request_key,
    )


async def _pay(rooms: Rooms, who: Actor, order_id: str, payment: Payment) -> Order:
    book = audited(who, "order.pay", by_id, orders.pay_order, {"payment_id": payment.id})
    return await rooms.database.run(book, rooms.clock, order_id, payment)
