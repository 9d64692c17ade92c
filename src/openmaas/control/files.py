"""Customers' files, in the shapes of OpenAI and of Zhipu, who took them over with purposes of their own.

A file belongs to the project of the key. Annotations are evaluated here (no ``from __future__``): FastAPI must see the
local ``User``.

https://platform.openai.com/docs/api-reference/files · https://docs.bigmodel.cn/api-reference
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import FileResponse

from openmaas.control.documents import NO_ADDRESSES, documents_of, take
from openmaas.control.forms import read_form
from openmaas.control.reading import Recognise, using
from openmaas.control.rooms import Rooms
from openmaas.core.bounds import FILE_EXPIRES_S_MAX, FILE_EXPIRES_S_MIN, FILE_PAGE_MAX, PAGE_NUMBER_MAX, PAGE_SIZE_MAX
from openmaas.core.errors import FieldInvalid
from openmaas.files.book import File, find_file, list_files
from openmaas.files.face import Owner
from openmaas.identity.face import Caller
from openmaas.knowledge.face import RETRIEVAL
from openmaas.work.wanted import MESSAGE_INPUT, MESSAGE_OUTPUT, Form

PURPOSES: dict[Form, tuple[str, ...]] = {
    "openai": ("assistants", "batch", "fine-tune", "vision", "user_data", "evals"),
    "zhipu": ("batch", "fine-tune", "file-extract", "agent", "code-interpreter", "voice-clone-input"),
}
_UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "purpose": {"type": "string"},
                        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                        "expires_after[seconds]": {"type": "integer"},
                    },
                }
            }
        },
    }
}


def routes(rooms: Rooms, caller: Recognise, form: Form) -> APIRouter:
    """The routes over ``rooms`` for whoever ``caller`` recognises, in the shapes of ``form``."""
    router = APIRouter(tags=["files"])
    files = rooms.files

    User = Annotated[Caller, Depends(using(caller))]  # noqa: N806 - a type

    @router.post("/files", openapi_extra=_UPLOAD, operation_id=f"upload_file_{form}")
    async def upload(request: Request, who: User) -> dict[str, Any]:
        content_type = request.headers.get("content-type", "")
        if content_type.lower().startswith("application/json"):
            raise FieldInvalid(NO_ADDRESSES, field="upload_detail")
        draft = files.depot.draft()
        try:
            told = await read_form(content_type, request.stream(), draft)
            if form == "zhipu" and told.fields.get("purpose") == RETRIEVAL:
                return await take(rooms, who, told.fields.get("knowledge_id", ""), told, draft)
            purpose, expires_s = _check(told.fields, form)
            if told.filename is None:
                raise FieldInvalid("file is required", field="file")
            owner = Owner(who.organisation_id, who.project_id)
            file = files.new(draft, owner, purpose=purpose, filename=told.filename, expires_s=expires_s)
            await files.keep(draft, file)
        finally:
            draft.discard()
        return show_file(file)

    @router.get("/files", operation_id=f"list_files_{form}")
    async def list_own(
        who: User,
        purpose: str | None = None,
        knowledge_id: str = "",
        page: Annotated[int, Query(ge=1, le=PAGE_NUMBER_MAX)] = 1,
        after: str = "",
        limit: Annotated[int, Query(ge=1, le=10_000)] = FILE_PAGE_MAX,
        order: Literal["asc", "desc"] = "desc",
    ) -> dict[str, Any]:
        if knowledge_id and form == "zhipu":
            pages = page, min(limit, PAGE_SIZE_MAX)
            return await documents_of(rooms, who, knowledge_id, *pages, newest_first=order == "desc")
        least = min(limit, FILE_PAGE_MAX)
        rows = await rooms.database.read(
            list_files,
            who.project_id,
            purpose=purpose,
            after=after,
            limit=least + 1,
            newest_first=order == "desc",
            hidden=(MESSAGE_INPUT, MESSAGE_OUTPUT),
        )
        return show_list([show_file(row) for row in rows], least)

    @router.get("/files/{file_id}", operation_id=f"retrieve_file_{form}")
    async def retrieve(file_id: str, who: User) -> dict[str, Any]:
        return show_file(await rooms.database.read(find_file, file_id, who.project_id))

    @router.get("/files/{file_id}/content", operation_id=f"file_content_{form}", response_class=FileResponse)
    async def content(file_id: str, who: User) -> FileResponse:
        file, path = await files.path(file_id, who.project_id)
        return FileResponse(path, media_type="application/octet-stream", filename=file.filename)

    @router.delete("/files/{file_id}", operation_id=f"delete_file_{form}")
    async def delete(file_id: str, who: User) -> dict[str, Any]:
        if (await rooms.database.read(find_file, file_id, who.project_id)).purpose == RETRIEVAL:
            await rooms.library.remove(who, file_id)  # it is a document, with chunks and vectors
        else:
            await files.remove(file_id, who.project_id)
        return {"id": file_id, "object": "file", "deleted": True}

    return router


def show_file(file: File) -> dict[str, Any]:
    """A file as both wires show it; times are seconds."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.size_bytes,
        "created_at": file.created_ms // 1000,
        "expires_at": None if file.expires_ms is None else file.expires_ms // 1000,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


def show_list(rows: list[dict[str, Any]], limit: int) -> dict[str, Any]:
    """A page in OpenAI's shape; ``rows`` were read with ``limit + 1``."""
    data = rows[:limit]
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return {"object": "list", "data": data, **ends, "has_more": len(rows) > limit}


def expires_after(anchor: str, seconds: Any, field: str) -> int:
    """How long something is kept, in seconds. Raises ``FieldInvalid``."""
    if anchor != "created_at" or not str(seconds).isdecimal():
        raise FieldInvalid(f"{field} must have the anchor created_at and a number of seconds", field=field)
    if not FILE_EXPIRES_S_MIN <= int(seconds) <= FILE_EXPIRES_S_MAX:
        said = f"{field}.seconds must be between {FILE_EXPIRES_S_MIN} and {FILE_EXPIRES_S_MAX}"
        raise FieldInvalid(said, field=field)
    return int(seconds)


def _check(fields: dict[str, str], form: Form) -> tuple[str, int | None]:
    """Purpose and time to live. Raises ``FieldInvalid``."""
    if fields.get("knowledge_id"):
        raise FieldInvalid(f"a file of a knowledge base has the purpose {RETRIEVAL}, on Zhipu's wire", field="purpose")
    if fields.get("purpose") not in PURPOSES[form]:
        raise FieldInvalid(f"purpose must be one of {', '.join(PURPOSES[form])}", field="purpose")
    anchor, seconds = (fields.get(f"expires_after[{name}]", "") for name in ("anchor", "seconds"))
    lives = expires_after(anchor, seconds, "expires_after") if anchor or seconds else None
    return fields["purpose"], lives
