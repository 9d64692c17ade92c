"""Documents of knowledge bases, as both of Zhipu's documentations name them. A document is a file, and has its id.

Annotations are evaluated here (no ``from __future__``): FastAPI must see the local ``User``.

https://docs.bigmodel.cn/api-reference/知识库-api/上传文件文档
"""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel

from openmaas.control.forms import Form, read_form
from openmaas.control.knowledge import said
from openmaas.control.reading import Recognise, using
from openmaas.control.rooms import Rooms
from openmaas.control.shapes import Text
from openmaas.core.bounds import (
    KNOWLEDGE_FILE_BYTES_MAX,
    PAGE_NUMBER_MAX,
    PAGE_SIZE_MAX,
    SENTENCE_SIZE,
    SENTENCE_SIZE_MAX,
    SENTENCE_SIZE_MIN,
    SEPARATOR_LENGTH_MAX,
    SEPARATORS_MAX,
)
from openmaas.core.errors import FieldInvalid, FieldMissing, TooLarge
from openmaas.files.depot import Draft
from openmaas.identity.face import Caller
from openmaas.knowledge.book import Document, Manner, begin_again, find_base, find_document, list_documents
from openmaas.knowledge.cutting import WALLS
from openmaas.knowledge.face import asker_of
from openmaas.knowledge.reading import kind_of

NO_ADDRESSES = "addresses are not fetched here; send each file itself as multipart/form-data"
#: How a document is cut when nobody says: tables by their rows, everything else by headings and paragraphs.
_ROWS, _ARTICLE = 3, 1
_OWN_WAY = 5  # Zhipu's number of a way that the caller's separators say
_STATE = {"waiting": 0, "ready": 1, "failed": 2}
#: What is not offered, by the name of its field: nobody is told that a document is ready, and pictures are not read.
_NOT_OFFERED = ("callback_url", "callback_header", "word_num_limit")
_UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {"type": "string", "format": "binary"},
                        "knowledge_type": {"type": "integer"},
                        "custom_separator[]": {"type": "array", "items": {"type": "string"}},
                        "sentence_size": {"type": "integer"},
                    },
                }
            }
        },
    }
}


class Cut(BaseModel):
    """How a document is to be cut anew. ``id`` repeats the path's."""

    id: Text | None = None
    knowledge_type: int | None = None
    custom_separator: list[Text] | None = None
    sentence_size: int | None = None
    callback_url: Text | None = None
    callback_header: dict[Text, Text] | None = None


def routes(rooms: Rooms, caller: Recognise, name: str) -> APIRouter:
    """The routes over ``rooms`` for whoever ``caller`` recognises; ``name`` tells the places where they stand apart."""
    router = APIRouter(tags=["knowledge"])
    database, files = rooms.database, rooms.files

    User = Annotated[Caller, Depends(using(caller))]  # noqa: N806 - a type
    Number = Annotated[int, Query(ge=1, le=PAGE_NUMBER_MAX)]  # noqa: N806 - the same
    Size = Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX)]  # noqa: N806 - the same

    @router.post("/document/upload_document/{base_id}", openapi_extra=_UPLOAD, operation_id=f"upload_document_{name}")
    async def upload(base_id: str, request: Request, who: User) -> dict[str, Any]:
        draft = files.depot.draft()
        try:
            told = await read_form(request.headers.get("content-type", ""), request.stream(), draft, "files")
            return said(rooms, await take(rooms, who, base_id, told, draft, "fileName"))
        finally:
            draft.discard()

    @router.post("/document/upload_url", operation_id=f"upload_addresses_{name}")
    async def fetch(_who: User) -> dict[str, Any]:
        raise FieldInvalid(NO_ADDRESSES, field="upload_detail")

    @router.get("/document", operation_id=f"list_documents_{name}")
    async def list_own(
        who: User,
        knowledge_id: Text,
        page: Number = 1,
        size: Size = 10,
        word: Text = "",
    ) -> dict[str, Any]:
        return said(rooms, await documents_of(rooms, who, knowledge_id, page, size, word=word))

    @router.get("/document/{document_id}", operation_id=f"retrieve_document_{name}")
    async def retrieve(document_id: str, who: User) -> dict[str, Any]:
        return said(rooms, show(await database.read(find_document, document_id, who.project_id)))

    @router.put("/document/{document_id}", operation_id=f"cut_document_{name}")
    async def cut(document_id: str, body: Cut, who: User) -> dict[str, Any]:
        if body.id not in (None, document_id):
            raise FieldInvalid("id must be that of the path", field="id")
        found = await database.read(find_document, document_id, who.project_id)
        sent = body.model_dump(exclude_none=True)
        _check_offered(sent)
        before = {"knowledge_type": found.knowledge_type, "sentence_size": found.sentence_size}
        manner = _manner(found.name, before | {"custom_separator": found.separators} | sent)
        asker = asker_of(who)
        return said(rooms, show(await database.run(begin_again, rooms.clock, document_id, manner, asker)))

    @router.post("/document/embedding/{document_id}", operation_id=f"embed_document_{name}")
    async def embed(document_id: str, who: User) -> dict[str, Any]:
        again = await database.run(begin_again, rooms.clock, document_id, None, asker_of(who))
        return said(rooms, show(again))

    @router.delete("/document/{document_id}", operation_id=f"delete_document_{name}")
    async def delete(document_id: str, who: User) -> dict[str, Any]:
        await rooms.library.remove(who, document_id)
        return said(rooms, {"id": document_id, "deleted": True})

    return router


async def take(
    rooms: Rooms, who: Caller, base_id: str, told: Form, draft: Draft, named: str = "filename"
) -> dict[str, Any]:
    """A document of an uploaded form. What is wrong with the file stands in the answer, as on this wire; what is wrong
    with the request is refused."""
    if not base_id:
        raise FieldMissing("knowledge_id is required: the base that the document belongs to", field="knowledge_id")
    if told.filename is None:
        raise FieldMissing("file is required", field="file")
    await rooms.database.read(find_base, base_id, who.project_id)
    sent: dict[str, Any] = {**told.fields}
    _check_offered(sent)
    separators = told.lists.get("custom_separator") or _separators(sent.pop("custom_separator", ""))
    manner = _manner(told.filename, {**sent, "custom_separator": separators})
    try:
        kind_of(told.filename)
        if draft.size_bytes > KNOWLEDGE_FILE_BYTES_MAX:
            raise TooLarge(f"a document may have {KNOWLEDGE_FILE_BYTES_MAX} bytes", field="file")
        document = await rooms.library.add(who, base_id, draft, told.filename, manner)
    except (FieldInvalid, TooLarge) as error:
        failed = {"failReason": error.detail, named: told.filename, "documentId": ""}
        return {"successInfos": [], "failedInfos": [failed]}
    return {"successInfos": [{"documentId": document.id, named: document.name}], "failedInfos": []}


async def documents_of(
    rooms: Rooms, who: Caller, base_id: str, page: int, size: int, *, word: str = "", newest_first: bool = True
) -> dict[str, Any]:
    """A page of a base's documents."""
    pages: dict[str, Any] = {"page": page, "size": size, "word": word, "newest_first": newest_first}
    rows, total = await rooms.database.read(list_documents, base_id, who.project_id, **pages)
    return {"object": "list", "list": [show(row) for row in rows], "total": total}


def show(document: Document) -> dict[str, Any]:
    """A document as Zhipu shows it, with how far its embedding is."""
    failed = {"embedding_code": document.fail_code, "embedding_msg": document.fail_message}
    return {
        "id": document.id,
        "knowledge_id": document.knowledge_id,
        "name": document.name,
        "url": f"/api/paas/v4/files/{document.id}/content",
        "length": document.size_bytes,
        "word_num": document.words,
        "knowledge_type": document.knowledge_type,
        "custom_separator": document.separators,
        "sentence_size": document.sentence_size,
        "embedding_stat": _STATE[document.state],
        "failInfo": failed if document.state == "failed" else None,
        "chunk_num": document.chunks,
        "embedded_num": document.embedded,
        "parse_image": False,
    }


def _check_offered(sent: dict[str, Any]) -> None:
    for field in _NOT_OFFERED:
        if sent.get(field):
            raise FieldInvalid(f"{field} is not offered; leave it out and ask for the document", field=field)
    if str(sent.get("parse_image", "")).lower() in ("true", "1"):
        raise FieldInvalid("pictures of a document are not read; leave parse_image out", field="parse_image")


def _separators(sent: str) -> list[str]:
    """A field that came once: a list as JSON, or one separator as it is."""
    try:
        return msgspec.json.decode(sent, type=list[str]) if sent.startswith("[") else [sent] if sent else []
    except msgspec.MsgspecError:
        return [sent]


def _manner(filename: str, sent: dict[str, Any]) -> Manner:
    """Raises ``FieldInvalid``."""
    separators = [each for each in sent.get("custom_separator") or () if each]
    if len(separators) > SEPARATORS_MAX or any(len(each) > SEPARATOR_LENGTH_MAX for each in separators):
        told = f"custom_separator may be {SEPARATORS_MAX} texts of {SEPARATOR_LENGTH_MAX} characters"
        raise FieldInvalid(told, field="custom_separator")
    unsaid = _ROWS if filename.lower().endswith((".csv", ".jsonl")) else _OWN_WAY if separators else _ARTICLE
    kind = _number(sent, "knowledge_type", unsaid)
    size = _number(sent, "sentence_size", SENTENCE_SIZE)
    if kind not in WALLS:
        raise FieldInvalid(f"knowledge_type must be one of {', '.join(map(str, WALLS))}", field="knowledge_type")
    if not SENTENCE_SIZE_MIN <= size <= SENTENCE_SIZE_MAX:
        told = f"sentence_size must be between {SENTENCE_SIZE_MIN} and {SENTENCE_SIZE_MAX}"
        raise FieldInvalid(told, field="sentence_size")
    return Manner(kind, tuple(separators), size)


def _number(sent: dict[str, Any], field: str, unsaid: int) -> int:
    value = str(sent.get(field) or unsaid)
    if not value.isascii() or not value.isdecimal():
        raise FieldInvalid(f"{field} must be a number", field=field)
    return int(value)
