"""Chats for which something is found first: the relay hands them over, and is asked again for each of their parts.

A search is a request of its own, with its own price and receipt, and so is the vector of what is looked up in a
knowledge base; then the chat is asked at the path that its customer chose, so that the same plan pays and the same
limits hold. What the relay says to either is passed on as it is.

Annotations are evaluated here (no ``from __future__``): FastAPI must see the local ``Customer``.
"""

from functools import partial
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Request, Response

from openmaas.control.inner import Attended, Inner, Teller, whole
from openmaas.control.reading import recognised
from openmaas.control.rooms import Rooms
from openmaas.core.bounds import QUERY_LENGTH_MAX
from openmaas.core.errors import FieldInvalid
from openmaas.dialects.zhipu.composed import (
    RETRIEVAL_PROMPT,
    SEARCH_PROMPT,
    Composed,
    Telling,
    beside,
    known_to_model,
    results_of,
    shown_to_model,
)
from openmaas.identity.face import Caller
from openmaas.knowledge.asked import Question
from openmaas.knowledge.face import Asking, Library

#: Where a search is asked for.
SEARCH = "/api/paas/v4/web_search"
_EVENTS = b"text/event-stream"


def routes(rooms: Rooms) -> APIRouter:
    """The routes over ``rooms``: those of the relay's own chat, for which there is no other way to come here."""
    router = APIRouter(tags=["composed"])

    async def customer(request: Request) -> Caller:
        found = await recognised(rooms.keys, request.headers)
        found.need("inference")
        if found.job_id:
            said = "web_search and retrieval are for requests of their own, not for batches and tasks"
            raise FieldInvalid(said, field="tools")
        return found

    Customer = Annotated[Caller, Depends(customer)]  # noqa: N806 - a type

    @router.post("/chat/completions", include_in_schema=False)
    async def chat(request: Request, who: Customer) -> Response:
        asked = Composed(await request.body())
        return Attended(partial(_answer, rooms.library, who, asked, Inner(rooms, who, request), request.url.path))

    return router


async def _answer(library: Library, who: Caller, asked: Composed, inner: Inner, path: str, teller: Teller) -> None:
    findings = []
    results: msgspec.Raw | None = None
    if asked.search is not None:
        found = await inner.whole(SEARCH, asked.search.body(asked.question, asked.user_id), ":search")
        if found.status != 200:
            await teller.whole(found.status, found.headers, found.body)
            return
        results = results_of(found.body)
        prompt = asked.search.search_prompt or SEARCH_PROMPT
        findings.append((prompt, {"search_result": shown_to_model(results)}))
    if (retrieval := asked.retrieval) is not None:
        question = Question(asked.question[:QUERY_LENGTH_MAX], (retrieval.knowledge_id,))
        chunks = await library.retrieve(who, Asking(inner.parent_id, inner.once), question)
        known = known_to_model((each.document_name, each.text) for each in chunks)
        findings.append((retrieval.prompt_template or RETRIEVAL_PROMPT, {"knowledge": known}))
    async with inner.ask(path, asked.body(*findings)) as answer:
        if answer.status != 200 or results is None or asked.search is None or not asked.search.shown:
            await teller.pass_on(answer)
        elif answer.headers.get(b"content-type", b"").startswith(_EVENTS):
            telling = Telling(results, first=asked.search.result_sequence == "before")
            await teller.pass_on(answer, telling.feed)
        else:
            told = await whole(answer)
            await teller.whole(told.status, told.headers, beside(told.body, results))
