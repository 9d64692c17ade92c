"""Agents that the operator offers."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter

from openmaas.catalog import agents as book
from openmaas.catalog.agents import Agent, Variable
from openmaas.catalog.shipped import shipped
from openmaas.control.acting import Acting
from openmaas.control.rooms import Rooms
from openmaas.control.shapes import ChangedAgent, NewAgent, PageSize
from openmaas.control.show import check_limit, page, show
from openmaas.core.bounds import PAGE_SIZE
from openmaas.core.errors import FieldMissing
from openmaas.store.audit_log import audited

#: Members of a chat that an agent may fix.
_CHAT = ("temperature", "top_p", "max_tokens", "thinking")
#: What a list leaves out.
_LONG = ("prompt", "variables")


def routes(rooms: Rooms) -> APIRouter:
    """The routes over ``rooms``."""
    router = APIRouter(tags=["agents"])
    database = rooms.database

    @router.post("/agents", status_code=201)
    async def add(body: NewAgent, who: Acting) -> dict[str, Any]:
        ready = shipped(body.model, rooms.clock.wall_ms()).get(body.id)
        if ready is None and body.prompt is None:
            raise FieldMissing("prompt is needed: there is no agent of this id that is shipped", field="prompt")
        plain = ready or Agent(body.id, body.model, "", "", (), {}, later=False, created_ms=rooms.clock.wall_ms())
        chat, members = _members(body)
        agent = msgspec.structs.replace(plain, chat=plain.chat | chat, **members)
        return _show(await database.run(audited(who, "agent.create", agent.id, book.add_agent, body.told()), agent))

    @router.get("/agents")
    async def list_agents(after: str = "", limit: PageSize = PAGE_SIZE) -> dict[str, Any]:
        rows = await database.read(book.list_agents, after=after, limit=check_limit(limit) + 1)
        shown = [_show(row) for row in rows]
        return page([{name: row[name] for name in row if name not in _LONG} for row in shown], limit)

    @router.get("/agents/{agent_id}")
    async def show_agent(agent_id: str) -> dict[str, Any]:
        return _show(await database.read(book.find_agent, agent_id))

    @router.patch("/agents/{agent_id}")
    async def change(agent_id: str, body: ChangedAgent, who: Acting) -> dict[str, Any]:
        chat, members = _members(body)
        place = audited(who, "agent.change", agent_id, book.change_agent, body.told())
        return _show(await database.run(place, agent_id, chat, **members))

    @router.delete("/agents/{agent_id}")
    async def remove(agent_id: str, who: Acting) -> dict[str, Any]:
        await database.run(audited(who, "agent.remove", agent_id, book.remove_agent), agent_id)
        return {"id": agent_id, "removed": True}

    return router


def _members(body: ChangedAgent) -> tuple[dict[str, Any], dict[str, Any]]:
    """What ``body`` says of an agent, as the agent has it: what it fixes of a chat, and the rest."""
    told = body.model_dump(exclude_unset=True, exclude_none=True, exclude={"id"})
    chat = {name: told.pop(name) for name in _CHAT if name in told}
    if "thinking" in chat:
        chat["thinking"] = {"type": "enabled" if chat["thinking"] else "disabled"}
    if "variables" in told:
        told["variables"] = tuple(msgspec.convert(each, Variable) for each in told["variables"])
    return chat, told


def _show(agent: Agent) -> dict[str, Any]:
    return show(msgspec.to_builtins(agent))
