"""Models and deployments."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter

from openmaas.catalog import book
from openmaas.control.rooms import Rooms
from openmaas.control.shapes import NewDeployment, NewModel, Wanted
from openmaas.control.show import check_limit, page, show
from openmaas.core.bounds import PAGE_SIZE


def routes(rooms: Rooms) -> APIRouter:
    """The routes over ``rooms``."""
    router = APIRouter(tags=["catalogue"])
    database = rooms.database

    @router.post("/models", status_code=201)
    async def add_model(body: NewModel) -> dict[str, Any]:
        model = book.Model(**body.model_dump(), created_ms=rooms.clock.wall_ms())
        await database.run(book.add_model, model)
        return show(model)

    @router.get("/models")
    async def list_models(after: str = "", limit: int = PAGE_SIZE) -> dict[str, Any]:
        rows = await database.read(book.list_models, after=after, limit=check_limit(limit) + 1)
        return page([show(row) for row in rows], limit, "name")

    @router.post("/deployments", status_code=201)
    async def add_deployment(body: NewDeployment) -> dict[str, Any]:
        fields = body.model_dump(exclude={"api_key", "served_name", "model", "kind"})
        made = book.new_deployment(
            rooms.clock, body.model, body.kind, served_name=body.served_name or body.model, **fields
        )
        if body.api_key:
            sealed = rooms.master.seal(body.api_key.encode(), made.id)
            made = msgspec.structs.replace(made, credential_sealed=sealed, master_version=rooms.master.current)
        await database.run(book.add_deployment, made)
        return show(made)

    @router.get("/deployments")
    async def list_deployments(after: str = "", limit: int = PAGE_SIZE) -> dict[str, Any]:
        rows = await database.read(book.list_deployments, after=after, limit=check_limit(limit) + 1)
        return page([show(row) for row in rows], limit)

    @router.patch("/deployments/{deployment_id}")
    async def want_deployment(deployment_id: str, body: Wanted) -> dict[str, Any]:
        return show(await database.run(book.want_deployment, deployment_id, body.wanted))

    return router
