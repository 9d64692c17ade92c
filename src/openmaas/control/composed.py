"""Chats that are made of several requests: the relay hands them over, and is asked again for each of their parts.

A search is a request of its own, with its own price and receipt, and so is the vector of what is looked up in a
knowledge base; then the chat is asked at the path that its customer chose, so that the same plan pays and the same
limits hold. What the relay says to either is passed on as it is. Whether question and answer may be said is for
``checked`` to find out.

Annotations are evaluated here (no ``from __future__``): FastAPI must see the local ``Customer``.
"""

from functools import partial
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Request, Response

from openmaas.control.checked import Check
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
from openmaas.dialects.zhipu.sensitive import FIELD
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
        return found

    Customer = Annotated[Caller, Depends(customer)]  # noqa: N806 - a type

    @router.post("/chat/completions", include_in_schema=False)
    async def chat(request: Request, who: Customer) -> Response:
        asked = Composed(await request.body())
        if who.job_id:
            field = FIELD if asked.checked else "tools"
            said = f"{field}: what is made of several requests is asked on its own, not in batches and tasks"
            raise FieldInvalid(said, field=field)
        return Attended(partial(_answer, rooms.library, who, asked, Inner(rooms, who, request), request.url.path))

    return router


async def _answer(library: Library, who: Caller, asked: Composed, inner: Inner, path: str, teller: Teller) -> None:
    findings = []
    results: msgspec.Raw | None = None
    check = Check(inner) if asked.checked else None
    if check is not None:
        await check.question(asked.said)
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
    shown, first = None, False
    if asked.search is not None and asked.search.shown:
        shown, first = results, asked.search.result_sequence == "before"
    async with inner.ask(path, asked.body(*findings)) as answer:
        if answer.status != 200 or (shown is None and check is None):
            await teller.pass_on(answer)
        elif answer.headers.get(b"content-type", b"").startswith(_EVENTS):
            telling = None if shown is None else Telling(shown, first=first)
            change = bytes if telling is None else telling.feed
            await (teller.pass_on(answer, change) if check is None else check.stream(teller, answer, change))
        else:
            told = await whole(answer)
            body = told.body if check is None else await check.whole(told.body)
            await teller.whole(told.status, told.headers, body if shown is None else beside(body, shown))
