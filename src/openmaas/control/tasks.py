"""Zhipu's async tasks: a chat that is begun now and whose answer is fetched later, for a day.

Annotations are evaluated here (no ``from __future__``): FastAPI must see the local ``User``.

https://docs.bigmodel.cn/api-reference (asynchronous chat completion, retrieve result)
"""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Request

from openmaas.control.reading import Recognise, using
from openmaas.control.rooms import Rooms
from openmaas.core.bounds import TASK_KEPT_S, TEXT_BYTES_MAX
from openmaas.core.errors import FieldInvalid
from openmaas.dialects.members import checked, members_of
from openmaas.identity.face import Caller
from openmaas.work.book import Asker, Job, add_job, find_job
from openmaas.work.wanted import TASK, TASK_TARGET, TaskProgress, TaskWanted, text

_CHAT = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["model", "messages"],
                    "properties": {
                        "model": {"type": "string"},
                        "messages": {"type": "array", "items": {"type": "object"}},
                        "request_id": {"type": ["string", "number", "null"]},
                    },
                }
            }
        },
    }
}


class _Chat(msgspec.Struct):
    model: str
    messages: list[dict[str, Any]]
    stream: bool | None = None
    request_id: str | int | float | None = None  # its own SDK's tests send a time


_chat = msgspec.json.Decoder(_Chat)


def routes(rooms: Rooms, caller: Recognise) -> APIRouter:
    """The routes over ``rooms`` for whoever ``caller`` recognises."""
    router = APIRouter(tags=["tasks"])
    database = rooms.database

    User = Annotated[Caller, Depends(using(caller))]  # noqa: N806 - a type

    @router.post("/async/chat/completions", openapi_extra=_CHAT)
    async def begin(request: Request, who: User) -> dict[str, Any]:
        body = await request.body()
        wanted = _wanted(body)
        asker = Asker(who.organisation_id, who.project_id, who.key_id)
        fields = {"wanted": text(wanted), "progress": text(TaskProgress())}
        return _show(await database.run(add_job, rooms.clock, TASK, asker, lives_s=TASK_KEPT_S, **fields))

    @router.get("/async-result/{task_id}")
    async def result(task_id: str, who: User) -> dict[str, Any]:
        return _show(await database.read(find_job, task_id, who.project_id, TASK))

    return router


def _wanted(body: bytes) -> TaskWanted:
    """What is wanted. Raises ``BodyInvalid``, ``FieldMissing``, ``FieldInvalid``."""
    members = members_of(body)
    chat = checked(_chat, members)
    if chat.stream:
        raise FieldInvalid("an async task cannot stream", field="stream")
    name = "" if chat.request_id is None else str(chat.request_id)
    if len(name) > TEXT_BYTES_MAX:
        raise FieldInvalid(f"request_id may have {TEXT_BYTES_MAX} characters", field="request_id")
    members.pop("request_id", None)
    return TaskWanted(TASK_TARGET, chat.model, name, msgspec.json.encode(members).decode())


def _show(job: Job) -> dict[str, Any]:
    """A task as Zhipu shows it; a failed one is no failed request."""
    wanted = msgspec.json.decode(job.wanted, type=TaskWanted)
    shown = {"id": job.id, "request_id": wanted.request_id or job.id, "model": wanted.model}
    if job.state == "open":
        return {**shown, "task_status": "PROCESSING"}
    progress = msgspec.json.decode(job.progress, type=TaskProgress)
    answer = msgspec.json.decode(progress.answer) if progress.answer else {}
    if job.state == "done":
        told = {name: answer[name] for name in ("created", "choices", "usage") if name in answer}
        return {**shown, "task_status": "SUCCESS", **told}
    error = answer.get("error", {"code": job.state, "message": f"the task is {job.state}"})
    return {**shown, "task_status": "FAIL", "error": error}
