"""The settings under which engines of this machine are fastest: each knob in turn, the best value kept (coordinate
descent), for every kind of engine; measured on the engines themselves, as ``calibration`` measures them.

A setting's score is the geometric mean of its tokens a second under all loads, so that neither one client nor a crowd
decides alone. A knob is turned only for a gain above the noise.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import cycle, islice
from pathlib import Path

import msgspec

from openmaas.core.errors import Failed
from openmaas.engines.profile import DeploymentProfile, Row, Setting
from openmaas.engines.spec import ENVIRONMENT, EngineSpec
from openmaas.simulation.calibration import Engine, digits

#: Of each request: prompt and answer, in tokens; each client asks so often.
PROMPT_TOKENS, ANSWER_TOKENS, ROUNDS = 64, 32, 2
#: Of so many measurements the fastest counts, as other work on the machine only slows.
REPEATS = 2
#: The least gain for which a knob is turned: a smaller one may be chance.
GAIN = 1.03
#: Tokens of a batch of prompts that llama.cpp computes at once, and requests at once.
BATCHES, SLOTS = (64, 128, 256, 512), (4, 8, 16, 32)
KINDS = ("llama", "openvino")

Measure = Callable[[Setting], dict[int, float]]
Say = Callable[[str], None]
Keep = Callable[[list[Row]], object]


def search(
    starts: Sequence[Setting], cores: int, slots_most: int, measure: Measure, say: Say, keep: Keep = lambda _rows: None
) -> list[Row]:
    """Every row that was measured, beginning with each of ``starts``; ``keep`` is given them after each. A setting that
    does not run is said and left out; raises ``Failed`` when none does."""
    rows: dict[Setting, Row] = {}

    def tried(setting: Setting) -> Row | None:
        if setting not in rows:
            try:
                rows[setting] = Row(setting=setting, tokens_per_s=measure(setting))
            except Failed as error:
                say(f"{setting}: {error.detail}")
                return None
            keep(list(rows.values()))
            figures = rows[setting].tokens_per_s.items()
            say(f"{setting}: " + ", ".join(f"{rate:.1f} tokens/s of {clients}" for clients, rate in figures))
        return rows[setting]

    for first in starts:
        best = tried(first)
        for turned in knobs(first.kind, cores, slots_most):
            for turn in turned:
                found = None if best is None else tried(msgspec.structs.replace(best.setting, **turn))
                if found is not None and best is not None and found.score > GAIN * best.score:
                    best = found
    if not rows:
        raise Failed("no setting ran; the lines above say why")
    return list(rows.values())


def start(kind: str, weights: str, cores: int, slots_most: int) -> Setting:
    """Where the search begins for a kind of engine."""
    if kind == "llama":
        return Setting(kind=kind, weights=weights, threads=cores, slots=min(slots_most, 8), batch=BATCHES[1])
    return Setting(kind=kind, weights=weights, threads=cores, slots=slots_most)


def knobs(kind: str, cores: int, slots_most: int) -> Iterator[list[dict[str, int]]]:
    """What each knob may be turned to."""
    yield [{"threads": each} for each in sorted({1, max(1, cores // 2), cores})]
    if cores > 1:
        yield [{"processes": 2, "threads": cores // 2}]
    yield [{"slots": each} for each in SLOTS if each <= slots_most]
    if kind == "llama":
        yield [{"batch": each} for each in BATCHES]


def profile(machine: str, context: int, rows: Sequence[Row]) -> DeploymentProfile:
    """What the rows speak for."""
    by_clients = {
        clients: max(rows, key=lambda row, clients=clients: row.tokens_per_s[clients]).setting  # type: ignore[misc]
        for clients in rows[0].tokens_per_s
    }
    best = max(rows, key=lambda row: row.score).setting
    return DeploymentProfile(machine=machine, context=context, best=best, best_by_clients=by_clients, rows=list(rows))


def measured(setting: Setting, weights: Path, context: int, loads: Sequence[int], seed: int) -> dict[int, float]:
    """Start the engines of ``setting``, ask them, stop them: clients at once → tokens a second. Raises ``Failed``."""
    with ExitStack() as stack:
        where = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sweep-")))
        engines = []
        for number in range(setting.processes):
            spec = EngineSpec(
                kind=setting.kind,  # type: ignore[arg-type]  # one of KINDS
                model="m",
                socket=str(where / f"{number}.sock"),
                meter=str(where / f"{number}.meter"),
                weights=str(weights),
                slots=setting.slots,
                context=context,
                options=setting.options(),
            )
            stack.enter_context(running(spec, where / f"{number}.log"))
            engines.append(Engine(spec.socket, "m"))
        chance = random.Random(seed)  # noqa: S311 - no secret
        for engine in engines:  # what is compiled or read at the first request counts nowhere
            engine.ask(digits(chance, PROMPT_TOKENS), 2)
        return {clients: max(rate(engines, clients, chance) for _ in range(REPEATS)) for clients in loads}


def rate(engines: Sequence[Engine], clients: int, chance: random.Random) -> float:
    """Tokens a second of ``clients`` that each ask one engine, again and again."""
    shared = islice(cycle(engines), clients)
    asked = [(engine, [digits(chance, PROMPT_TOKENS) for _ in range(ROUNDS)]) for engine in shared]

    def ask(one: tuple[Engine, list[str]]) -> None:
        engine, prompts = one
        for prompt in prompts:
            engine.ask(prompt, ANSWER_TOKENS)

    began_s = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(ask, asked))
    return clients * ROUNDS * ANSWER_TOKENS / (time.perf_counter() - began_s)


@contextmanager
def running(spec: EngineSpec, log: Path) -> Iterator[None]:
    """The engine's own program, as a house starts it. Raises ``Failed`` with its last words."""
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "openmaas.engines.program"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            env={**os.environ, **ENVIRONMENT},
        )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(spec.line())
        process.stdin.flush()
        if process.stdout.readline() != b"ready\n":
            last = log.read_text(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
            raise Failed(f"the engine does not start: {last[0]}")
        yield
    finally:
        process.communicate()  # its standard input is its lifeline
