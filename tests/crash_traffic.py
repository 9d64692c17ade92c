"""The traffic of the crash test: tenants and lengths of real traces, and what each client sees of its requests."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import json
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from installation import Installation

TRACES = Path(__file__).parent / "traces"
#: So many tokens of an answer are made, at so many milliseconds each: an answer is short, not a minute.
OUTPUT_MAX, PACES_MS = 120, (0, 0, 1, 3)
LEAVES = 0.1
#: Seconds that a client rests at most between two requests, for each fault that is to come: each audit reads all
#: requests there were, and the more audits there are the slower they must grow.
REST_S = 0.001


class Tenant(msgspec.Struct, frozen=True):
    """A customer and the base URL they use."""

    id: str
    key: str
    path: str


class Seen(msgspec.Struct, frozen=True):
    """What a client saw of one request."""

    request_id: str
    ended: bool
    tokens: int


@dataclass
class Tally:
    """What happened."""

    asked: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    seen: list[Seen] = field(default_factory=list)
    slowest_s: float = 0.0
    sold: Counter[str] = field(default_factory=Counter)
    sold_wrong: list[str] = field(default_factory=list)


def read(name: str) -> list[dict[str, int]]:
    """A trace's rows."""
    with (TRACES / name).open() as file:
        return [{key: int(value) for key, value in row.items()} for row in csv.DictReader(file)]


def tenants(house: Installation) -> list[Tenant]:
    """The 27 tenants of the arena's trace: wallets, packs, plans, budgets and credit lines, in turn."""
    prices = ({"input": "2", "cached": "0.4", "output": "8"}, {"currency": "credits", "input": "690", "output": "2400"})
    for price in prices:
        assert house.admin("POST", "/prices", {"model": "echo", **price})[0] == 201
    windows = [
        {"name": "5h", "kind": "rolling", "credits": "300", "hours": 5},
        {"name": "week", "kind": "cycle", "credits": "5000", "hours": 168},
    ]
    plan = house.admin("POST", "/plans", {"name": "crash", "windows": windows, "price": "1"})[1]["id"]
    made = []
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    for number in range(27):
        owner, key = house.organisation("5")
        path, ways = "/v1/chat/completions", f"/organisations/{owner}"
        if number % 5 == 1:
            for name, tokens in (("small", "20000"), ("large", "200000")):
                pack = {"name": name, "amount": tokens, "until_time": later, "request_key": name}
                house.admin("POST", f"{ways}/packs", pack)
        if number % 5 == 2:
            house.admin(
                "POST", f"{ways}/subscriptions", {"plan_id": plan, "request_key": "1", "overflows": number > 13}
            )
            path = "/api/coding/paas/v4/chat/completions"
        if number % 5 == 3:
            house.admin("POST", f"{ways}/budgets", {"scope": "organisation", "amount": "2", "period": "total"})
        if number % 5 == 4:
            house.admin("PUT", f"{ways}/credit", {"credit": "1"})
        made.append(Tenant(owner, key, path))
    for kind, amount in (("rpm", 3_000), ("tpm", 5_000_000), ("concurrency", 50)):
        assert house.admin("PUT", "/limits", {"kind": kind, "amount": amount, "scope": "default"})[0] in (200, 201)
    return made


class Client:
    """Asks again and again as the traces say, and writes down what it sees."""

    def __init__(self, house: Installation, who: list[Tenant], tally: Tally, seed: int, faults: int) -> None:
        self._house, self._who, self._tally = house, who, tally
        self._rest_s = faults * REST_S
        self._chance = random.Random(seed)
        self._arena, self._lengths = read("arena.csv"), read("azure_conv.csv")
        self._at = seed * 97
        self.writer: asyncio.StreamWriter | None = None

    async def run(self, over: asyncio.Event) -> None:
        while not over.is_set():
            try:
                await self._one()
                await asyncio.sleep(self._chance.random() * self._rest_s)
            except (OSError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.02)

    def cut(self) -> None:
        """The connection breaks."""
        if self.writer is not None:
            self.writer.transport.abort()

    async def _one(self) -> None:
        self._at += 1
        tenant = self._who[self._arena[self._at % len(self._arena)]["tenant"] % len(self._who)]
        lengths, stream = self._lengths[self._at % len(self._lengths)], self._chance.random() < 0.5
        pace, tokens = self._chance.choice(PACES_MS), min(lengths["output_tokens"], OUTPUT_MAX)
        body = {
            "model": "echo",
            "stream": stream,
            "max_tokens": tokens,
            "user": f"echo:tokens={tokens},pace_ms={pace}",
            "messages": [{"role": "user", "content": "tok " * lengths["prompt_tokens"]}],
        }
        data = json.dumps(body).encode()
        head = f"POST {tenant.path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {tenant.key}\r\nconnection: close\r\n"
        self._tally.asked += 1
        reader, self.writer = await asyncio.open_connection("127.0.0.1", self._house.port)
        try:
            self.writer.write(
                f"{head}content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data
            )
            if self._chance.random() < LEAVES:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._answer(reader, stream), self._chance.random() * 0.2)
            else:
                await self._answer(reader, stream)
        finally:
            self.cut()

    async def _answer(self, reader: asyncio.StreamReader, stream: bool) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        answer = bytearray()
        request_id = head.partition(b"x-request-id: ")[2].partition(b"\r\n")[0].decode()
        try:
            while block := await reader.read(65536):
                answer += block
        except OSError:
            pass
        finally:
            if head.split()[1] == b"200":
                ended = b"[DONE]" in answer if stream else b'"usage"' in answer
                tokens = answer.count(b'"content":"tok') if stream else _told(answer)
                self._tally.seen.append(Seen(request_id, ended, tokens))
            elif b'"code":"' in answer:
                code = bytes(answer).partition(b'"code":"')[2].partition(b'"')[0].decode()
                self._tally.refused[code] += 1


def _told(answer: bytearray) -> int:
    return int(answer.partition(b'"completion_tokens":')[2].split(b",")[0].strip(b" }") or 0)
