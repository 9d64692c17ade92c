"""The crash test of the books: real traffic, several relays, real PostgreSQL and Valkey, and a fault at every turn.

``python tests/crash.py --faults 200`` (``make crash``) prints what was lost, doubled and overdrawn, and how large
``unbilled`` grew. Tenants are those of a real trace and pay in every way there is; lengths are those of a real trace.
After each fault the books must agree: what engines counted, at its price, is in the ledger or in ``unbilled``, to the
nano-unit; and what the desk was answered while it sold and gave back was done once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
from pathlib import Path

from crash_desk import CrashDesk
from crash_faults import Faults, small_disk
from crash_traffic import Client, Tally, tenants
from crash_verdict import MUST_BE_0, agree, verdict
from installation import Installation
from openmaas.house.layout import Layout
from openmaas.store.database import Database
from servers import Postgres, Valkey

CLIENTS = 12


async def storm(
    house: Installation, servers: tuple[Postgres, Valkey], disk: Path | None, faults: int, seed: int
) -> Tally:
    """Traffic and faults; the books agree after each."""
    tally, chance, over = Tally(), random.Random(seed), asyncio.Event()
    who = tenants(house)
    await asyncio.sleep(1)
    clients = [Client(house, who, tally, number, faults) for number in range(CLIENTS)]
    desk = await asyncio.to_thread(CrashDesk, house, who, seed)
    running = [asyncio.ensure_future(each.run(over)) for each in (*clients, desk)]
    broken, layout = Faults(house, servers, clients, disk), Layout(str(house.data), house.settings["database_url"])
    database = Database(layout.database)
    for number in range(faults):
        await asyncio.sleep(0.2 + chance.random() * 0.6)
        name = await asyncio.to_thread(broken.one, chance)
        tally.faults[name] += 1
        _, took_s = await asyncio.to_thread(agree, database, layout)
        tally.slowest_s = max(tally.slowest_s, took_s)
        print(
            f"· {number + 1} of {faults}: {name}; {tally.asked:,} asked, agreed after {took_s:.1f} s", file=sys.stderr
        )
    over.set()
    await asyncio.gather(*running)
    await asyncio.to_thread(agree, database, layout, posted=True)
    tally.sold, tally.sold_wrong = desk.told(), desk.disagreements(database)
    database.close()
    return tally


def crash(folder: Path, faults: int, seed: int = 1, relays: int = 4) -> dict[str, object]:
    """The whole test; returns the verdict."""
    servers = Postgres(), Valkey()
    try:
        with small_disk(folder) as disk:
            settings = {"database_url": servers[0].database(), "valkey_url": servers[1].url, "relays": str(relays)}
            house = Installation((disk or folder) / "data", **settings)
            house.log = folder / "log"
            house.start()
            try:
                house.ready()
                tally = asyncio.run(storm(house, servers, disk, faults, seed))
                assert house.stop() == 0
                return verdict(house, tally)
            finally:
                house.slay()
    finally:
        for server in servers:
            server.stop()


def main() -> None:
    """Run and print."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    asked.add_argument("--faults", type=int, default=200)
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--relays", type=int, default=4)
    given = asked.parse_args()
    with tempfile.TemporaryDirectory(prefix="crash-") as folder:
        found = crash(Path(folder), given.faults, given.seed, given.relays)
    print(json.dumps(found, indent=2))
    broken = {name: found[name] for name in MUST_BE_0 if found[name]}
    sys.exit(f"must be 0: {broken}; what it is about stands above the verdict" if broken else 0)


if __name__ == "__main__":
    main()
