"""Batches, in the shapes of OpenAI and of Zhipu: times are seconds on one wire, milliseconds on the other.

A batch is a job of the room ``work``; its public status follows from the job. Annotations are evaluated here (no ``from
__future__``): FastAPI must see the local ``User``.

https://platform.openai.com/docs/api-reference/batch · https://docs.bigmodel.cn/api-reference
"""

import re
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel

from openmaas.control.files import expires_after, show_list
from openmaas.control.reading import Recognise, using
from openmaas.control.rooms import Rooms
from openmaas.control.shapes import Text
from openmaas.core.bounds import BATCH_BYTES_MAX, BATCH_METADATA_MAX, BATCH_WINDOW_H_MAX, CUSTOM_ID_BYTES_MAX, PAGE_SIZE
from openmaas.core.errors import FieldInvalid, TooLarge
from openmaas.files.book import find_file
from openmaas.identity.face import Caller
from openmaas.work.book import Asker, Job, add_job, cancel, find_job, list_jobs
from openmaas.work.wanted import BATCH, TARGETS, BatchProgress, BatchWanted, Form, Mistake, text

#: What a batch may ask, by wire; what else ``TARGETS`` has belongs to other wires.
ENDPOINTS: dict[Form, tuple[str, ...]] = {
    "openai": ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/moderations", "/v1/responses"),
    "zhipu": ("/v4/chat/completions", "/v4/embeddings", "/v1/chat/completions", "/v1/embeddings"),
}
_STATUS = {"done": "completed", "failed": "failed", "expired": "expired", "cancelled": "cancelled"}


class ExpiresAfter(BaseModel):
    """When the files that a batch makes are removed."""

    anchor: str = "created_at"
    seconds: int


class NewBatch(BaseModel):
    """A batch to begin. Members that are not known are left alone, as on these wires everywhere."""

    input_file_id: Text
    endpoint: str
    completion_window: str | None = None
    metadata: dict[Text, Text] | None = None
    output_expires_after: ExpiresAfter | None = None
    auto_delete_input_file: bool | None = None


def routes(rooms: Rooms, caller: Recognise, form: Form) -> APIRouter:
    """The routes over ``rooms`` for whoever ``caller`` recognises, in the shapes of ``form``."""
    router = APIRouter(tags=["batches"])
    database = rooms.database

    User = Annotated[Caller, Depends(using(caller))]  # noqa: N806 - a type

    @router.post("/batches", operation_id=f"create_batch_{form}")
    async def create(body: NewBatch, who: User) -> dict[str, Any]:
        wanted, lives_s = _wanted(body, form)
        file = await database.read(find_file, body.input_file_id, who.project_id)
        if file.purpose != "batch":
            raise FieldInvalid(f"the file's purpose must be batch, not {file.purpose}", field="input_file_id")
        if file.size_bytes > BATCH_BYTES_MAX:
            raise TooLarge(f"the input of a batch may have {BATCH_BYTES_MAX} bytes", field="input_file_id")
        asker = Asker(who.organisation_id, who.project_id, who.key_id)
        fields = {"wanted": text(wanted), "progress": text(BatchProgress())}
        job = await database.run(add_job, rooms.clock, BATCH, asker, place=file.place, lives_s=lives_s, **fields)
        return show_batch(job, form)

    @router.get("/batches", operation_id=f"list_batches_{form}")
    async def list_own(
        who: User, after: str = "", limit: Annotated[int, Query(ge=1, le=100)] = PAGE_SIZE
    ) -> dict[str, Any]:
        rows = await database.read(list_jobs, project_id=who.project_id, kind=BATCH, after=after, limit=limit + 1)
        return show_list([show_batch(row, form) for row in rows], limit)

    @router.get("/batches/{batch_id}", operation_id=f"retrieve_batch_{form}")
    async def retrieve(batch_id: str, who: User) -> dict[str, Any]:
        return show_batch(await database.read(find_job, batch_id, who.project_id, BATCH), form)

    @router.post("/batches/{batch_id}/cancel", operation_id=f"cancel_batch_{form}")
    async def stop(batch_id: str, who: User) -> dict[str, Any]:
        await database.read(find_job, batch_id, who.project_id, BATCH)
        return show_batch(await database.run(cancel, rooms.clock, batch_id, who.project_id), form)

    return router


def status_of(job: Job, progress: BatchProgress) -> str:
    """The public status of a batch."""
    if job.state != "open":
        return _STATUS[job.state]
    if job.cancel_ms is not None:
        return "cancelling"
    if progress.finalizing_ms is not None:
        return "finalizing"
    return "validating" if progress.begun_ms is None else "in_progress"


def show_batch(job: Job, form: Form) -> dict[str, Any]:
    """A batch as its wire shows it."""
    wanted = msgspec.json.decode(job.wanted, type=BatchWanted)
    progress = msgspec.json.decode(job.progress, type=BatchProgress)
    status = status_of(job, progress)
    unit = 1 if form == "zhipu" else 1000

    def moment(ms: int | None, *, when: bool = True) -> int | None:
        return ms // unit if ms is not None and when else None

    undone = progress.failed + progress.cancelled + progress.expired
    mistakes = [_show_mistake(mistake) for mistake in progress.mistakes]
    return {
        "id": job.id,
        "object": "batch",
        "endpoint": wanted.endpoint,
        "errors": {"object": "list", "data": mistakes} if mistakes else None,
        "input_file_id": wanted.input_file_id,
        "completion_window": wanted.completion_window,
        "status": status,
        "output_file_id": progress.output_file_id,
        "error_file_id": progress.error_file_id,
        "created_at": moment(job.created_ms),
        "in_progress_at": moment(progress.begun_ms),
        "expires_at": moment(job.expires_ms),
        "finalizing_at": moment(progress.finalizing_ms),
        **{f"{name}_at": moment(job.ended_ms, when=status == name) for name in _STATUS.values()},
        "cancelling_at": moment(job.cancel_ms),
        "request_counts": {"total": progress.total, "completed": progress.completed, "failed": undone},
        "metadata": wanted.metadata,
    }


def check_metadata(pairs: dict[str, str] | None) -> None:
    """Raises ``FieldInvalid`` for more than a few short pairs."""
    found = (pairs or {}).items()
    if len(found) > BATCH_METADATA_MAX or any(len(k) + len(v) > 2 * CUSTOM_ID_BYTES_MAX for k, v in found):
        raise FieldInvalid(f"metadata may have {BATCH_METADATA_MAX} short pairs", field="metadata")


def _show_mistake(mistake: Mistake) -> dict[str, Any]:
    return msgspec.structs.asdict(mistake)


def _wanted(body: NewBatch, form: Form) -> tuple[BatchWanted, int]:
    """What is wanted, and its time to live (seconds). Raises ``FieldInvalid``."""
    if body.endpoint not in ENDPOINTS[form]:
        raise FieldInvalid(f"endpoint must be one of {', '.join(ENDPOINTS[form])}", field="endpoint")
    assert body.endpoint in TARGETS
    window = body.completion_window or "24h"
    hours = re.fullmatch(r"([0-9]{1,3})h", window)
    if hours is None or not 1 <= int(hours[1]) <= BATCH_WINDOW_H_MAX:
        said = f"completion_window must be 24h, or another number of hours up to {BATCH_WINDOW_H_MAX}h"
        raise FieldInvalid(said, field="completion_window")
    check_metadata(body.metadata)
    after = body.output_expires_after
    wanted = BatchWanted(
        form,
        body.endpoint,
        body.input_file_id,
        window,
        body.metadata,
        expires_after(after.anchor, after.seconds, "output_expires_after") if after else None,
        bool(body.auto_delete_input_file),
    )
    return wanted, int(hours[1]) * 3600
