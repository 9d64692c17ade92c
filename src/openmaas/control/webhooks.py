"""Webhooks: the same routes for an operator, who names the organisation, and for a customer's own key.

Annotations are evaluated here (no ``from __future__``): FastAPI must see the local ``Owner``.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Depends

from openmaas.control.acting import Acting, by_id
from openmaas.control.reading import Recognise, hooking
from openmaas.control.rooms import Rooms
from openmaas.control.shapes import PageSize
from openmaas.control.shapes_webhooks import ChangedWebhook, NewWebhook, Replay
from openmaas.control.show import check_limit, page, parse_time, show
from openmaas.core.bounds import PAGE_SIZE
from openmaas.core.errors import FieldInvalid
from openmaas.identity.book import need_organisation
from openmaas.identity.face import Caller
from openmaas.store.audit_log import audited
from openmaas.webhooks import book
from openmaas.webhooks.addresses import check_url
from openmaas.webhooks.book import Endpoint
from openmaas.webhooks.sending import shown_secret


def routes(rooms: Rooms) -> APIRouter:
    """The operator's."""

    async def named(organisation_id: str) -> str:
        await rooms.database.read(need_organisation, organisation_id)
        return organisation_id

    return _routes(rooms, "/organisations/{organisation_id}/webhooks", named)


def own_routes(rooms: Rooms, caller: Recognise) -> APIRouter:
    """A customer's, with a key of the scope ``webhooks``."""

    async def own(who: Annotated[Caller, Depends(hooking(caller))]) -> str:
        return who.organisation_id

    return _routes(rooms, "/webhooks", own)


def _routes(rooms: Rooms, place: str, owner: Callable[..., Any]) -> APIRouter:
    router = APIRouter(tags=["webhooks"], prefix=place)
    database = rooms.database
    one = "/{endpoint_id}"

    Owner = Annotated[str, Depends(owner)]  # noqa: N806 - a type

    @router.post("", status_code=201)
    async def create(body: NewWebhook, mine: Owner, who: Acting) -> dict[str, Any]:
        check_url(body.url, private=rooms.webhooks_private)
        book.check_types(body.types)
        secret = book.new_secret()

        def add(tx: sa.Connection) -> Endpoint:
            return book.add_endpoint(tx, _fresh(rooms, mine, body, secret))

        told = {"organisation_id": mine, **body.told()}
        shown = show(await database.run(audited(who, "webhook.create", by_id, add, told)))
        return {**shown, "secret": shown_secret(secret), "note": "the secret is shown this once"}

    @router.get("")
    async def list_all(mine: Owner, after: str = "", limit: PageSize = PAGE_SIZE) -> dict[str, Any]:
        rows = await database.read(book.list_endpoints, mine, after=after, limit=check_limit(limit) + 1)
        return page([show(row) for row in rows], limit)

    @router.patch(one)
    async def change(endpoint_id: str, body: ChangedWebhook, mine: Owner, who: Acting) -> dict[str, Any]:
        changes = _changes(rooms, body)
        revise = audited(who, "webhook.change", endpoint_id, book.change_endpoint, changes)
        return show(await database.run(revise, endpoint_id, mine, changes))

    @router.delete(one)
    async def remove(endpoint_id: str, mine: Owner, who: Acting) -> dict[str, Any]:
        await database.run(audited(who, "webhook.remove", endpoint_id, book.remove_endpoint), endpoint_id, mine)
        return {"id": endpoint_id, "removed": True}

    @router.post(one + "/rotate")
    async def rotate(endpoint_id: str, mine: Owner, who: Acting) -> dict[str, Any]:
        secret = book.new_secret()

        def renew(tx: sa.Connection) -> Endpoint:
            had = book.find_endpoint(tx, endpoint_id, mine)
            old = rooms.master.open(had.secret_sealed, had.id, had.master_version)
            fresh = rooms.master.seal(secret, had.id)
            return book.rotate_secret(tx, rooms.clock, endpoint_id, mine, fresh, rooms.master.seal(old, had.id).secret)

        shown = show(await database.run(audited(who, "webhook.rotate", endpoint_id, renew)))
        return {**shown, "secret": shown_secret(secret), "note": "the secret is shown this once; both sign for a day"}

    @router.get(one + "/deliveries")
    async def list_deliveries(
        endpoint_id: str,
        mine: Owner,
        state: Literal["pending", "done", "failed"] | None = None,
        after: str = "",
        limit: PageSize = PAGE_SIZE,
    ) -> dict[str, Any]:
        rows = await database.read(
            book.list_deliveries, endpoint_id, mine, state=state, after=after, limit=check_limit(limit) + 1
        )
        return page([show(row) for row in rows], limit)

    @router.post(one + "/replay")
    async def replay(endpoint_id: str, body: Replay, mine: Owner, who: Acting) -> dict[str, Any]:
        since_ms = 0 if body.since is None else parse_time(body.since, "since")
        again = audited(who, "webhook.replay", endpoint_id, book.replay, body.told())
        count = await database.run(
            again, rooms.clock, endpoint_id, mine, delivery_id=body.delivery_id, since_ms=since_ms
        )
        return {"id": endpoint_id, "replayed": count}

    @router.post(one + "/test")
    async def test(endpoint_id: str, mine: Owner, who: Acting) -> dict[str, Any]:
        tell = audited(who, "webhook.test", endpoint_id, book.test_event)
        await database.run(tell, rooms.clock, endpoint_id, mine)
        return {"id": endpoint_id, "sent": True}

    return router


def _fresh(rooms: Rooms, mine: str, body: NewWebhook, secret: bytes) -> Endpoint:
    made = rooms.clock.new_id("whk").lower()
    sealed = rooms.master.seal(secret, made)
    return Endpoint(
        id=made,
        organisation_id=mine,
        url=body.url,
        types=None if body.types is None else tuple(body.types),
        description=body.description,
        secret_sealed=sealed.secret,
        master_version=sealed.version,
        created_ms=rooms.clock.wall_ms(),
    )


def _changes(rooms: Rooms, body: ChangedWebhook) -> dict[str, Any]:
    """What shall be different. Raises ``FieldInvalid``, also when nothing is."""
    said = body.model_dump(exclude_unset=True)
    changes = {name: value for name, value in said.items() if value is not None or name == "types"}
    if not changes:
        raise FieldInvalid(f"a change has at least one of {', '.join(ChangedWebhook.model_fields)}", field="body")
    if "url" in changes:
        check_url(changes["url"], private=rooms.webhooks_private)
    book.check_types(changes.get("types"))
    return changes
