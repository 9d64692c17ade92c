"""``openmaas simulate`` and ``calibrate``: what a fleet would do with recorded requests, and how fast an engine is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from openmaas.cli.say import AS_JSON, Progress, plainly, show, table
from openmaas.core.bounds import REPLICAS_SIMULATED_MAX
from openmaas.core.errors import FieldInvalid
from openmaas.scheduling.choose import RULES
from openmaas.scheduling.fair import QUEUES
from openmaas.simulation import calibration, traces
from openmaas.simulation.plots import plots
from openmaas.simulation.profile import Profile, load
from openmaas.simulation.report import Report, report
from openmaas.simulation.traces import Arrival
from openmaas.simulation.world import World

_COLUMNS = ("replicas", "policy", "queue", "requests", "refused", "tokens_per_s", "busy", "hits", "ideal")
_TIMES = ("ttft_p50", "ttft_p99", "others_p99", "alone_p99", "ratio", "gap", "gap_bound_vtc")


@click.command()
@click.option(
    "--trace", required=True, type=click.Path(path_type=Path), help="Requests: Azure csv, Mooncake or VTC jsonl."
)
@click.option(
    "--profile", default="glm-4.6-fp8-4xh200", show_default=True, help="Speed of an engine: TOML, or a shipped name."
)
@click.option("--replicas", default="1", show_default=True, help="Engines; several numbers compare: 1,4,16.")
@click.option("--policy", default="affinity", show_default=True, help=f"Routing: some of {','.join(RULES)}.")
@click.option("--queue", default="fair", show_default=True, help=f"Who is served next: some of {','.join(QUEUES)}.")
@click.option(
    "--speed",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Times faster than recorded.",
)
@click.option(
    "--repeat", type=click.IntRange(1), default=1, show_default=True, help="Such crowds at once, unlike each other."
)
@click.option("--tenants", type=click.IntRange(1), help="Deal the requests among so many tenants.")
@click.option("--flood", help="One more tenant who floods: 400 requests at once, or 5/s; compared with runs without.")
@click.option("--cache-tokens", type=click.IntRange(0), help="Of a replica's prefix cache, in place of the profile's.")
@click.option("--slots", type=click.IntRange(1), help="Of a replica, in place of the profile's.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of all chance; one seed, one outcome.")
@click.option("--into", type=click.Path(path_type=Path), help="Folder for report.json and drawings.")
@AS_JSON
@plainly
def simulate(
    trace: Path,
    profile: str,
    replicas: str,
    policy: str,
    queue: str,
    speed: float,
    repeat: int,
    tenants: int | None,
    flood: str | None,
    cache_tokens: int | None,
    slots: int | None,
    seed: int,
    into: Path | None,
    as_json: bool,
) -> None:
    """Run recorded requests against modelled engines, by the relay's own rules of routing and queueing.

    See docs/scale.md for what is modelled, and what a run says about a fleet.
    """
    engine = _sized(load(profile), cache_tokens, slots)
    sizes, policies = _sizes(replicas), _names("policy", policy, RULES)
    queues = _names("queue", queue, QUEUES)
    arrivals = traces.faster(traces.overlaid(traces.read(trace), repeat, seed), speed)
    if tenants is not None:
        arrivals = traces.dealt(arrivals, tenants, seed)
    crowds = {False: arrivals}
    if flood is not None:
        crowds[True] = _flooded(arrivals, flood, seed)
    progress, reports = Progress(unit=1, name="requests"), []
    for size in sizes:
        for rule in policies:
            for order in queues:
                for flooded, crowd in crowds.items():
                    what = f"{size} × {rule}, {order}{', flooded' if flooded else ''}"
                    outcome = World(engine, size, rule, order, seed).run(crowd, _heard(progress, what))
                    told = report(outcome, crowd, replicas=size, policy=rule, queue=order, flooded=flooded, seed=seed)
                    reports.append(told)
    if into is not None:
        _write(into, engine, reports)
    rows = _rows(reports)
    show(reports, as_json=as_json, text=table(rows, (*_COLUMNS, *_TIMES)))


@click.command()
@click.argument("address")
@click.option("--model", required=True, help="Its name, as the engine knows it.")
@click.option("--key", envvar="OPENMAAS_KEY", help="API key, where one is asked for.")
@click.option("--pid", type=int, help="Time by this process's CPU: for an engine of one thread on a busy machine.")
@click.option("--slots", type=click.IntRange(1), required=True, help="Requests that it takes at once.")
@click.option("--chunk-tokens", type=click.IntRange(1), required=True, help="Of prompts, that it reads in one step.")
@click.option("--memory-tokens", type=click.IntRange(1), required=True, help="That all its requests hold together.")
@click.option("--source", required=True, help="The machine, for who reads the profile: what ran where, beside what.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the words that it is asked with.")
@click.option("--into", type=click.Path(path_type=Path), required=True, help="The profile: a TOML file.")
@plainly
def calibrate(
    address: str,
    model: str,
    key: str | None,
    pid: int | None,
    slots: int,
    chunk_tokens: int,
    memory_tokens: int,
    source: str,
    seed: int,
    into: Path,
) -> None:
    """Measure the engine at ADDRESS (http://host:port, or a Unix socket) and write its profile for `simulate`."""
    engine = calibration.Engine(address, model, key, calibration.clock_of(pid))
    measured = calibration.measure(engine, seed, lambda line: click.echo(f"· {line}", err=True))
    found = calibration.fit(
        measured, name=model, source=source, slots=slots, chunk_tokens=chunk_tokens, memory_tokens=memory_tokens
    )
    _put(into, found.toml())
    show(found, as_json=False, text=f"{into} is the profile of {model}; `openmaas simulate --profile {into}`")


def _heard(progress: Progress, what: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(what, done, total)


def _sized(profile: Profile, cache_tokens: int | None, slots: int | None) -> Profile:
    told = {"cache_tokens": cache_tokens, "slots": slots}
    return msgspec.structs.replace(profile, **{name: size for name, size in told.items() if size is not None})


def _sizes(replicas: str) -> list[int]:
    try:
        found = [int(each) for each in replicas.split(",")]
    except ValueError:
        found = [0]
    if not all(1 <= each <= REPLICAS_SIMULATED_MAX for each in found):
        raise FieldInvalid(
            f"--replicas {replicas}: give numbers from 1 to {REPLICAS_SIMULATED_MAX}, such as 1,4,16", field="replicas"
        )
    return found


def _names(option: str, told: str, known: dict[str, Any]) -> list[str]:
    found = [each.strip() for each in told.split(",")]
    for each in found:
        if each not in known:
            raise FieldInvalid(f"--{option} {each}: there are {', '.join(known)}", field=option)
    return found


def _flooded(arrivals: list[Arrival], flood: str, seed: int) -> list[Arrival]:
    number, slash, unit = flood.partition("/")
    try:
        if slash and unit == "s" and float(number) > 0:
            return traces.flooded(arrivals, seed, rate=float(number))
        if not slash and int(number) > 0:
            return traces.flooded(arrivals, seed, at_once=int(number))
    except ValueError:
        pass
    raise FieldInvalid(
        f"--flood {flood}: give a number of requests, such as 400, or a rate, such as 5/s", field="flood"
    )


def _rows(reports: list[Report]) -> list[dict[str, Any]]:
    alone = {(each.replicas, each.policy, each.queue): each.others_ttft_s_p99 for each in reports if not each.flooded}
    rows = []
    for each in reports:
        row: dict[str, Any] = {name: getattr(each, name) for name in _COLUMNS[:5]}
        row |= {"tokens_per_s": f"{each.tokens_per_s:,.0f}", "busy": f"{each.busy:.2f}"}
        if each.hit_rate is not None and each.hit_rate_ideal is not None:
            row |= {"hits": f"{each.hit_rate:.3f}", "ideal": f"{each.hit_rate_ideal:.3f}"}
        if each.ttft_s_percentiles:
            row |= {"ttft_p50": f"{each.ttft_s(50):.3f}", "ttft_p99": f"{each.ttft_s(99):.3f}"}
        if each.flooded:
            before, now = alone[each.replicas, each.policy, each.queue], each.others_ttft_s_p99
            if before and now:
                row |= {"others_p99": f"{now:.3f}", "alone_p99": f"{before:.3f}", "ratio": f"{now / before:.2f}"}
        if each.gap:
            row |= {"gap": f"{each.gap:,}", "gap_bound_vtc": f"{each.gap_bound_vtc:,}"}
        rows.append(row)
    return rows


def _write(into: Path, profile: Profile, reports: list[Report]) -> None:
    found = msgspec.json.format(msgspec.json.encode({"profile": profile, "runs": reports}), indent=1)
    _put(into / "report.json", found)
    for name, drawn in plots(reports).items():
        _put(into / name, drawn.encode())


def _put(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise FieldInvalid(f"--into {path}: {error.strerror}", field="into") from None
