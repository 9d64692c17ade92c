"""The relay alone: what it adds to a request, what an open stream takes, and how many tokens a day one core carries."""

from __future__ import annotations

import asyncio
import csv
import itertools
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvloop

from bench.load import CHAT, drive, paced, request_of, work
from bench.servers import Server

TRACE = Path(__file__).parent.parent / "tests" / "traces" / "azure_conv.csv"
#: So many requests of the trace, again and again.
MIX = 500
#: Of a coding tool: a prompt of 300 KB, and an answer.
CODING = [{"prompt_tokens": 75_000, "output_tokens": 300}] * 2
ROUNDS, SECONDS, CONNECTIONS, STREAMS, RATE, REQUESTS = 5, 3.0, 32, 1_000, 1_000, 1_000_000
#: What Zhipu's platform carried. https://www.zhipuai.cn
TOKENS_A_DAY = 4.6e12
SECONDS_A_DAY = 86_400
_MESSAGES = "/api/anthropic/v1/messages"
_KINDS = ("plain", "stream")


def measure(server: Server, engine: Server) -> dict[str, Any]:
    """All figures; those that are ratios under ``ratios``."""
    _say("latency at 1,000 requests a second")
    latency = _latency(server, engine)
    _say("the memory of 1,000 streams")
    memory = uvloop.run(_memory(server))
    _say("an Anthropic client before an OpenAI engine")
    translated = {f"translated_{kind}_vs_passed": _translated(server, stream=kind == "stream") for kind in _KINDS}
    _say("real lengths, half of them streamed")
    with TRACE.open() as file:
        rows = itertools.islice(csv.DictReader(file), MIX)
        conversations = [{name: int(value) for name, value in row.items()} for row in rows]
    carried = {name: _carried(server, mix) for name, mix in (("conversations", conversations), ("coding", CODING))}
    return {"latency_ms": latency, "memory": memory, "one_core": carried, "ratios": translated}


def _latency(server: Server, engine: Server) -> dict[str, float]:
    """What the relay adds to the engine's own time, in milliseconds: the difference of the same percentiles."""
    body = {"model": "echo", "messages": [{"role": "user", "content": "one two three"}]}
    found: dict[str, list[list[float]]] = {"relay": [], "engine": []}
    for _ in range(ROUNDS):
        for name, who in (("relay", server), ("engine", engine)):
            load = uvloop.run(paced(who.address, request_of(body, who.key), rate=RATE, seconds=SECONDS))
            assert load.failed == 0
            found[name].append(statistics.quantiles(load.took_s, n=100))
    medians = {name: [statistics.median(cut) for cut in zip(*rounds, strict=True)] for name, rounds in found.items()}
    return {f"p{cut}": round(1000 * (medians["relay"][cut - 1] - medians["engine"][cut - 1]), 3) for cut in (50, 99)}


async def _memory(server: Server) -> dict[str, float]:
    """Megabytes that ``STREAMS`` streams take while they are open, beyond what the relay has kept of earlier requests;
    and what stays after so many more."""
    stream = request_of({**_asked(3, 200, stream=True), "user": "echo:tokens=200,pace_ms=50"}, server.key)
    before = _resident_mb(server.pid)
    asking = asyncio.ensure_future(drive(server.address, stream, connections=STREAMS, seconds=0.1))
    await asyncio.sleep(7)
    during = _resident_mb(server.pid)
    assert (await asking).failed == 0
    plain, began, answered = request_of(_asked(3, 16, stream=False), server.key), _resident_mb(server.pid), 0
    while answered < REQUESTS:
        load = await drive(server.address, plain, connections=CONNECTIONS, seconds=SECONDS)
        assert load.failed == 0, load.why
        answered += load.answered
    grown = _resident_mb(server.pid) - began
    return {"mb_per_1000_streams": round(during - before, 1), "grown_mb": round(grown, 1), "in_requests": answered}


def _translated(server: Server, *, stream: bool) -> float:
    """Requests a second of CPU through the Anthropic dialect, beside those whose bytes pass."""
    body = _asked(200, 16, stream=stream)
    del body["user"]  # the other dialect has no such field: the answers of both are as long as the engine likes
    rounds: dict[str, list[float]] = {CHAT: [], _MESSAGES: []}
    for _ in range(ROUNDS):
        for path, works in rounds.items():
            works.append(_work(server, request_of(body, server.key, path)))
    return round(statistics.median(rounds[_MESSAGES]) / statistics.median(rounds[CHAT]), 3)


def _carried(server: Server, mix: list[dict[str, int]]) -> dict[str, float]:
    """Tokens that one core carries in a day, and how many cores ``TOKENS_A_DAY`` want."""
    requests, tokens = [], 0
    for number, row in enumerate(mix):
        requests.append(
            request_of(_asked(row["prompt_tokens"], row["output_tokens"], stream=number % 2 == 0), server.key)
        )
        tokens += row["prompt_tokens"] + row["output_tokens"]
    rates = [_work(server, itertools.cycle(requests)) for _ in range(ROUNDS)]
    a_day = statistics.median(rates) * tokens / len(mix) * SECONDS_A_DAY
    return {"tokens_a_day": round(a_day), "cores_for_4.6e12": round(TOKENS_A_DAY / a_day, 1)}


def _work(server: Server, requests: bytes | Iterator[bytes]) -> float:
    """Requests for each second of the server's CPU."""
    return work(server, requests, connections=CONNECTIONS, seconds=SECONDS)[0]


def _asked(prompt_tokens: int, output_tokens: int, *, stream: bool) -> dict[str, Any]:
    return {
        "model": "echo",
        "stream": stream,
        "max_tokens": output_tokens,
        "user": f"echo:tokens={output_tokens}",
        "messages": [{"role": "user", "content": "tok " * prompt_tokens}],
    }


def _resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("a process has a size")


def _say(what: str) -> None:
    print(f"· {what}", file=sys.stderr, flush=True)
