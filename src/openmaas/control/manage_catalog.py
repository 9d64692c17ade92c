"""Models and their deployments."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from fastapi import APIRouter

from openmaas.catalog import book, deployments
from openmaas.control.acting import Acting
from openmaas.control.rooms import Rooms
from openmaas.control.shapes import (
    ChangedDeployment,
    NewDeployment,
    NewFallbacks,
    NewModel,
    NewTrainer,
    PageSize,
)
from openmaas.control.show import check_limit, page, show
from openmaas.core.bounds import PAGE_SIZE
from openmaas.core.clock import Clock
from openmaas.core.errors import FieldInvalid, ModelUnknown
from openmaas.engines.echo.cues import read_options
from openmaas.engines.gguf import check_whole
from openmaas.engines.glm import folder as glm
from openmaas.engines.openvino import folder as openvino
from openmaas.engines.search.back_ends import back_end
from openmaas.engines.spec import check_options
from openmaas.engines.weights import check_adapter, locate
from openmaas.engines.words import read_words
from openmaas.store.audit_log import audited


def routes(rooms: Rooms) -> APIRouter:
    """The routes over ``rooms``."""
    router = APIRouter(tags=["catalogue"])
    database = rooms.database

    @router.post("/models", status_code=201)
    async def add_model(body: NewModel, who: Acting) -> dict[str, Any]:
        if body.task == "generate" and not body.output_tokens_default:
            raise FieldInvalid("output_tokens_default must be at least 1", field="output_tokens_default")
        if body.checkpoint:
            await asyncio.to_thread(_check_checkpoint, Path(body.checkpoint))
        model = book.Model(**body.model_dump(), created_ms=rooms.clock.wall_ms())
        await database.run(audited(who, "model.create", model.name, book.add_model, body.told()), model)
        return show(model)

    @router.get("/models")
    async def list_models(after: str = "", limit: PageSize = PAGE_SIZE) -> dict[str, Any]:
        rows = await database.read(book.list_models, after=after, limit=check_limit(limit) + 1)
        return page([show(row) for row in rows], limit, "name")

    @router.put("/models/{name:path}/trainer")
    async def set_trainer(name: str, body: NewTrainer, who: Acting) -> dict[str, Any]:
        place = audited(who, "model.trainer", name, book.set_trainer, body.told())
        return show(await database.run(place, name, body.trainer, body.arguments, body.processes))

    @router.put("/models/{name:path}/fallbacks")
    async def set_fallbacks(name: str, body: NewFallbacks, who: Acting) -> dict[str, Any]:
        place = audited(who, "model.fallbacks", name, book.set_fallbacks, body.told())
        return show(await database.run(place, name, body.models))

    @router.delete("/models/{name:path}/fallbacks")
    async def remove_fallbacks(name: str, who: Acting) -> dict[str, Any]:
        return show(await database.run(audited(who, "model.fallbacks", name, book.set_fallbacks), name, []))

    @router.post("/deployments", status_code=201)
    async def add_deployment(body: NewDeployment, who: Acting) -> dict[str, Any]:
        fields = body.model_dump(exclude={"api_key", "served_name", "model", "kind"})
        made = deployments.new_deployment(
            rooms.clock, body.model, body.kind, served_name=body.served_name or body.model, **fields
        )
        if made.local:  # said here, not in a log when its engine cannot start
            await asyncio.to_thread(_check_options, made)
            if made.over:
                await asyncio.to_thread(check_adapter, made.weights)
            elif made.weights:
                await asyncio.to_thread(_check_weights, made, rooms.weights)

        def add(tx: sa.Connection) -> deployments.Deployment:
            whole = made
            if body.api_key:
                version, secret = rooms.master.seal(body.api_key.encode(), made.id)
                whole = msgspec.structs.replace(made, credential_sealed=secret, master_version=version)
            deployments.add_deployment(tx, whole)
            return whole

        return show(await database.run(audited(who, "deployment.create", made.id, add, body.told())))

    @router.get("/deployments")
    async def list_deployments(after: str = "", limit: PageSize = PAGE_SIZE) -> dict[str, Any]:
        rows = await database.read(deployments.list_deployments, after=after, limit=check_limit(limit) + 1)
        return page([show(row) for row in rows], limit)

    @router.patch("/deployments/{deployment_id}")
    async def change_deployment(deployment_id: str, body: ChangedDeployment, who: Acting) -> dict[str, Any]:
        change = audited(who, "deployment.change", deployment_id, deployments.change_deployment, body.told())
        return show(await database.run(change, deployment_id, body.told()))

    return router


def _check_options(deployment: deployments.Deployment) -> None:
    kind, options = deployment.kind, deployment.options
    if kind == "echo":
        read_options(options)
    elif kind == "search":
        back_end(options, Clock())
    else:
        check_options(kind, options)
        if kind == "glm":
            glm.check_extra()
        if kind == "openvino":
            openvino.check_extra()
        if kind == "moderator":
            read_words(Path(str(options.get("words", ""))))


def _check_checkpoint(folder: Path) -> None:
    for name in ("config.json", "tokenizer.json"):
        if not folder.is_absolute() or not (folder / name).is_file():
            said = f"checkpoint must be a folder, named from the root, that has a {name}; {folder} is none"
            raise FieldInvalid(said, field="checkpoint")


def _check_weights(deployment: deployments.Deployment, folder: Path) -> None:
    try:
        found = locate(deployment.weights, folder)
    except ModelUnknown as error:
        raise FieldInvalid(f"weights: {error.detail}", field="weights") from None
    except FieldInvalid as error:
        raise FieldInvalid(error.detail, field="weights") from None
    if found.path.suffix == ".gguf" and str(found.path) == deployment.weights:
        try:
            check_whole(found.path)
        except FieldInvalid as error:
            raise FieldInvalid(error.detail, field="weights") from None
    if deployment.kind not in found.kinds:
        raise FieldInvalid(f"{deployment.weights} is for kind {' or '.join(found.kinds)}", field="kind")
    if deployment.kind == "openvino":
        openvino.check_weights(found.path)
