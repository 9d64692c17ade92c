"""Zhipu's agents: a caller fills what an operator has written, and a model answers. At three paths, for SDKs and
documents do not agree where they are.

The chat is asked of the relay on the caller's behalf; an agent whose answer is fetched later is an async task. What was
said is kept only when a caller says so, as a response is (``responses``), and is deleted as one.

Annotations are evaluated here (no ``from __future__``): FastAPI must see the local ``User``.
"""

import asyncio
import logging
from functools import partial
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Request, Response

from openmaas.catalog.agents import Agent, find_agent
from openmaas.control.inner import Attended, Inner, Teller, whole
from openmaas.control.reading import Recognise, using
from openmaas.control.rooms import Rooms
from openmaas.core.bounds import AGENT_FILE_BYTES_MAX, TASK_KEPT_S
from openmaas.core.errors import FieldInvalid, PreviousUnknown, StoreFailed, ThingUnknown
from openmaas.dialects.dialect import Ticket
from openmaas.dialects.responses.kept import conversed
from openmaas.dialects.zhipu import agents as wire
from openmaas.identity.face import Caller
from openmaas.identity.signet import Signet
from openmaas.responses.book import Kept, keep
from openmaas.responses.face import Archive
from openmaas.work.book import Asker, Job, add_job, find_job
from openmaas.work.wanted import AGENT, TASK_TARGET, TaskProgress, TaskWanted, text

log = logging.getLogger(__name__)
#: Under which the paths are: the documents' two base URLs, and what Zhipu's SDK makes of the first.
PREFIXES = {"paas": "/api/paas/v4", "sdk": "/api/paas/v4/v1", "api": "/api/v1"}


class Agents:
    """What the routes do."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._archive = Archive(rooms.database, rooms.clock, rooms.responses_days)
        self._signet = Signet(rooms.master)

    async def invoke(self, request: Request, who: Caller) -> Response:
        """Ask an agent, now or for later."""
        asked = wire.read_invoked(await request.body())
        agent = await self._rooms.database.read(find_agent, asked.agent_id)
        before: list[dict[str, Any]] = []
        if asked.conversation_id:
            before = wire.spoken(await self._turns(who, agent.id, asked.conversation_id))
        values = agent.values(asked.custom_variables or {})
        system = agent.system(values, await self._files(agent, values, who.project_id))
        body = asked.chat(agent.model, system, before, agent.chat)
        if agent.later:
            return await self._begin(asked, agent, who, body)
        return Attended(partial(self._tell, asked, who, Inner(self._rooms, who, request), body))

    async def fetch(self, request: Request, who: Caller) -> bytes:
        """The answer of an agent that was asked for later, or that there is none yet."""
        asked = wire.read_fetched(await request.body(), "async_id")
        return _fetched(await self._rooms.database.read(find_job, asked.async_id, who.project_id, AGENT))

    async def conversation(self, request: Request, who: Caller) -> dict[str, Any]:
        """What was said in a conversation that is kept."""
        asked = wire.read_fetched(await request.body(), "conversation_id")
        name = asked.conversation_id or ""
        turns = await self._turns(who, asked.agent_id, name)
        return {"agent_id": asked.agent_id, "conversation_id": name, "choices": [{"message": wire.spoken(turns)}]}

    async def _turns(self, who: Caller, agent_id: str, conversation_id: str) -> list[tuple[bytes, bytes]]:
        try:
            turns = await self._archive.chain(who.project_id, conversation_id)
        except PreviousUnknown:
            turns = []
        if not turns or wire.agent_of(turns[-1][1]) != agent_id:
            said = f"no conversation {conversation_id!r} with this agent is kept"
            raise ThingUnknown(said, field="conversation_id")
        return turns

    async def _files(self, agent: Agent, values: dict[str, str], project_id: str) -> dict[str, str]:
        """The text of the files that callers have named. Raises ``FieldInvalid``."""
        found = {}
        for each in agent.variables:
            if each.kind != "file" or not (file_id := values[each.name]):
                continue
            field = f"custom_variables.{each.name}"
            try:
                file, path = await self._rooms.files.path(file_id, project_id)
                if file.size_bytes > AGENT_FILE_BYTES_MAX:
                    raise FieldInvalid(f"{field} may have {AGENT_FILE_BYTES_MAX} bytes", field=field)
                found[file_id] = (await asyncio.to_thread(path.read_bytes)).decode()
            except ThingUnknown:
                raise FieldInvalid(f"{field}: there is no file {file_id!r}; upload it first", field=field) from None
            except UnicodeDecodeError:
                raise FieldInvalid(f"{field} must be a text in UTF-8", field=field) from None
        return found

    async def _begin(self, asked: wire.Invoked, agent: Agent, who: Caller, body: bytes) -> Response:
        for name in ("stream", "store"):
            if getattr(asked, name):
                raise FieldInvalid(f"{name}: the answer of {agent.id} is fetched by async-result", field=name)
        name = "" if asked.request_id is None else str(asked.request_id)
        wanted = TaskWanted(TASK_TARGET, agent.model, name, body.decode(), agent.id)
        asker = Asker(who.organisation_id, who.project_id, who.key_id)
        fields = {"wanted": text(wanted), "progress": text(TaskProgress())}
        made = await self._rooms.database.run(add_job, self._rooms.clock, AGENT, asker, lives_s=TASK_KEPT_S, **fields)
        return _json(_fetched(made))

    async def _tell(self, asked: wire.Invoked, who: Caller, inner: Inner, body: bytes, teller: Teller) -> None:
        async with inner.ask(TASK_TARGET, body) as answer:
            if answer.status != 200:
                await teller.pass_on(answer)
            elif asked.stream:
                telling = wire.Telling(asked.agent_id)
                await teller.begin(answer)
                async for block in answer.blocks():
                    await teller.say(telling.feed(block))
                kept = await self._keep(asked, who, answer.request_id, telling.text) if telling.whole else {}
                await teller.say(telling.end(**kept))
                await teller.end()
            else:
                told = await whole(answer)
                kept = await self._keep(asked, who, answer.request_id, wire.text_of(told.body))
                await teller.whole(told.status, told.headers, wire.answered(told.body, asked.agent_id, **kept))

    async def _keep(self, asked: wire.Invoked, who: Caller, request_id: str, said: str) -> dict[str, str]:
        """Keep a turn when that was asked for; returns what the answer says of it. An answer that is paid does not wait
        for a database that is out."""
        if not asked.store or not (term_ms := await self._archive.term_ms(who.project_id)):
            return {}
        now_ms = self._rooms.clock.wall_ms()
        name, question, answer = conversed(
            Ticket(request_id, now_ms, asked.agent_id),
            asked.turns,
            said,
            {"previous_response_id": asked.conversation_id, "metadata": {"agent_id": asked.agent_id}},
            self._signet,
        )
        previous = asked.conversation_id or None
        owner = who.organisation_id, who.project_id
        kept = Kept(name, *owner, previous, now_ms, now_ms + term_ms, question, answer)
        try:
            await self._rooms.database.run(keep, kept)
        except StoreFailed as error:
            log.warning("%s is not kept: %s", name, error)
            return {}
        return {"conversation_id": name}


def routes(rooms: Rooms, caller: Recognise, form: str) -> APIRouter:
    """The routes over ``rooms`` for whoever ``caller`` recognises; ``form`` tells the places where they stand apart."""
    router = APIRouter(tags=["agents"])
    agents = Agents(rooms)

    User = Annotated[Caller, Depends(using(caller))]  # noqa: N806 - a type

    @router.post("/agents", operation_id=f"invoke_agent_{form}", openapi_extra=_taking(wire.Invoked))
    async def invoke(request: Request, who: User) -> Response:
        return await agents.invoke(request, who)

    @router.post("/agents/async-result", operation_id=f"fetch_agent_{form}", openapi_extra=_taking(wire.Fetched))
    async def fetch(request: Request, who: User) -> Response:
        return _json(await agents.fetch(request, who))

    @router.post("/agents/conversation", operation_id=f"show_talk_{form}", openapi_extra=_taking(wire.Fetched))
    async def conversation(request: Request, who: User) -> dict[str, Any]:
        return await agents.conversation(request, who)

    return router


def _taking(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """What the document says of a body that is read here."""
    schema = {"type": "object", "required": [each.name for each in msgspec.structs.fields(kind) if each.required]}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


def _fetched(job: Job) -> bytes:
    """The task of an agent's answer as Zhipu shows it; a failed one is no failed request."""
    wanted = msgspec.json.decode(job.wanted, type=TaskWanted)
    shown: dict[str, Any] = {"agent_id": wanted.agent_id, "async_id": job.id}
    if job.state == "open":
        return msgspec.json.encode(shown | {"status": "pending", "choices": []})
    progress = msgspec.json.decode(job.progress, type=TaskProgress)
    if job.state == "done":
        return wire.answered(progress.answer.encode(), wanted.agent_id, async_id=job.id)
    told = msgspec.json.decode(progress.answer) if progress.answer else {}
    error = told.get("error", {"code": job.state, "message": f"the task is {job.state}"})
    return msgspec.json.encode(shown | {"status": "failed", "choices": [], "error": error})
