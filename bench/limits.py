"""``python -m bench.limits [store …]``: how much too much and how much too little relays let through together.

Relays with real lenders share one limit, and are asked for twice as much as it allows, by chance, for one and a half
minutes. *Over* is what the busiest 60 seconds had above the limit; *under* is what was let through less than one exact
window would have let through of the same requests. Then Valkey is killed and started again under them.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.fleet import CLOCK, Fleet, best, busiest
from tests.servers import Valkey, new_database

from openmaas.limits.borrowing import Lender
from openmaas.limits.tables import TableLender
from openmaas.limits.valkey import ValkeyLender

AMOUNT = 1_200
SECONDS = 90.0
PRESSURE = 2.0
#: When Valkey is killed, and when it is there again.
KILLED_S, BACK_S, ENDED_S = 20.0, 40.0, 110.0


def lenders(store: str, folder: Path, relays: int) -> tuple[list[Lender | None], Callable[[], None]]:
    """A lender for each relay, and what ends them."""
    if store == "alone":
        return [None], lambda: None
    if store == "valkey":
        server = Valkey()
        return [ValkeyLender(server.url, CLOCK) for _ in range(relays)], server.stop
    database = new_database(store, folder)
    return [TableLender(database, CLOCK) for _ in range(relays)], database.close


def show(name: str, relays: int, fleet: Fleet) -> None:
    """One line of the table."""
    admitted, ideal = fleet.admitted_s(), best(fleet.asked_s(), AMOUNT)
    waits_ms = sorted(1000 * wait for member in fleet.members for wait in member.waits_s)
    over, under = max(0, busiest(admitted) - AMOUNT), max(0.0, 100 * (1 - len(admitted) / ideal))
    median, late = waits_ms[len(waits_ms) // 2], waits_ms[int(len(waits_ms) * 0.99)]
    print(f"| {name} | {relays} | {over} | {under:.1f} % | {median:.2f} ms | {late:.1f} ms |", flush=True)


async def steady(store: str, relays: int) -> None:
    """Nothing breaks."""
    with tempfile.TemporaryDirectory() as folder:
        lent, end = lenders(store, Path(folder), relays)
        async with Fleet(Path(folder), lent, rpm=AMOUNT) as fleet:
            a_second = PRESSURE * AMOUNT / 60 / relays
            await asyncio.gather(*(member.press(SECONDS, a_second) for member in fleet.members))
        show(store, relays, fleet)
        end()


async def killed(relays: int, *, moves: bool) -> None:
    """Valkey is killed and comes back empty. ``moves``: all requests came to one relay, and then to the others."""
    server = Valkey()

    async def fate() -> None:
        await asyncio.sleep(KILLED_S)
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(BACK_S - KILLED_S)
        await asyncio.to_thread(server.start)

    with tempfile.TemporaryDirectory() as folder:
        async with Fleet(Path(folder), [ValkeyLender(server.url, CLOCK) for _ in range(relays)], rpm=AMOUNT) as fleet:
            a_second = PRESSURE * AMOUNT / 60
            if moves:
                first, *others = fleet.members
                dying = asyncio.ensure_future(fate())
                await first.press(KILLED_S, 2 * a_second)
                rest = ENDED_S - KILLED_S
                await asyncio.gather(dying, *(member.press(rest, a_second / len(others)) for member in others))
            else:
                pressing = [member.press(ENDED_S, a_second / relays) for member in fleet.members]
                await asyncio.gather(fate(), *pressing)
        show("valkey killed, requests move" if moves else "valkey killed", relays, fleet)
    server.stop()


async def main(stores: list[str]) -> None:
    """Measure, and print the table of ``docs/limits.md``."""
    print("| Lender | Relays | Over | Under | Wait, median | 99 % |\n|---|--:|--:|--:|--:|--:|", flush=True)
    for store in stores:
        if store == "killed":
            for relays in (4, 16):
                await killed(relays, moves=False)
                await killed(relays, moves=True)
        else:
            for relays in (1,) if store == "alone" else (1, 4, 16):
                await steady(store, relays)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:] or ["alone", "sqlite", "postgresql", "valkey", "killed"]))
