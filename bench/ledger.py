"""``python -m bench.ledger``, a part of ``make bench``: what the ledger does in a second, beside what it replaces.

Three things, on SQLite and on PostgreSQL, with lengths of real requests of 27 organisations (``bench.books``):
*posted*, requests that the poster brings from a relay's journal into the books; *holds*, requests that one relay sets
aside and settles on leases that it has; and *transaction each*, the same accounting by the same functions of the book
in one transaction for each request. Beside them, on the same PostgreSQL server, ``pgbench -N``: one row changed, one
read and one inserted, the least that a transaction for each request could be. Every commit waits for the disk:
PostgreSQL has ``fsync`` and ``synchronous_commit`` on, SQLite ``synchronous=FULL``; journals are of ``process``.

Rounds alternate, the median counts. Who is compared runs on one connection, one after the other, but for ``pgbench``,
which has ``PGBENCH_CLIENTS``: so its commits share an fsync, as the poster's requests do.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import uvloop
from tests.servers import STORES, Postgres

from bench.books import Books
from openmaas.store.database import Database

ROUNDS = 3
#: Requests of a round: some seconds of posting, so that what a batch costs counts and a start does not.
WARM, REQUESTS = 2_000, 6_000
SECONDS = 2.0
PGBENCH_CLIENTS, PGBENCH_SCALE = 8, 10
Figures = dict[str, list[float]]


def pgbench(server: Postgres, name: str, *options: str) -> str:
    """Run it on a database of the server; what it printed."""
    command = [str(server.programs / "pgbench"), "-h", str(server.folder), "-U", "postgres", *options, name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def simple_updates(server: Postgres, name: str) -> float:
    """Transactions of ``pgbench -N`` in a second."""
    options = ("-N", "-n", "-c", str(PGBENCH_CLIENTS), "-j", "1", "-T", str(round(SECONDS)))
    found = re.search(r"tps = ([\d.]+)", pgbench(server, name, *options))
    assert found is not None
    return float(found[1])


def one_round(books: Books, figures: Figures) -> None:
    """Hold, journal and post; then a transaction for each request."""
    seconds, closed, life = uvloop.run(books.hold(WARM, REQUESTS))
    figures["holds"].append(REQUESTS / seconds)
    books.journal(closed, life)
    posted, seconds = books.post()
    assert posted == len(closed), (posted, len(closed))
    figures["posted"].append(posted / seconds)
    done, seconds = books.transaction_each(uvloop.run(books.sources(REQUESTS)), SECONDS)
    figures["transaction_each"].append(done / seconds)
    books.post()


def measure(folder: Path) -> tuple[dict[str, float], dict[str, Any]]:
    """The ratios and the figures, requests a second."""
    folder.mkdir(exist_ok=True)
    server = Postgres()
    try:
        addresses: dict[str, str | Path] = {"sqlite": folder / "books.db", "postgresql": server.database()}
        name = server.database().partition("?")[0].rpartition("/")[2]
        here = (server.programs / "pgbench").exists()
        if here:
            pgbench(server, name, "-i", "-q", "-s", str(PGBENCH_SCALE))
        else:
            print("· pgbench is not here, its ratio is left out", file=sys.stderr)
        shelves = {store: _shelf(store, addresses[store], folder) for store in STORES}
        rounds: dict[str, Figures] = {store: {"holds": [], "posted": [], "transaction_each": []} for store in STORES}
        peer: list[float] = []
        for number in range(ROUNDS):
            print(f"· the ledger, round {number + 1} of {ROUNDS}", file=sys.stderr, flush=True)
            for store, books in shelves.items():
                one_round(books, rounds[store])
            peer += [simple_updates(server, name)] if here else []
        for books in shelves.values():
            books.database.close()
    finally:
        server.stop()
    figures = {store: {what: _median(found) for what, found in all_.items()} for store, all_ in rounds.items()}
    if peer:
        figures["pgbench"] = {"simple_updates": _median(peer)}
    return _ratios(figures), {"ledger_per_second": figures}


def _shelf(store: str, address: str | Path, folder: Path) -> Books:
    database = Database(address)
    database.prepare()
    return Books(database, folder / store)


def _ratios(figures: dict[str, dict[str, float]]) -> dict[str, float]:
    found = {}
    for store in STORES:
        ours = figures[store]
        if "pgbench" in figures:
            found[f"posted_vs_pgbench_{store}"] = ours["posted"] / figures["pgbench"]["simple_updates"]
        for what in ("posted", "holds"):
            found[f"{what}_vs_transaction_each_{store}"] = ours[what] / ours["transaction_each"]
    return {name: round(ratio, 3) for name, ratio in found.items()}


def _median(found: list[float]) -> float:
    return round(statistics.median(found), 1)


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        ratios, figures = measure(Path(folder))
    load = [round(each, 2) for each in os.getloadavg()]
    print(json.dumps({"ratios": ratios, "figures": figures, "load": load}, indent=2))


if __name__ == "__main__":
    main()
