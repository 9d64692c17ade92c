"""``make bench``: relay and ledger with everything on, beside their peers, in one run; the ledger is ``bench.ledger``.

The server under test has one core for itself; engine and load share the other, and may be the slower side. So what is
compared is not the rate but the work: answered requests for each second of CPU that the server's process used, which
is its rate on a core that is busy. A ratio of 1 beside nginx means that the relay, which knows the caller, holds,
counts, journals and hides usage, costs as much as nginx, which only copies. Rounds alternate, the median counts.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import statistics
import sys
import sysconfig
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import uvloop

from bench import ledger, relay
from bench.load import drive, request_of, work
from bench.peers import LITELLM, SMG, litellm, nginx, nginx_path, smg, tensorzero
from bench.servers import OTHER_CORE, Server, house
from bench.start import second_start_s

ROUNDS = 5
SECONDS = 3.0
WARM_S = 1.0
CONNECTIONS = 32
PACED_CONNECTIONS = 128
#: The requests that every gateway passes on.
PASSED = ("plain", "large", "stream", "paced")
RESULT = Path(__file__).parent / "latest.json"
EMBEDDED = "smollm2-135m"


def bodies(model: str = "echo") -> dict[str, dict[str, Any]]:
    """The requests: plain, with a prompt of 300 KB, a stream of 64 events, and an answer of a real engine."""
    plain = {"model": model, "messages": [{"role": "user", "content": "one two three"}]}
    large = {"model": model, "messages": [{"role": "user", "content": "word " * 60_000}]}
    streamed = {**plain, "stream": True, "stream_options": {"include_usage": True}}
    return {
        "plain": plain,
        "large": large,
        "stream": {**streamed, "user": "echo:tokens=64"},
        "paced": {**streamed, "user": "echo:tokens=64,pace_ms=5"},
        "embedded": {**streamed, "max_tokens": 64, "temperature": 0, "seed": 1},
    }


def compare(
    name: str, body: dict[str, Any], servers: dict[str, Server], connections: int | None = None
) -> dict[str, Any]:
    """Alternating rounds of every server; the medians. Nothing counts of a short first one: a server that touches its
    memory for the first time stands still while a virtual machine's host finds some."""
    found: dict[str, list[tuple[float, float]]] = {server: [] for server in servers}
    connections = connections or (PACED_CONNECTIONS if name == "paced" else CONNECTIONS)
    requests = {
        server: request_of({**body, "model": who.model.format(name) or body["model"]}, who.key, who.path)
        for server, who in servers.items()
    }
    for server, who in servers.items():
        uvloop.run(drive(who.address, requests[server], connections=connections, seconds=WARM_S))
    for number in range(ROUNDS):
        print(f"· {name}, round {number + 1} of {ROUNDS}", file=sys.stderr, flush=True)
        for server, who in servers.items():
            found[server].append(work(who, requests[server], connections=connections, seconds=SECONDS))
    return {
        server: {
            "per_cpu_second": round(statistics.median(work for work, _ in rounds), 3),
            "per_second": round(statistics.median(rate for _, rate in rounds), 3),
        }
        for server, rounds in found.items()
    }


def beside_proxies(folder: Path) -> tuple[dict[str, float], dict[str, Any]]:
    """Ratios of work, and their figures, before the echo engine."""
    figures: dict[str, Any] = {}
    with (
        house(folder / "echo", "echo") as (ours, engine),
        nginx(folder / "buffering", engine, buffers=True) as buffering,
        nginx(folder / "passing", engine, buffers=False) as passing,
    ):
        for name in PASSED:
            servers = {"relay": ours, "nginx": passing, **({"nginx_buffering": buffering} if name == "large" else {})}
            figures[name] = compare(name, bodies()[name], servers)
        for gateway, (starts, names) in _gateways(folder, passing).items():
            with starts as peer:  # one at a time: beside two of them the relay stood still, see docs/diary.md
                for name in names:
                    figures[f"{name}_{gateway}"] = compare(name, bodies()[name], {"relay": ours, gateway: peer})
        alone = relay.measure(ours, engine)
    ratios = {
        f"{name.partition('_')[0]}_vs_{peer}": _ratio(figures[name], "relay", peer)
        for name in figures
        for peer in figures[name]
        if peer != "relay"
    }
    return {**ratios, **alone.pop("ratios")}, {**figures, "alone": alone}


def _gateways(
    folder: Path, upstream: Server
) -> dict[str, tuple[contextlib.AbstractContextManager[Server], tuple[str, ...]]]:
    """Those that are here: how each is started, and what it is asked."""
    found: dict[str, tuple[contextlib.AbstractContextManager[Server], tuple[str, ...]]] = {}
    if SMG.exists():
        cues = {name: body.get("user", "") for name, body in bodies().items()}
        found["smg"] = smg(folder, upstream), PASSED
        found["tensorzero"] = tensorzero(folder, upstream, cues), PASSED
    if LITELLM.exists():
        found["litellm"] = litellm(folder, upstream), ("plain",)
    for missing in {"smg", "tensorzero", "litellm"} - found.keys():
        print(f"· {missing} is not here, its ratios are left out", file=sys.stderr)
    return found


def through_the_platform(folder: Path) -> tuple[dict[str, float], dict[str, Any]]:
    """The embedded engine through the platform, beside the same engine asked directly; then its second start."""
    with house(folder / "embedded", EMBEDDED, pinned=False) as (relay, engine):
        servers = {"through": relay, "direct": engine}
        figures = compare("embedded engine", bodies(EMBEDDED)["embedded"], servers, connections=1)
    ratio = figures["through"]["per_second"] / figures["direct"]["per_second"]
    request = request_of(bodies(EMBEDDED)["embedded"], relay.key)
    start_s = second_start_s(folder / "embedded", int(relay.address), request)
    return {"engine_through_platform": round(ratio, 3)}, {"embedded": figures, "second_start_s": start_s}


def beside_trainers(folder: Path) -> tuple[dict[str, float], dict[str, Any]]:
    """A step of openglm beside others, where torch and transformers are."""
    if not (find_spec("torch") and find_spec("transformers")):
        print(
            "· torch and transformers are not here (make setup-glm setup-oracle), training is left out", file=sys.stderr
        )
        return {}, {}
    from bench import glm  # noqa: PLC0415 - it imports torch, which is an extra

    return glm.measure(folder)


def _ratio(figures: dict[str, Any], ours: str, theirs: str) -> float:
    return float(round(figures[ours]["per_cpu_second"] / figures[theirs]["per_cpu_second"], 3))


def main() -> None:
    """Measure, print, write ``bench/latest.json``."""
    if not nginx_path():
        sys.exit("nginx is not here; install it with: apt-get install nginx-light")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        embedded, embedded_figures = through_the_platform(Path(folder))
        books, books_figures = ledger.measure(Path(folder))
        training, training_figures = beside_trainers(Path(folder))
        os.sched_setaffinity(0, {OTHER_CORE})
        ratios, figures = beside_proxies(Path(folder))
    optimised = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    found = {
        "ratios": {**ratios, **embedded, **books, **training},
        "figures": {**figures, **embedded_figures, **books_figures, **training_figures},
        "python": f"{platform.python_version()}, {'optimised' if optimised else 'not optimised'} build",
        "journal_durability": "process",
        "rounds": ROUNDS,
    }
    RESULT.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
