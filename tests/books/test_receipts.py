"""A receipt that is not posted is read from the journals, beside everything else the control plane does."""

from __future__ import annotations

import asyncio
import time

import pytest

from desk import Desk
from openmaas.core.errors import ThingUnknown
from openmaas.core.usage import Usage
from openmaas.ledger.posting.receipts import Finder

pytestmark = pytest.mark.alone

REQUESTS = 20_000


def test_asking_for_a_receipt_that_does_not_exist_keeps_nobody_waiting(desk: Desk) -> None:
    journal = desk.relay("rly_1")
    for number in range(REQUESTS):
        desk.run(journal, f"req_{number}", Usage(3, 5))
    gaps: list[float] = []

    async def tick() -> None:
        while True:
            began_s = time.monotonic()
            await asyncio.sleep(0.001)
            gaps.append(time.monotonic() - began_s)

    async def play() -> float:
        finder = Finder(desk.database, desk.layout.journals)
        assert (await finder.find(f"req_{REQUESTS - 1}", "org"))["status"] == "journaled"
        ticking = asyncio.ensure_future(tick())
        await asyncio.sleep(0)
        began_s = time.monotonic()
        for organisation_id in ("org", None):
            with pytest.raises(ThingUnknown):
                await finder.find("req_nobody", organisation_id)
        with pytest.raises(ThingUnknown):
            await finder.find("req_1", "somebody else")
        ticking.cancel()
        return time.monotonic() - began_s

    took_s = asyncio.run(play())
    assert sorted(gaps)[-2] < took_s / 4  # on the loop, two of the three would each hold it for a third of the time
    journal.end()
    while desk.poster.step():
        pass
