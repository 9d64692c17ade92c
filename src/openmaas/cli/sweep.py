"""``openmaas sweep``: the settings under which this machine's engines are fastest, as a profile for `models offer`."""

from __future__ import annotations

import os
import platform
from functools import partial
from pathlib import Path

import click
import msgspec

from openmaas.cli.say import AS_JSON, DATA, plainly, show, table
from openmaas.core.bounds import CLIENTS_SWEPT_MAX
from openmaas.core.errors import FieldInvalid
from openmaas.engines.profile import DeploymentProfile, Row, Setting
from openmaas.engines.weights import locate
from openmaas.house.layout import Layout
from openmaas.simulation.sweep import KINDS, measured, profile, search, start


@click.command()
@DATA
@click.argument("weights", nargs=-1, required=True)
@click.option("--clients", default="1,8,32", show_default=True, help="Clients at once: each is a load that counts.")
@click.option("--kinds", default=",".join(KINDS), show_default=True, help="Engines to compare.")
@click.option(
    "--threads", type=click.IntRange(1), help="Cores that engines may use; all of this process when not given."
)
@click.option("--slots-most", type=click.IntRange(4), default=32, show_default=True, help="Requests at once.")
@click.option("--context", type=click.IntRange(256), help="Tokens of a slot; those of the weights when not given.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the words that are asked.")
@click.option("--into", type=click.Path(path_type=Path), required=True, help="The profile: a JSON file.")
@AS_JSON
@plainly
def sweep(
    data: str,
    weights: tuple[str, ...],
    clients: str,
    kinds: str,
    threads: int | None,
    slots_most: int,
    context: int | None,
    seed: int,
    into: Path,
    as_json: bool,
) -> None:
    """Find how this machine runs WEIGHTS (pulled names or paths, in one or more formats) fastest.

    Starts engine after engine with other settings, asks them as so many clients would, and keeps the best. Nothing else
    should run meanwhile. `openmaas models offer NAME --profile FILE` deploys what was found.
    """
    loads, wanted, layout = _loads(clients), _kinds(kinds), Layout(data)
    found = {each: locate(each, layout.weights) for each in weights}
    cores = threads or _cores()
    context = context or min(each.context for each in found.values())
    starts = [
        start(kind, name, cores, slots_most) for name, each in found.items() for kind in wanted if kind in each.kinds
    ]
    if not starts:
        raise FieldInvalid(f"--kinds {kinds}: none of them reads {', '.join(weights)}", field="kinds")

    _put(into, b"")  # said now, not after an hour

    def measure(setting: Setting) -> dict[int, float]:
        return measured(setting, found[setting.weights].path, context, loads, seed)

    def keep(rows: list[Row]) -> DeploymentProfile:
        made = profile(machine, context, rows)
        _put(into, msgspec.json.format(msgspec.json.encode(made), indent=1))
        return made

    machine = f"{cores} cores of {platform.machine()}, {platform.system()} {platform.release()}"
    rows = search(starts, cores, slots_most, measure, partial(click.echo, err=True), keep)
    made = keep(rows)
    shown = [
        {"setting": str(row.setting), **{f"{load} clients": f"{rate:.1f}" for load, rate in row.tokens_per_s.items()}}
        for row in sorted(rows, key=lambda row: -row.score)
    ]
    show(made, as_json=as_json, text=f"{table(shown, tuple(shown[0]))}\n{made.best} is the best; {into} says so")


def _loads(clients: str) -> list[int]:
    try:
        found = sorted({int(each) for each in clients.split(",")})
    except ValueError:
        found = [0]
    if not all(1 <= each <= CLIENTS_SWEPT_MAX for each in found):
        said = f"--clients {clients}: give numbers from 1 to {CLIENTS_SWEPT_MAX}, such as 1,8,32"
        raise FieldInvalid(said, field="clients")
    return found


def _kinds(kinds: str) -> list[str]:
    found = [each.strip() for each in kinds.split(",")]
    for each in found:
        if each not in KINDS:
            raise FieldInvalid(f"--kinds {each}: there are {', '.join(KINDS)}", field="kinds")
    return found


def _cores() -> int:
    """Those that this process may use, where the system says it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _put(into: Path, content: bytes) -> None:
    try:
        into.write_bytes(content)
    except OSError as error:
        raise FieldInvalid(f"--into {into}: {error.strerror}", field="into") from None
