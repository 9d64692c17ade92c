"""Organisations, projects and keys."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from fastapi import APIRouter

from openmaas.catalog.book import need_models
from openmaas.control.acting import Acting
from openmaas.control.rooms import Rooms
from openmaas.control.shapes import NewKey, NewOrganisation, NewProject, PageSize
from openmaas.control.show import check_limit, page, parse_time, show
from openmaas.core.bounds import PAGE_SIZE
from openmaas.core.errors import FieldInvalid
from openmaas.identity import book
from openmaas.identity.law import organisations, projects
from openmaas.store.audit_log import audited


def routes(rooms: Rooms) -> APIRouter:
    """The routes over ``rooms``."""
    router = APIRouter(tags=["identity"])
    database = rooms.database

    @router.post("/organisations", status_code=201)
    async def add_organisation(body: NewOrganisation, who: Acting) -> dict[str, Any]:
        add = audited(who, "organisation.create", str, book.add_organisation, body.told())
        found = await database.run(add, rooms.clock, body.name)
        return {"id": found, "name": body.name}

    @router.get("/organisations")
    async def list_organisations(after: str = "", limit: PageSize = PAGE_SIZE) -> dict[str, Any]:
        rows = await database.read(book.list_rows, organisations, after=after, limit=check_limit(limit) + 1)
        return page([show(row) for row in rows], limit)

    @router.post("/projects", status_code=201)
    async def add_project(body: NewProject, who: Acting) -> dict[str, Any]:
        add = audited(who, "project.create", str, book.add_project, body.told())
        found = await database.run(add, rooms.clock, body.organisation_id, body.name)
        return {"id": found, "organisation_id": body.organisation_id, "name": body.name}

    @router.get("/projects")
    async def list_projects(after: str = "", limit: PageSize = PAGE_SIZE) -> dict[str, Any]:
        rows = await database.read(book.list_rows, projects, after=after, limit=check_limit(limit) + 1)
        return page([show(row) for row in rows], limit)

    @router.post("/keys", status_code=201)
    async def add_key(body: NewKey, who: Acting) -> dict[str, Any]:
        expires_ms = None if body.expires_at is None else parse_time(body.expires_at, "expires_at")
        if expires_ms is not None and expires_ms <= rooms.clock.wall_ms():
            raise FieldInvalid("expires_at must lie in the future", field="expires_at")
        await database.read(need_models, body.models)
        key_id, text = await database.run(
            audited(who, "key.create", itemgetter(0), book.add_key, body.told()),
            rooms.clock,
            rooms.master,
            body.project_id,
            body.name,
            scopes=list(body.scopes),
            models=body.models,
            expires_ms=expires_ms,
        )
        return {"id": key_id, "key": text, "note": "the key is shown this once"}

    @router.get("/keys")
    async def list_keys(
        organisation_id: str | None = None, after: str = "", limit: PageSize = PAGE_SIZE
    ) -> dict[str, Any]:
        rows = await database.read(
            book.list_keys, organisation_id=organisation_id, after=after, limit=check_limit(limit) + 1
        )
        return page([show(row) for row in rows], limit)

    @router.delete("/keys/{key_id}")
    async def revoke_key(key_id: str, who: Acting) -> dict[str, Any]:
        await database.run(audited(who, "key.revoke", key_id, book.revoke_key), rooms.clock, key_id)
        return {"id": key_id, "revoked": True}

    return router
