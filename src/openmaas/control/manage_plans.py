"""Plans for sale and who has subscribed to one."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from openmaas.catalog.book import need_models
from openmaas.control.acting import Acting, by_id
from openmaas.control.rooms import Rooms
from openmaas.control.shapes import PageSize
from openmaas.control.shapes_funds import ChangedSubscription, NewPlan, NewSubscription
from openmaas.control.show import check_limit, page, show
from openmaas.core.bounds import PAGE_SIZE
from openmaas.core.money import parse_amount
from openmaas.identity.book import need_organisation
from openmaas.ledger.book import wallet_id
from openmaas.ledger.selling import plans, subscribing
from openmaas.ledger.selling.plans import Plan
from openmaas.ledger.spending.drawing import draw
from openmaas.ledger.spending.plans import PlanTerms, Subscription, Window
from openmaas.store.audit_log import Actor, audited


def routes(rooms: Rooms) -> APIRouter:
    """The routes over ``rooms``."""
    router = APIRouter(tags=["plans"])
    database = rooms.database

    @router.post("/plans", status_code=201)
    async def add_plan(body: NewPlan, who: Acting) -> dict[str, Any]:
        await database.read(need_models, body.models)
        terms = PlanTerms(
            windows=tuple(
                Window(each.name, each.kind, parse_amount(each.credits, field="windows"), each.hours * 3600)
                for each in body.windows
            ),
            price_nanos=parse_amount(body.price, field="price"),
            currency=body.currency or rooms.currency,
            models=None if body.models is None else tuple(body.models),
            entrances=tuple(body.entrances),
            seats=body.seats,
        )
        add = audited(who, "plan.create", by_id, plans.add_plan, body.told())
        return show_plan(await database.run(add, rooms.clock, body.name, terms))

    @router.get("/plans")
    async def list_plans(after: str = "", limit: PageSize = PAGE_SIZE) -> dict[str, Any]:
        rows = await database.read(plans.list_plans, after=after, limit=check_limit(limit) + 1)
        return page([show_plan(row) for row in rows], limit)

    @router.post("/organisations/{organisation_id}/subscriptions", status_code=201)
    async def subscribe(organisation_id: str, body: NewSubscription, who: Acting) -> dict[str, Any]:
        await database.read(need_organisation, organisation_id)
        plan = await database.read(plans.find_plan, body.plan_id)
        made = await draw(
            database,
            wallet_id(organisation_id, plan.terms.currency),
            audited(
                who,
                "subscription.create",
                by_id,
                subscribing.subscribe,
                {"organisation_id": organisation_id, **body.told()},
            ),
            rooms.clock,
            organisation_id,
            body.plan_id,
            request_key=body.request_key,
            renews=body.renews,
            overflows=body.overflows,
        )
        return show(made)

    @router.get("/subscriptions")
    async def list_subscriptions(
        organisation_id: str | None = None, after: str = "", limit: PageSize = PAGE_SIZE
    ) -> dict[str, Any]:
        rows = await database.read(
            subscribing.list_subscriptions,
            organisation_id=organisation_id,
            after=after,
            limit=check_limit(limit) + 1,
        )
        return page([show(row) for row in rows], limit)

    @router.patch("/subscriptions/{subscription_id}")
    async def change(subscription_id: str, body: ChangedSubscription, who: Acting) -> dict[str, Any]:
        had = await database.read(subscribing.find_subscription, subscription_id)
        if body.plan_id is not None:
            had = await _to_plan(rooms, who, had, body.plan_id)
        flags = body.model_dump(exclude_none=True, exclude={"plan_id"})
        revise = audited(who, "subscription.change", subscription_id, subscribing.revise, flags)
        return show(await database.run(revise, had, flags) if flags else had)

    return router


def show_plan(plan: Plan) -> dict[str, Any]:
    """A plan for the outside, with its terms beside its name."""
    shown = show(plan)
    del shown["terms"]
    windows = []
    for window in plan.terms.windows:
        each = show(window)
        each["credits"], each["hours"] = each.pop("amount"), each.pop("seconds") // 3600
        windows.append(each)
    return {**shown, **show(plan.terms), "windows": windows}


async def _to_plan(rooms: Rooms, who: Actor, had: Subscription, plan_id: str) -> Subscription:
    plan = await rooms.database.read(plans.find_plan, plan_id)
    wallet = wallet_id(had.organisation_id, plan.terms.currency)
    change = audited(who, "subscription.change", had.id, subscribing.change_plan, {"plan_id": plan_id})
    return await draw(rooms.database, wallet, change, rooms.clock, had.id, plan_id)
