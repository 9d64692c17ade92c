"""Refunds and credit notes, and vouchers for whoever has a code."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from openmaas.control.acting import Acting, by_id
from openmaas.control.rooms import Rooms
from openmaas.control.shapes import PageSize
from openmaas.control.shapes_money import NewBatch, NewCreditNote, NewRefund
from openmaas.control.show import check_limit, page, parse_time, show
from openmaas.core.bounds import PAGE_SIZE
from openmaas.core.money import parse_amount
from openmaas.identity.book import need_organisation
from openmaas.ledger.book import wallet_id
from openmaas.ledger.selling import refunds, vouchers
from openmaas.ledger.spending.drawing import draw
from openmaas.store.audit_log import audited


def routes(rooms: Rooms) -> APIRouter:
    """The routes over ``rooms``."""
    router = APIRouter(tags=["money back"])
    database = rooms.database

    @router.post("/organisations/{organisation_id}/refunds", status_code=201)
    async def refund(organisation_id: str, body: NewRefund, who: Acting) -> dict[str, Any]:
        await database.read(need_organisation, organisation_id)
        currency = body.currency or rooms.currency
        made = await draw(
            database,
            wallet_id(organisation_id, currency),
            audited(who, "refund.create", by_id, refunds.refund, {"organisation_id": organisation_id, **body.told()}),
            rooms.clock,
            organisation_id,
            currency=currency,
            amount_nanos=parse_amount(body.amount),
            request_key=body.request_key,
            memo=body.memo,
        )
        return show(made)

    @router.get("/organisations/{organisation_id}/refunds")
    async def list_refunds(organisation_id: str, after: str = "", limit: PageSize = PAGE_SIZE) -> dict[str, Any]:
        rows = await database.read(refunds.list_refunds, organisation_id, after=after, limit=check_limit(limit) + 1)
        return page([show(row) for row in rows], limit)

    @router.post("/refunds/{refund_id}/post")
    async def post_refund(refund_id: str, who: Acting) -> dict[str, Any]:
        end = audited(who, "refund.post", refund_id, refunds.end_refund)
        return show(await database.run(end, rooms.clock, refund_id, post=True))

    @router.post("/refunds/{refund_id}/void")
    async def void_refund(refund_id: str, who: Acting) -> dict[str, Any]:
        end = audited(who, "refund.void", refund_id, refunds.end_refund)
        return show(await database.run(end, rooms.clock, refund_id, post=False))

    @router.post("/organisations/{organisation_id}/credit-notes", status_code=201)
    async def credit_note(organisation_id: str, body: NewCreditNote, who: Acting) -> dict[str, Any]:
        await database.read(need_organisation, organisation_id)
        told = {"organisation_id": organisation_id, **body.told()}
        made = await database.run(
            audited(who, "credit_note.create", by_id, refunds.credit_note, told),
            rooms.clock,
            organisation_id,
            currency=body.currency or rooms.currency,
            amount_nanos=parse_amount(body.amount),
            request_key=body.request_key,
            memo=body.memo,
        )
        return show(made)

    @router.post("/voucher-batches", status_code=201)
    async def issue(body: NewBatch, who: Acting) -> dict[str, Any]:
        batch, codes = await database.run(
            audited(who, "voucher_batch.create", lambda made: made[0].id, vouchers.issue, body.told()),
            rooms.clock,
            currency=body.currency or rooms.currency,
            amount_nanos=parse_amount(body.amount),
            count=body.count,
            expires_ms=parse_time(body.expires_at, "expires_at"),
            request_key=body.request_key,
            memo=body.memo,
        )
        return {**show(batch), "codes": codes, "note": "the codes are shown this once"}

    @router.get("/voucher-batches")
    async def list_batches(after: str = "", limit: PageSize = PAGE_SIZE) -> dict[str, Any]:
        rows = await database.read(vouchers.list_batches, after=after, limit=check_limit(limit) + 1)
        return page([show(row) for row in rows], limit)

    @router.delete("/voucher-batches/{batch_id}")
    async def end_batch(batch_id: str, who: Acting) -> dict[str, Any]:
        await database.run(audited(who, "voucher_batch.end", batch_id, vouchers.end_batch), rooms.clock, batch_id)
        return {"id": batch_id, "ended": True}

    return router
