"""Kept answers, as the project that asked for them sees them. https://platform.openai.com/docs/api-reference/responses

Annotations are evaluated here (no ``from __future__``): FastAPI must see the local ``User``.
"""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Query

from openmaas.control.reading import Recognise, using
from openmaas.control.rooms import Rooms
from openmaas.core.bounds import PAGE_SIZE, PAGE_SIZE_MAX
from openmaas.core.errors import FieldInvalid, PathUnknown
from openmaas.dialects.responses.kept import listed
from openmaas.identity.face import Caller
from openmaas.responses.face import Archive


def routes(rooms: Rooms, caller: Recognise, form: str) -> APIRouter:
    """The routes over ``rooms`` for whoever ``caller`` recognises; ``form`` tells the places where they stand apart."""
    router = APIRouter(tags=["responses"])
    archive = Archive(rooms.database, rooms.clock, rooms.responses_days)

    User = Annotated[Caller, Depends(using(caller))]  # noqa: N806 - a type
    Page = Annotated[int, Query(ge=1, le=PAGE_SIZE_MAX)]  # noqa: N806 - the same

    @router.post("/responses/compact", include_in_schema=False)
    async def compact(_who: User) -> None:
        raise PathUnknown("conversations are not made compact here; send fewer items, or a summary of them, as `input`")

    @router.get("/responses/{response_id}", operation_id=f"get_response_{form}")
    async def retrieve(response_id: str, who: User, stream: bool = False) -> dict[str, Any]:
        if stream:
            raise FieldInvalid("stream: only what runs in the background can be followed again", field="stream")
        found = await archive.find(who.project_id, response_id)
        return dict(msgspec.json.decode(found.answer))

    @router.delete("/responses/{response_id}", operation_id=f"delete_response_{form}")
    async def delete(response_id: str, who: User) -> dict[str, Any]:
        await archive.delete(who.project_id, response_id)
        return {"id": response_id, "object": "response", "deleted": True}

    @router.post("/responses/{response_id}/cancel", operation_id=f"cancel_response_{form}")
    async def cancel(response_id: str, who: User) -> dict[str, Any]:
        await archive.find(who.project_id, response_id)
        raise FieldInvalid("only a response that runs in the background can be cancelled", field="response_id")

    @router.get("/responses/{response_id}/input_items", operation_id=f"list_response_input_{form}")
    async def input_items(
        response_id: str,
        who: User,
        after: str = "",
        limit: Page = PAGE_SIZE,
        order: Literal["asc", "desc"] = "desc",
    ) -> dict[str, Any]:
        found = await archive.find(who.project_id, response_id)
        items = listed(found.asked, response_id)
        if order == "desc":
            items.reverse()
        if after:
            ids = [item["id"] for item in items]
            if after not in ids:
                raise FieldInvalid(f"after: there is no item {after!r} in this response", field="after")
            items = items[ids.index(after) + 1 :]
        data = items[:limit]
        ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": "", "last_id": ""}
        return {"object": "list", "data": data, **ends, "has_more": len(items) > limit}

    return router
