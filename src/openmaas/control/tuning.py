"""Fine-tuning jobs, in the shapes of OpenAI and of Zhipu: checked, kept in the book of jobs, and told of.

Nothing trains here: a worker does (``jobs/tuning.py``), where the packages for it are; elsewhere a job is ``queued``
and says in its events what it waits for. Annotations are evaluated here (no ``from __future__``): FastAPI must see the
local ``User``.

https://platform.openai.com/docs/api-reference/fine-tuning · https://docs.bigmodel.cn/api-reference
"""

import asyncio
import shutil
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Query, Request

from openmaas.catalog.book import Model, find_model
from openmaas.catalog.deployments import remove_model
from openmaas.catalog.face import offers
from openmaas.control.files import show_list
from openmaas.control.reading import Recognise, using
from openmaas.control.rooms import Rooms
from openmaas.control.shapes_tuning import NewTuning, check_rest, method_of
from openmaas.control.show_tuning import show_checkpoints, show_events, show_job
from openmaas.core.bounds import PAGE_SIZE, TEXT_BYTES_MAX, TUNING_WAITS_S
from openmaas.core.errors import Conflict, FieldInvalid, ModelNotAllowed, ModelUnknown, ThingUnknown
from openmaas.files.face import Files
from openmaas.identity.face import Caller
from openmaas.ledger.prices import price_book
from openmaas.ledger.spending.funds import funding
from openmaas.store.audit_log import Actor, audited
from openmaas.work.book import Asker, add_job, cancel, find_job, list_jobs, remove_job
from openmaas.work.examples import read_examples
from openmaas.work.wanted import TUNING, Form, Method, Mistake, TuningWanted, text

Limit = Annotated[int, Query(ge=1, le=100)]


def routes(rooms: Rooms, caller: Recognise, form: Form) -> APIRouter:
    """The routes over ``rooms`` for whoever ``caller`` recognises, in the shapes of ``form``."""
    router = APIRouter(tags=["fine-tuning"], prefix="/fine_tuning")
    database, examples = rooms.database, _Examples(rooms.files)

    User = Annotated[Caller, Depends(using(caller))]  # noqa: N806 - a type

    @router.post("/jobs", operation_id=f"create_tuning_{form}")
    async def create(body: NewTuning, who: User) -> dict[str, Any]:
        method, numbers = method_of(body)
        check_rest(body)
        model = await _base(rooms, who, body.model)
        place, count = await examples.check(body.training_file, "training_file", method, who)
        if body.validation_file:
            await examples.check(body.validation_file, "validation_file", method, who)
        wanted = TuningWanted(
            form,
            model,
            body.training_file,
            body.validation_file or None,
            count,
            method,
            numbers,
            int.from_bytes(rooms.clock.random_bytes(4)) >> 1 if body.seed is None else body.seed,
            body.suffix or None,
            body.metadata,
            "" if body.request_id is None else str(body.request_id),
        )
        asker = Asker(who.organisation_id, who.project_id, who.key_id)
        asked = {"wanted": text(wanted), "progress": "{}", "place": place}
        return show_job(await database.run(add_job, rooms.clock, TUNING, asker, lives_s=TUNING_WAITS_S, **asked), form)

    @router.get("/jobs", operation_id=f"list_tunings_{form}")
    async def list_own(request: Request, who: User, after: str = "", limit: Limit = PAGE_SIZE) -> dict[str, Any]:
        if any(name.startswith("metadata") for name in request.query_params):
            raise FieldInvalid("jobs cannot be searched by metadata; list them and look", field="metadata")
        rows = await database.read(list_jobs, project_id=who.project_id, kind=TUNING, after=after, limit=limit + 1)
        return show_list([show_job(row, form) for row in rows], limit)

    @router.get("/jobs/{job_id}", operation_id=f"retrieve_tuning_{form}")
    async def retrieve(job_id: str, who: User) -> dict[str, Any]:
        return show_job(await database.read(find_job, job_id, who.project_id, TUNING), form)

    @router.get("/jobs/{job_id}/events", operation_id=f"list_tuning_events_{form}")
    async def events(job_id: str, who: User, after: str = "", limit: Limit = PAGE_SIZE) -> dict[str, Any]:
        job = await database.read(find_job, job_id, who.project_id, TUNING)
        found = show_events(job, form, trains=rooms.trains)
        ids = [event["id"] for event in found]
        if after and after not in ids:
            raise FieldInvalid(f"after must be an event of this job, not {after[:TEXT_BYTES_MAX]!r}", field="after")
        return show_list(found[ids.index(after) + 1 :] if after else found, limit)

    @router.get("/jobs/{job_id}/checkpoints", operation_id=f"list_tuning_checkpoints_{form}")
    async def checkpoints(job_id: str, who: User, limit: Limit = PAGE_SIZE) -> dict[str, Any]:
        return show_list(show_checkpoints(await database.read(find_job, job_id, who.project_id, TUNING)), limit)

    @router.post("/jobs/{job_id}/cancel", operation_id=f"cancel_tuning_{form}")
    async def stop(job_id: str, who: User) -> dict[str, Any]:
        await database.read(find_job, job_id, who.project_id, TUNING)
        return show_job(await database.run(cancel, rooms.clock, job_id, who.project_id), form)

    return router


def deleting_routes(rooms: Rooms, caller: Recognise) -> APIRouter:
    """What Zhipu's wire has beyond."""
    router = APIRouter(tags=["fine-tuning"], prefix="/fine_tuning")
    database = rooms.database

    User = Annotated[Caller, Depends(using(caller))]  # noqa: N806 - a type

    @router.delete("/jobs/{job_id}")
    async def delete(job_id: str, who: User) -> dict[str, Any]:
        job = await database.read(find_job, job_id, who.project_id, TUNING)
        if job.state == "open":
            raise Conflict("this job has not ended; cancel it first", field="job_id")
        await database.run(remove_job, job_id)
        return show_job(job, "zhipu")

    @router.delete("/fine_tuned_models/{name:path}")
    async def delete_model(name: str, who: User) -> dict[str, Any]:
        await _forget(rooms, who, name)
        return {"request_id": rooms.clock.new_id("req"), "model_name": name, "delete_status": "deleted"}

    return router


def model_routes(rooms: Rooms, caller: Recognise) -> APIRouter:
    """What OpenAI's wire has beyond."""
    router = APIRouter(tags=["fine-tuning"])

    User = Annotated[Caller, Depends(using(caller))]  # noqa: N806 - a type

    @router.delete("/models/{name:path}")
    async def delete_model(name: str, who: User) -> dict[str, Any]:
        await _forget(rooms, who, name)
        return {"id": name, "object": "model", "deleted": True}

    return router


async def _forget(rooms: Rooms, who: Caller, name: str) -> None:
    """Remove a customer's tuned model, with its deployments and all that its job left. Raises ``ModelUnknown``."""

    def book(tx: sa.Connection) -> Model:
        if find_model(tx, name).owner != who.organisation_id:
            raise ModelUnknown(f"there is no fine-tuned model {name!r}", field="model")
        return remove_model(tx, name)

    found = await rooms.database.run(audited(Actor(who.key_id, rooms.clock), "model.remove", name, book))
    folder = Path(found.checkpoint).parent
    if folder.parent == rooms.tuned:  # an engine may still read it: then the bytes go with the engine
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


class _Examples:
    """Files of examples, read through one at a time."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._reading = asyncio.Lock()

    async def check(self, file_id: str, field: str, method: Method, who: Caller) -> tuple[str, int]:
        """The depot of a file and how many examples it has. Raises ``ThingUnknown``, ``FieldInvalid``."""
        try:
            file, path = await self._files.path(file_id, who.project_id)
        except ThingUnknown as error:
            raise ThingUnknown(error.detail, field=field) from None
        if file.purpose != "fine-tune":
            raise FieldInvalid(f"the file's purpose must be fine-tune, not {file.purpose}", field=field)
        async with self._reading:
            count, mistakes = await asyncio.to_thread(read_examples, path, method)
        if mistakes:
            raise FieldInvalid(f"{field}: {_named(mistakes)}", field=field)
        return file.place, count


async def _base(rooms: Rooms, who: Caller, name: str) -> str:
    """The model that is meant, when it can be tuned. Raises ``ModelUnknown``, ``ModelNotAllowed``, ``FieldInvalid``."""
    offered, now_ms = await rooms.database.read(offers), rooms.clock.wall_ms()
    found = offered.find(name, who.organisation_id, who.project_id)
    if found is None:
        raise ModelUnknown(f"there is no model {name!r:.{TEXT_BYTES_MAX}}", field="model")
    if who.models is not None and found.name not in who.models:
        raise ModelNotAllowed(f"this key may not use {found.name!r}", field="model")
    if not found.checkpoint:
        others = [each.name for each in offered.models.values() if each.checkpoint and each.owner == ""]
        known = f"of {', '.join(others)} there is" if others else "there is none of any model"
        raise FieldInvalid(f"{found.name} cannot be tuned: there is no checkpoint of it here; {known}", field="model")
    funds = await rooms.database.read(funding, who.organisation_id, now_ms, rooms.currency)
    price = (await rooms.database.read(price_book)).at(found.name, now_ms, funds.currency, who.organisation_id)
    if price is None or "training" not in price.terms.units:
        said = (
            f"{found.name} has no price for training yet; its operator sets one: openmaas models price --unit training="
        )
        raise FieldInvalid(said, field="model")
    return found.name


def _named(mistakes: list[Mistake]) -> str:
    return "; ".join(f"line {each.line}: {each.message}" if each.line else each.message for each in mistakes)
