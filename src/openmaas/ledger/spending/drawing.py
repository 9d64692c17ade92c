"""Takes money out of a wallet that relays lease of: asks them for what they do not use, and tries again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa

from openmaas.core.bounds import RECALL_POLL_S, RECALL_WAIT_S
from openmaas.core.errors import InsufficientFunds
from openmaas.ledger.spending.leasing import recall
from openmaas.store.database import Database

P = ParamSpec("P")
T = TypeVar("T")


async def draw(
    database: Database,
    account_id: str,
    book: Callable[Concatenate[sa.Connection, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Run ``book``, which takes from ``account_id``; when funds are missing, again for up to ``RECALL_WAIT_S``.

    Raises as ``book``.
    """
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + RECALL_WAIT_S
    asked = False
    while True:
        try:
            return await database.run(book, *args, **kwargs)
        except InsufficientFunds:
            if loop.time() >= deadline_s:
                raise
        if not asked:
            await database.run(recall, account_id)
            asked = True
        await asyncio.sleep(RECALL_POLL_S)
