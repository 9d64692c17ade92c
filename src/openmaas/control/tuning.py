"""Fine-tuning jobs, in the shapes of OpenAI and of Zhipu: checked, kept in the book of jobs, and told of.

Nothing trains here. No worker claims a job of this kind yet, so one is ``queued`` until somebody cancels it, and says
in its events what it waits for. Annotations are evaluated here (no ``from __future__``): FastAPI must see the local
``User``.

https://platform.openai.com/docs/api-reference/fine-tuning · https://docs.bigmodel.cn/api-reference
"""

import asyncio
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Request

from openmaas.catalog.face import offers
from openmaas.control.files import show_list
from openmaas.control.reading import Recognise, using
from openmaas.control.rooms import Rooms
from openmaas.control.shapes_tuning import NUMBERS, OF_METHOD, NewTuning, check_rest, method_of
from openmaas.core.bounds import PAGE_SIZE, TEXT_BYTES_MAX, TUNING_WAITS_S
from openmaas.core.errors import Conflict, FieldInvalid, ModelNotAllowed, ModelUnknown, ThingUnknown
from openmaas.files.face import Files
from openmaas.identity.face import Caller
from openmaas.work.book import Asker, Job, add_job, cancel, find_job, list_jobs, remove_job
from openmaas.work.examples import read_examples
from openmaas.work.wanted import TUNING, Form, Method, Mistake, TuningWanted, text

#: What can become of a job that nobody claims.
_STATUS = {"open": "queued", "cancelled": "cancelled"}

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
        model = await _model(rooms, who, body.model)
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
        return _show(await database.run(add_job, rooms.clock, TUNING, asker, lives_s=TUNING_WAITS_S, **asked), form)

    @router.get("/jobs", operation_id=f"list_tunings_{form}")
    async def list_own(request: Request, who: User, after: str = "", limit: Limit = PAGE_SIZE) -> dict[str, Any]:
        if any(name.startswith("metadata") for name in request.query_params):
            raise FieldInvalid("jobs cannot be searched by metadata; list them and look", field="metadata")
        rows = await database.read(list_jobs, project_id=who.project_id, kind=TUNING, after=after, limit=limit + 1)
        return show_list([_show(row, form) for row in rows], limit)

    @router.get("/jobs/{job_id}", operation_id=f"retrieve_tuning_{form}")
    async def retrieve(job_id: str, who: User) -> dict[str, Any]:
        return _show(await database.read(find_job, job_id, who.project_id, TUNING), form)

    @router.get("/jobs/{job_id}/events", operation_id=f"list_tuning_events_{form}")
    async def events(job_id: str, who: User, after: str = "", limit: Limit = PAGE_SIZE) -> dict[str, Any]:
        found = _events(await database.read(find_job, job_id, who.project_id, TUNING))
        ids = [event["id"] for event in found]
        if after and after not in ids:
            raise FieldInvalid(f"after must be an event of this job, not {after[:TEXT_BYTES_MAX]!r}", field="after")
        return show_list(found[ids.index(after) + 1 :] if after else found, limit)

    @router.get("/jobs/{job_id}/checkpoints", operation_id=f"list_tuning_checkpoints_{form}")
    async def checkpoints(job_id: str, who: User, limit: Limit = PAGE_SIZE) -> dict[str, Any]:
        """None: a model that is not trained has none."""
        await database.read(find_job, job_id, who.project_id, TUNING)
        return show_list([], limit)

    @router.post("/jobs/{job_id}/cancel", operation_id=f"cancel_tuning_{form}")
    async def stop(job_id: str, who: User) -> dict[str, Any]:
        await database.read(find_job, job_id, who.project_id, TUNING)
        return _show(await database.run(cancel, rooms.clock, job_id, who.project_id), form)

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
        return _show(job, "zhipu")

    @router.delete("/fine_tuned_models/{name}")
    async def delete_model(name: str, who: User) -> dict[str, Any]:
        """Refused: no model was tuned yet."""
        raise ModelUnknown(f"there is no fine-tuned model {name!r}", field="fine_tuned_model")

    return router


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


async def _model(rooms: Rooms, who: Caller, name: str) -> str:
    """The model that is meant. Raises ``ModelUnknown``, ``ModelNotAllowed``, ``FieldInvalid``."""
    found = (await rooms.database.read(offers)).find(name)
    if found is None:
        raise ModelUnknown(f"there is no model {name!r:.{TEXT_BYTES_MAX}}", field="model")
    if who.models is not None and found.name not in who.models:
        raise ModelNotAllowed(f"this key may not use {found.name!r}", field="model")
    if found.task != "generate":
        raise FieldInvalid(f"{found.name} does not generate, so chats cannot tune it", field="model")
    return found.name


def _named(mistakes: list[Mistake]) -> str:
    return "; ".join(f"line {each.line}: {each.message}" if each.line else each.message for each in mistakes)


def _events(job: Job) -> list[dict[str, Any]]:
    """What happened to a job, newest first."""
    wanted = msgspec.json.decode(job.wanted, type=TuningWanted)
    waits = "The job is queued and waits for a trainer, which this installation has not got yet. Nothing runs."
    said = [
        (job.created_ms, f"Created fine-tuning job: {job.id}"),
        (job.created_ms, f"The files are valid: {wanted.examples} examples to train with."),
        (job.created_ms, waits),
    ]
    if job.ended_ms is not None:
        said.append((job.ended_ms, "The job was cancelled. It has not run."))
    rows = [
        {
            "object": "fine_tuning.job.event",
            "id": f"ftevent_{job.id.partition('_')[2]}_{number}",
            "created_at": at_ms // 1000,
            "level": "info",
            "message": message,
            "type": "message",
        }
        for number, (at_ms, message) in enumerate(said)
    ]
    return rows[::-1]


def _show(job: Job, form: Form) -> dict[str, Any]:
    """A job as its wire shows it; times are seconds."""
    wanted = msgspec.json.decode(job.wanted, type=TuningWanted)
    numbers: dict[str, Any] = dict.fromkeys(OF_METHOD[wanted.method], "auto") | wanted.hyperparameters
    shown = {
        "id": job.id,
        "object": "fine_tuning.job",
        "model": wanted.model,
        "status": _STATUS[job.state],
        "created_at": job.created_ms // 1000,
        "finished_at": None if job.ended_ms is None else job.ended_ms // 1000,
        "training_file": wanted.training_file,
        "validation_file": wanted.validation_file,
        "hyperparameters": {name: numbers[name] for name in NUMBERS},
        "fine_tuned_model": None,
        "result_files": [],
        "trained_tokens": None,
        "error": None,
    }
    if form == "zhipu":
        return {**shown, "request_id": wanted.request_id or job.id}
    return {
        **shown,
        "organization_id": job.organisation_id,
        "seed": wanted.seed,
        "user_provided_suffix": wanted.suffix,
        "estimated_finish": None,
        "integrations": [],
        "metadata": wanted.metadata,
        "method": {"type": wanted.method, wanted.method: {"hyperparameters": numbers}},
    }
