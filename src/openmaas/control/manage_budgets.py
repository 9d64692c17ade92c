"""Budgets: the most that an organisation, project or key may spend of a wallet in a period."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from openmaas.control.acting import Acting, by_id
from openmaas.control.rooms import Rooms
from openmaas.control.shapes import PageSize
from openmaas.control.shapes_funds import NewAmount, NewBudget
from openmaas.control.show import check_limit, page, show
from openmaas.core.bounds import PAGE_SIZE
from openmaas.core.errors import InsufficientFunds
from openmaas.core.money import parse_amount
from openmaas.identity.book import need_subject
from openmaas.ledger.selling import payers
from openmaas.ledger.spending.drawing import draw
from openmaas.store.audit_log import audited


def routes(rooms: Rooms) -> APIRouter:
    """The routes over ``rooms``."""
    router = APIRouter(tags=["funds"])
    database = rooms.database

    @router.post("/organisations/{organisation_id}/budgets", status_code=201)
    async def add_budget(organisation_id: str, body: NewBudget, who: Acting) -> dict[str, Any]:
        subject_id = body.subject_id or (organisation_id if body.scope == "organisation" else "")
        await database.read(need_subject, organisation_id, body.scope, subject_id)
        made = await database.run(
            audited(
                who, "budget.create", by_id, payers.add_budget, {"organisation_id": organisation_id, **body.told()}
            ),
            rooms.clock,
            organisation_id,
            scope=body.scope,
            subject_id=subject_id,
            currency=body.currency or rooms.currency,
            amount_nanos=parse_amount(body.amount),
            period=body.period,
        )
        return show(made)

    @router.get("/organisations/{organisation_id}/budgets")
    async def list_budgets(organisation_id: str, after: str = "", limit: PageSize = PAGE_SIZE) -> dict[str, Any]:
        rows = await database.read(payers.list_budgets, organisation_id, after=after, limit=check_limit(limit) + 1)
        return page([show(row) for row in rows], limit)

    @router.patch("/budgets/{budget_id}")
    async def change_budget(budget_id: str, body: NewAmount, who: Acting) -> dict[str, Any]:
        change = audited(who, "budget.change", budget_id, payers.change_budget, body.told())
        account_id = await database.read(payers.budget_account, rooms.clock, budget_id)
        wanted = rooms.clock, budget_id, parse_amount(body.amount)
        try:
            return show(await draw(database, account_id, change, *wanted, patient=True))
        except InsufficientFunds:  # it is held by requests that run
            return show(await database.run(change, *wanted))

    @router.delete("/budgets/{budget_id}")
    async def end_budget(budget_id: str, who: Acting) -> dict[str, Any]:
        await database.run(audited(who, "budget.end", budget_id, payers.end_budget), rooms.clock, budget_id)
        return {"id": budget_id, "ended": True}

    return router
