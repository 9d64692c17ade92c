"""A profile of an engine that runs: how long it takes to read prompts of several lengths, and to say a token of several
answers at once. It asks over the OpenAI wire (``/v1/completions``, streamed), as any client does.

Of repeated measurements the shortest counts: other work on the machine only adds. Reading is fitted by least squares as
``base + length · a + length² / 2 · b``, a step as ``base + sequences · c``, each coefficient 0 or more; what a held
token costs is the difference between a step after a long prompt and one after a short one.
"""

from __future__ import annotations

import http.client
import json
import random
import socket
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from openmaas.core.bounds import FIRST_BYTE_TIMEOUT_S
from openmaas.core.errors import Failed, FieldInvalid
from openmaas.simulation.profile import Profile

#: Prompts in digits; the engine says how many tokens they really were.
LENGTHS = (64, 256, 1024)
#: Answers at once, and their length in tokens.
SEQUENCES, ANSWER_TOKENS = (1, 2, 4, 8), 24
REPEATS = 2


@dataclass(frozen=True, slots=True)
class Answer:
    """``prompt_tokens`` as counted by the engine; ``times_s`` of its tokens, since ``asked_s`` of the same clock."""

    prompt_tokens: int
    asked_s: float
    times_s: list[float]


@dataclass(frozen=True, slots=True)
class Measured:
    """The raw figures: tokens of a prompt → seconds to the first token, answers at once → seconds of a step."""

    reading_s: dict[int, float]
    step_s: dict[int, float]
    step_long_s: float  # one answer after the longest prompt
    long_tokens: int


class Engine:
    """Where an engine listens: ``http://host:port`` or the path of a Unix socket."""

    def __init__(
        self, address: str, model: str, key: str | None = None, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._address, self._model, self._key, self._clock = address, model, key, clock
        if "://" in address and (urlsplit(address).scheme != "http" or not urlsplit(address).hostname):
            raise FieldInvalid(f"ADDRESS {address}: give http://host:port or a socket's path", field="address")

    def ask(self, prompt: str, tokens: int) -> Answer:
        """One streamed completion of exactly so many tokens. Raises ``Failed`` with what the engine said instead."""
        body = {
            "model": self._model,
            "prompt": prompt,
            "max_tokens": tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        headers = {"content-type": "application/json", "x-request-id": "req_calibration"}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        connection = self._connect()
        try:
            asked_s, times_s, prompt_tokens = self._clock(), [], 0
            connection.request("POST", "/v1/completions", json.dumps(body), headers)
            answer = connection.getresponse()
            if answer.status != 200:
                raise Failed(f"{self._address} answered {answer.status}: {answer.read(500).decode(errors='replace')}")
            for line in answer:
                if line.startswith(b"data: {"):
                    event = json.loads(line[6:])
                    if event.get("choices") and event["choices"][0].get("text"):
                        times_s.append(self._clock())
                    prompt_tokens = (event.get("usage") or {}).get("prompt_tokens", prompt_tokens)
        except (OSError, http.client.HTTPException) as error:
            raise Failed(f"{self._address} does not answer ({error}); is the engine running?") from None
        finally:
            connection.close()
        if len(times_s) < min(2, tokens) or not prompt_tokens:
            raise Failed(f"{self._address} said {len(times_s)} of {tokens} tokens; it must stream, with usage")
        return Answer(prompt_tokens, asked_s, times_s)

    def _connect(self) -> http.client.HTTPConnection:
        if "://" in self._address:
            url = urlsplit(self._address)
            return http.client.HTTPConnection(url.hostname or "", url.port, timeout=FIRST_BYTE_TIMEOUT_S)
        connection = http.client.HTTPConnection("engine", timeout=FIRST_BYTE_TIMEOUT_S)
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.connect(self._address)
        except OSError as error:
            raise Failed(f"{self._address} does not answer ({error}); is the engine running?") from None
        return connection


def clock_of(pid: int | None) -> Callable[[], float]:
    """The time of day, or the CPU seconds that a process of this machine has used (Linux: proc(5), schedstat): those of
    an engine with one thread are what it would have taken on a machine of its own. Raises ``FieldInvalid``."""
    if pid is None:
        return time.perf_counter
    tasks = Path(f"/proc/{pid}/task")

    def used_s() -> float:
        try:
            return sum(int((each / "schedstat").read_text().split()[0]) for each in tasks.iterdir()) / 1e9
        except OSError as error:
            raise FieldInvalid(f"--pid {pid}: {error.strerror}; give a process of this machine", field="pid") from None

    used_s()
    return used_s


def measure(engine: Engine, seed: int, say: Callable[[str], None] = lambda _line: None) -> Measured:
    """The raw figures; ``say`` is told of each. Prompts are chance, so that none is in a cache."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    reading_s: dict[int, float] = {}
    step_long_s, long_tokens = float("inf"), 0
    for length in LENGTHS:
        for _ in range(REPEATS):
            answer = engine.ask(digits(chance, length), ANSWER_TOKENS)
            took_s, tokens = answer.times_s[0] - answer.asked_s, answer.prompt_tokens
            near = next((known for known in reading_s if abs(known - tokens) < tokens / 4), tokens)
            reading_s[near] = min(took_s, reading_s.get(near, took_s))
            if length == LENGTHS[-1]:
                step_long_s, long_tokens = min(step_long_s, _step([answer])), tokens
            say(f"prompt of {tokens} tokens: {took_s:.3f} s to the first token")
    step_s: dict[int, float] = {}
    for sequences in SEQUENCES:
        for _ in range(REPEATS):
            barrier = threading.Barrier(sequences)
            prompts = [digits(chance, 8) for _ in range(sequences)]

            def ask(prompt: str, barrier: threading.Barrier = barrier) -> Answer:
                barrier.wait()
                return engine.ask(prompt, ANSWER_TOKENS)

            with ThreadPoolExecutor(sequences) as pool:
                took_s = _step(list(pool.map(ask, prompts)))
            step_s[sequences] = min(took_s, step_s.get(sequences, took_s))
        say(f"{sequences} answers at once: {step_s[sequences] * 1e3:.1f} ms a step")
    return Measured(reading_s, step_s, step_long_s, long_tokens)


def fit(measured: Measured, *, name: str, source: str, slots: int, chunk_tokens: int, memory_tokens: int) -> Profile:
    """The profile that explains the figures best; sizes are what the engine was started with."""
    step_s, sequence_s = _line(list(measured.step_s), list(measured.step_s.values()))
    one_s = step_s + sequence_s
    lengths = list(measured.reading_s)
    each = [max(0.0, took_s - one_s) / length for length, took_s in measured.reading_s.items()]
    read_token_s, half = _line(lengths, each)
    return Profile(
        name=name,
        source=source,
        measured=True,
        slots=slots,
        chunk_tokens=chunk_tokens,
        memory_tokens=memory_tokens,
        cache_tokens=memory_tokens,
        step_s=step_s,
        sequence_s=sequence_s,
        held_token_s=max(0.0, measured.step_long_s - one_s) / measured.long_tokens,
        read_token_s=read_token_s,
        read_held_token_s=2 * half,
    )


def _step(answers: Sequence[Answer]) -> float:
    """The median time between two tokens of an answer, while all of them are under way."""
    begin, end = max(each.times_s[0] for each in answers), min(each.times_s[-1] for each in answers)
    gaps = [
        later - earlier
        for each in answers
        for earlier, later in zip(each.times_s, each.times_s[1:], strict=False)
        if begin <= earlier and later <= end
    ]
    if not gaps:
        raise Failed(f"{len(answers)} answers were never under way together; has the engine so many slots?")
    return statistics.median(gaps)


def _line(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
    """``a`` and ``b`` of the nearest a + b · x, neither below 0."""
    slope, start = statistics.linear_regression(xs, ys)
    if slope < 0:
        return statistics.fmean(ys), 0.0
    if start < 0:
        return 0.0, sum(x * y for x, y in zip(xs, ys, strict=True)) / sum(x * x for x in xs)
    return start, slope


def digits(chance: random.Random, length: int) -> str:
    """Digits are a token each in the vocabularies of today's models."""
    return "".join(chance.choice("0123456789") for _ in range(length))
