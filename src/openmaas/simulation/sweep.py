"""The settings under which engines of this machine are fastest: each knob in turn, the best value kept (coordinate
descent), for every kind of engine; measured on the engines themselves, as ``calibration`` measures them.

A setting's score is the geometric mean of its tokens a second under all loads, so that neither one client nor a crowd
decides alone. A knob is turned only for a gain above the noise.
"""

from __future__ import annotations

import math
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

from openmaas.core.errors import Failed, FieldInvalid
from openmaas.engines.spec import ENVIRONMENT, EngineSpec, Option
from openmaas.simulation.calibration import Engine, digits

#: Of each request: prompt and answer, in tokens; each client asks so often.
PROMPT_TOKENS, ANSWER_TOKENS, ROUNDS = 64, 32, 2
#: The least gain for which a knob is turned: repeated measurements of the same setting differ by about as much.
GAIN = 1.03
#: Tokens of a batch of prompts that llama.cpp computes at once, and requests at once.
BATCHES, SLOTS = (64, 128, 256, 512), (4, 8, 16, 32)
KINDS = ("llama", "openvino")


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """How a model is run: ``processes`` engines of ``kind`` with ``weights`` (a name, or a path), each with so many
    ``threads`` and ``slots``."""

    kind: str
    weights: str
    threads: int
    slots: int
    batch: int | None = None
    processes: int = 1

    def options(self) -> dict[str, Option]:
        """As a deployment has them."""
        found: dict[str, Option] = {"threads": self.threads}
        return found if self.batch is None else {**found, "batch": self.batch}

    def __str__(self) -> str:
        """For who watches."""
        batch = "" if self.batch is None else f", batch {self.batch}"
        many = f"{self.processes} × " if self.processes > 1 else ""
        return f"{many}{self.kind} {Path(self.weights).name}, threads {self.threads}, slots {self.slots}{batch}"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured: clients at once → tokens a second, all answers together."""

    setting: Setting
    tokens_per_s: dict[int, float]

    @property
    def score(self) -> float:
        """See the module."""
        return math.exp(sum(math.log(each) for each in self.tokens_per_s.values()) / len(self.tokens_per_s))


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment profile: ``best`` of all ``rows``, each measured on ``machine``."""

    machine: str
    best: Setting
    best_by_clients: dict[int, Setting]
    rows: list[Row]


Measure = Callable[[Setting], dict[int, float]]
Say = Callable[[str], None]


def search(starts: Sequence[Setting], cores: int, slots_most: int, measure: Measure, say: Say) -> list[Row]:
    """Every row that was measured, beginning with each of ``starts``. A setting that does not run is said and left out;
    raises ``Failed`` when none does."""
    rows: dict[Setting, Row] = {}

    def tried(setting: Setting) -> Row | None:
        if setting not in rows:
            try:
                rows[setting] = Row(setting=setting, tokens_per_s=measure(setting))
            except Failed as error:
                say(f"{setting}: {error.detail}")
                return None
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
    yield [{"threads": each} for each in sorted({1, max(1, cores // 2), cores, cores + 1})]
    if cores > 1:
        yield [{"processes": 2, "threads": cores // 2}]
    yield [{"slots": each} for each in SLOTS if each <= slots_most]
    if kind == "llama":
        yield [{"batch": each} for each in BATCHES]


def plan(machine: str, rows: Sequence[Row]) -> Plan:
    """The profile that the rows speak for."""
    by_clients = {
        clients: max(rows, key=lambda row, clients=clients: row.tokens_per_s[clients]).setting  # type: ignore[misc]
        for clients in rows[0].tokens_per_s
    }
    best = max(rows, key=lambda row: row.score).setting
    return Plan(machine=machine, best=best, best_by_clients=by_clients, rows=list(rows))


def read_plan(path: Path) -> Plan:
    """A profile as ``openmaas sweep`` wrote it. Raises ``FieldInvalid``."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Plan)
    except OSError as error:
        raise FieldInvalid(f"profile {path}: {error.strerror}", field="profile") from None
    except msgspec.MsgspecError as error:
        raise FieldInvalid(f"profile {path} is none that `openmaas sweep` wrote: {error}", field="profile") from None


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
        engines[0].ask(digits(chance, PROMPT_TOKENS), 2)  # what is compiled or read at the first request counts nowhere
        return {clients: rate(engines, clients, chance) for clients in loads}


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
