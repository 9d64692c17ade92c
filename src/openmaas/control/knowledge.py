"""Knowledge bases and searching them, as both of Zhipu's documentations name them.

The older one and its SDK read members at the top, the newer one in ``data`` beside ``code`` 200: every answer has both.
Annotations are evaluated here (no ``from __future__``): FastAPI must see the local ``User``.

https://docs.bigmodel.cn/api-reference/知识库-api/知识库检索
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel

from openmaas.catalog.face import offers
from openmaas.control.reading import Recognise, using
from openmaas.control.rooms import Rooms
from openmaas.control.shapes import Text
from openmaas.core.bounds import (
    KNOWLEDGE_BYTES_MAX,
    KNOWLEDGE_NAME_MAX,
    KNOWLEDGE_TEXT_MAX,
    KNOWLEDGE_WORDS_MAX,
    PAGE_NUMBER_MAX,
    PAGE_SIZE_MAX,
    TEXT_BYTES_MAX,
)
from openmaas.core.errors import FieldInvalid, FieldMissing, ModelUnknown
from openmaas.identity.face import Caller
from openmaas.knowledge.asked import Found, Question
from openmaas.knowledge.book import Base, Used, add_base, change_base, find_base, list_bases, used
from openmaas.knowledge.face import Asking, asker_of

#: Zhipu's numbers of the models that embed; whoever operates maps these names to a model, by its name or an alias.
MODELS = {3: "embedding-2", 11: "embedding-3", 12: "embedding-3-pro"}
Colour = Literal["blue", "red", "orange", "purple", "sky", "green", "yellow"]
Picture = Literal["question", "book", "seal", "wrench", "tag", "horn", "house"]


class Changes(BaseModel):
    """What a base is to be. ``id`` repeats the path's. Members that are not known are left alone, as on this wire
    everywhere."""

    id: Text | None = None
    name: Text | None = None
    embedding_id: int | None = None
    embedding_model: Text | None = None
    description: Text | None = None
    background: Colour | None = None
    icon: Picture | None = None
    customer_identifier: Text | None = None
    bucket_id: Text | None = None
    contextual: int | None = None
    callback_url: Text | None = None


class Asked(BaseModel):
    """A question to some bases."""

    query: Text
    knowledge_ids: list[Text]
    request_id: Text | None = None
    document_ids: list[Text] | None = None
    top_k: int | None = None
    top_n: int | None = None
    recall_method: Text | None = None
    recall_ratio: int | None = None
    rerank_status: int | None = None
    rerank_model: Text | None = None
    fractional_threshold: float | None = None


def routes(rooms: Rooms, caller: Recognise, name: str) -> APIRouter:
    """The routes over ``rooms`` for whoever ``caller`` recognises; ``name`` tells the places where they stand apart."""
    router = APIRouter(tags=["knowledge"])
    database = rooms.database

    User = Annotated[Caller, Depends(using(caller))]  # noqa: N806 - a type
    Number = Annotated[int, Query(ge=1, le=PAGE_NUMBER_MAX)]  # noqa: N806 - the same
    Size = Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX)]  # noqa: N806 - the same

    async def check_model(changes: dict[str, Any], who: Caller) -> None:
        model = changes.get("embedding_model")
        if model is not None and (await database.read(offers)).find(model, who.organisation_id, who.project_id) is None:
            raise ModelUnknown(f"there is no model {model!r}", field="embedding_model")

    @router.post("/knowledge", operation_id=f"create_knowledge_{name}")
    async def create(body: Changes, who: User) -> dict[str, Any]:
        changes = _checked(body)
        if not changes.get("name"):
            raise FieldMissing("name is required", field="name")
        if "embedding_model" not in changes:
            raise FieldMissing("embedding_id is required, or embedding_model", field="embedding_id")
        await check_model(changes, who)
        unsaid: dict[str, Any] = dict.fromkeys(("description", "customer_identifier", "bucket_id"), "")
        looks = {"background": "blue", "icon": "question", "embedding_id": 0}
        base = Base(
            id=rooms.clock.new_id("know"),
            organisation_id=who.organisation_id,
            project_id=who.project_id,
            vector_length=0,
            version=0,
            created_ms=rooms.clock.wall_ms(),
            **unsaid | looks | changes,
        )
        return said(rooms, show(await database.run(add_base, base), Used()))

    @router.get("/knowledge", operation_id=f"list_knowledge_{name}")
    async def list_own(who: User, page: Number = 1, size: Size = 10) -> dict[str, Any]:
        rows, total = await database.read(list_bases, who.project_id, page=page, size=size)
        there = await database.read(used, who.project_id)
        shown = [show(row, there.get(row.id, Used())) for row in rows]
        return said(rooms, {"object": "list", "list": shown, "total": total})

    @router.get("/knowledge/capacity", operation_id=f"knowledge_capacity_{name}")
    async def capacity(who: User) -> dict[str, Any]:
        there = (await database.read(used, who.project_id)).values()
        has = {"word_num": sum(each.words for each in there), "length": sum(each.size_bytes for each in there)}
        return said(rooms, {"used": has, "total": {"word_num": KNOWLEDGE_WORDS_MAX, "length": KNOWLEDGE_BYTES_MAX}})

    @router.post("/knowledge/retrieve", operation_id=f"search_knowledge_{name}")
    async def retrieve(body: Asked, request: Request, who: User) -> dict[str, Any]:
        request_id = request.headers.get("x-request-id") or rooms.clock.new_id("req")
        asking = Asking(request_id, request.headers.get("idempotency-key", ""))
        found = await rooms.library.retrieve(who, asking, _question(body))
        return {**said(rooms, {}), "data": [_show_found(each) for each in found], "request_id": body.request_id}

    @router.get("/knowledge/{base_id}", operation_id=f"retrieve_knowledge_{name}")
    async def find(base_id: str, who: User) -> dict[str, Any]:
        base = await database.read(find_base, base_id, who.project_id)
        return said(rooms, show(base, (await database.read(used, who.project_id)).get(base_id, Used())))

    @router.put("/knowledge/{base_id}", operation_id=f"change_knowledge_{name}")
    async def change(base_id: str, body: Changes, who: User) -> dict[str, Any]:
        if body.id not in (None, base_id):
            raise FieldInvalid("id must be that of the path", field="id")
        base = await database.read(find_base, base_id, who.project_id)
        if body.embedding_model is None and body.embedding_id == base.embedding_id:
            body.embedding_id = None  # the SDK always sends it; the base may have been given another model by name
        changes = _checked(body)
        await check_model(changes, who)
        base = await database.run(change_base, rooms.clock, base_id, asker_of(who), changes)
        return said(rooms, show(base, (await database.read(used, who.project_id)).get(base_id, Used())))

    @router.delete("/knowledge/{base_id}", operation_id=f"delete_knowledge_{name}")
    async def delete(base_id: str, who: User) -> dict[str, Any]:
        await rooms.library.remove_base(who, base_id)
        return said(rooms, {"id": base_id, "deleted": True})

    return router


def said(rooms: Rooms, members: dict[str, Any]) -> dict[str, Any]:
    """An answer in both forms: members at the top, and in ``data``."""
    return {**members, "data": members, "code": 200, "message": "success", "timestamp": rooms.clock.wall_ms()}


def show(base: Base, has: Used) -> dict[str, Any]:
    """A base as Zhipu shows it."""
    return {
        "id": base.id,
        "embedding_id": base.embedding_id,
        "embedding_model": base.embedding_model,
        "name": base.name,
        "customer_identifier": base.customer_identifier,
        "description": base.description,
        "background": base.background,
        "icon": base.icon,
        "bucket_id": base.bucket_id,
        "contextual": 0,
        "document_size": has.documents,
        "word_num": has.words,
        "length": has.size_bytes,
    }


def _show_found(found: Found) -> dict[str, Any]:
    metadata = {
        "_id": f"{found.document_id}:{found.position}",
        "knowledge_id": found.knowledge_id,
        "doc_id": found.document_id,
        "doc_name": found.document_name,
        "doc_url": f"/api/paas/v4/files/{found.document_id}/content",
        "position": found.position,
        "contextual_text": "",
    }
    return {"text": found.text, "score": found.score, "metadata": metadata}


def _checked(body: Changes) -> dict[str, Any]:
    """The columns that are to change. Raises ``FieldInvalid``."""
    for field in ("contextual", "callback_url"):
        if getattr(body, field):
            raise FieldInvalid(f"{field} is not offered; leave it out", field=field)
    changes = body.model_dump(exclude_none=True, exclude={"id", "contextual", "callback_url"})
    most = {"name": KNOWLEDGE_NAME_MAX, "description": KNOWLEDGE_TEXT_MAX}
    for field, value in changes.items():
        if isinstance(value, str) and len(value) > most.get(field, TEXT_BYTES_MAX):
            raise FieldInvalid(f"{field} may have {most.get(field, TEXT_BYTES_MAX)} characters", field=field)
    if body.embedding_id is not None and body.embedding_model is None:
        if body.embedding_id not in MODELS:
            told = ", ".join(f"{number} ({model})" for number, model in MODELS.items())
            raise FieldInvalid(f"embedding_id must be {told}; or name the embedding_model", field="embedding_id")
        changes["embedding_model"] = MODELS[body.embedding_id]
    return changes


def _question(body: Asked) -> Question:
    reranks = body.rerank_status == 1
    fields = {
        "document_ids": None if body.document_ids is None else frozenset(body.document_ids),
        "found": body.top_k,
        "recalled": body.top_n,
        "method": body.recall_method,
        "ratio": body.recall_ratio,
        "threshold": body.fractional_threshold,
        "rerank_model": (body.rerank_model or "rerank") if reranks else None,
    }
    told: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}
    return Question(body.query, tuple(body.knowledge_ids), **told)
