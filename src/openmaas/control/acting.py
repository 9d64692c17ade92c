"""Who acts, for the audit log: a route that changes something takes an ``Acting`` and runs its book ``audited``."""

from __future__ import annotations

from operator import attrgetter
from typing import Annotated

from fastapi import Depends, Request

from openmaas.store.audit_log import Actor


async def _actor(request: Request) -> Actor:
    actor: Actor = request.state.actor  # set where the key was recognised
    return actor


#: The key that a command came with: a router that has such routes depends on who sent a request, before they do.
Acting = Annotated[Actor, Depends(_actor)]
#: The subject of a command that makes or changes something with an id.
by_id = attrgetter("id")
