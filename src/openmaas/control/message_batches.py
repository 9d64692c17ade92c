"""Anthropic's message batches: requests in one body, results in one stream, by the same jobs as other batches.

Annotations are evaluated here (no ``from __future__``): FastAPI must see the local ``User``.

https://docs.anthropic.com/en/api/creating-message-batches
"""

import asyncio
import re
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import FileResponse

from openmaas.control.reading import Recognise, using
from openmaas.control.rooms import Rooms
from openmaas.core.bounds import BATCH_KEPT_S, BATCH_LINES_MAX, PAGE_SIZE, TASK_KEPT_S
from openmaas.core.clock import iso_utc
from openmaas.core.errors import BodyInvalid, Conflict, FieldInvalid, ThingUnknown
from openmaas.files.depot import Draft
from openmaas.files.face import Owner
from openmaas.identity.face import Caller
from openmaas.work.book import Asker, Job, add_job, cancel, find_job, list_jobs, remove_job
from openmaas.work.wanted import MESSAGE_BATCH, MESSAGE_INPUT, BatchProgress, BatchWanted, text

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["requests"],
                    "properties": {"requests": {"type": "array", "items": {"type": "object"}}},
                }
            }
        },
    }
}


class _One(msgspec.Struct):
    custom_id: str
    params: msgspec.Raw


class _All(msgspec.Struct):
    requests: list[_One]


def routes(rooms: Rooms, caller: Recognise) -> APIRouter:
    """The routes over ``rooms`` for whoever ``caller`` recognises."""
    router = APIRouter(tags=["message batches"])
    database, files = rooms.database, rooms.files
    taking = asyncio.Lock()  # one body at a time is held whole, to be cut into lines

    User = Annotated[Caller, Depends(using(caller))]  # noqa: N806 - a type

    @router.post("/messages/batches", openapi_extra=_BODY)
    async def create(request: Request, who: User) -> dict[str, Any]:
        body, lines = files.depot.draft(), files.depot.draft()
        try:
            async for block in request.stream():
                body.write(block)
            body.close()
            async with taking:
                total = await asyncio.to_thread(_to_lines, body, lines)
            owner, lives_s = Owner(who.organisation_id, who.project_id), TASK_KEPT_S + BATCH_KEPT_S
            named = {"purpose": MESSAGE_INPUT, "filename": "requests.jsonl"}
            file = files.new(lines, owner, expires_s=lives_s, **named)
            await files.keep(lines, file)
        finally:
            body.discard()
            lines.discard()
        wanted = BatchWanted("anthropic", "/v1/messages", file.id, output_expires_s=BATCH_KEPT_S, deletes_input=True)
        asker = Asker(who.organisation_id, who.project_id, who.key_id)
        fields = {"wanted": text(wanted), "progress": text(BatchProgress(total=total))}
        job = await database.run(
            add_job, rooms.clock, MESSAGE_BATCH, asker, place=file.place, lives_s=TASK_KEPT_S, **fields
        )
        return show(job)

    @router.get("/messages/batches")
    async def list_own(
        who: User, after_id: str = "", limit: Annotated[int, Query(ge=1, le=1_000)] = PAGE_SIZE
    ) -> dict[str, Any]:
        named = {"project_id": who.project_id, "kind": MESSAGE_BATCH}
        rows = await database.read(list_jobs, after=after_id, limit=limit + 1, **named)
        data = [show(row) for row in rows[:limit]]
        ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
        return {"data": data, "has_more": len(rows) > limit, **ends}

    @router.get("/messages/batches/{batch_id}")
    async def retrieve(batch_id: str, who: User) -> dict[str, Any]:
        return show(await database.read(find_job, batch_id, who.project_id, MESSAGE_BATCH))

    @router.post("/messages/batches/{batch_id}/cancel")
    async def stop(batch_id: str, who: User) -> dict[str, Any]:
        await database.read(find_job, batch_id, who.project_id, MESSAGE_BATCH)
        return show(await database.run(cancel, rooms.clock, batch_id, who.project_id))

    @router.get("/messages/batches/{batch_id}/results", response_class=FileResponse)
    async def results(batch_id: str, who: User) -> FileResponse:
        job = await database.read(find_job, batch_id, who.project_id, MESSAGE_BATCH)
        _, path = await files.path(_output(job), who.project_id)
        return FileResponse(path, media_type="application/x-jsonl")

    @router.delete("/messages/batches/{batch_id}")
    async def delete(batch_id: str, who: User) -> dict[str, Any]:
        job = await database.read(find_job, batch_id, who.project_id, MESSAGE_BATCH)
        if job.state == "open":
            raise Conflict("this batch has not ended; cancel it first")
        progress = msgspec.json.decode(job.progress, type=BatchProgress)
        if progress.output_file_id:
            await files.remove(progress.output_file_id, who.project_id)
        await database.run(remove_job, batch_id)
        return {"id": batch_id, "type": "message_batch_deleted"}

    return router


def show(job: Job) -> dict[str, Any]:
    """A batch in Anthropic's shape; times are RFC 3339. ``results_url`` is relative to the base URL."""
    progress = msgspec.json.decode(job.progress, type=BatchProgress)
    ended = job.state != "open"
    counted = progress.completed + progress.failed + progress.cancelled + progress.expired
    status = "ended" if ended else "canceling" if job.cancel_ms is not None else "in_progress"
    return {
        "id": job.id,
        "type": "message_batch",
        "processing_status": status,
        "request_counts": {
            "processing": 0 if ended else progress.total - counted,
            "succeeded": progress.completed,
            "errored": progress.failed,
            "canceled": progress.cancelled,
            "expired": progress.expired,
        },
        "created_at": iso_utc(job.created_ms),
        "expires_at": iso_utc(job.expires_ms),
        "ended_at": iso_utc(job.ended_ms) if job.ended_ms is not None else None,
        "cancel_initiated_at": iso_utc(job.cancel_ms) if job.cancel_ms is not None else None,
        "archived_at": None,
        "results_url": f"/v1/messages/batches/{job.id}/results" if progress.output_file_id else None,
    }


def _output(job: Job) -> str:
    found = msgspec.json.decode(job.progress, type=BatchProgress).output_file_id
    if found is None:
        raise ThingUnknown(f"the results of {job.id} are not there yet")
    return found


def _to_lines(body: Draft, lines: Draft) -> int:
    """One line a request, as the worker reads them. Raises ``BodyInvalid``, ``FieldInvalid``."""
    try:
        asked = msgspec.json.decode(body.path.read_bytes(), type=_All).requests
    except msgspec.ValidationError as error:
        raise FieldInvalid(f"requests: {error}", field="requests") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BodyInvalid(str(error)) from None
    return _write(asked, lines)


def _write(asked: list[_One], lines: Draft) -> int:
    if not 0 < len(asked) <= BATCH_LINES_MAX:
        raise FieldInvalid(f"requests must be 1 to {BATCH_LINES_MAX}", field="requests")
    seen: set[str] = set()
    for number, one in enumerate(asked):
        if not _NAME.fullmatch(one.custom_id) or one.custom_id in seen:
            said = f"requests.{number}.custom_id must be 1 to 64 letters, digits, _ and -, and stand once"
            raise FieldInvalid(said, field="requests")
        seen.add(one.custom_id)
        params = msgspec.Raw(msgspec.json.format(bytes(one.params), indent=-1))  # one line
        lines.write(msgspec.json.encode({"custom_id": one.custom_id, "params": params}) + b"\n")
    return len(asked)
