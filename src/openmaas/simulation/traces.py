"""Requests as they came somewhere: when, of whom, how long, and how their prompts begin. Read here, made denser, laid
over each other, dealt among tenants, and joined by one who floods. No text is in them and none is made up.

Three forms are read, each told by its first line:

* Azure's csv (https://github.com/Azure/AzurePublicDataset): ``TIMESTAMP,ContextTokens,GeneratedTokens``;
* Mooncake's jsonl (https://github.com/kvcache-ai/Mooncake): ``timestamp`` in ms, lengths, and ``hash_ids``, the ids of
  the prompt's blocks of 512 tokens, equal where prompts are equal up to there: a ``Chain`` as it is;
* VTC's jsonl (https://github.com/Ying1123/VTC-artifact): ``req_time`` in s, lengths, ``adapter_dir`` names the tenant.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import msgspec

from openmaas.core.errors import FieldInvalid
from openmaas.scheduling.prefix import Chain

#: The tenant of a trace that names none, and the one who floods.
NOBODY, FLOOD = "-", "flood"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request, ``at_s`` seconds after the trace began. Its lengths are in tokens, neither below 1."""

    at_s: float
    tenant: str
    prompt_tokens: int
    output_tokens: int
    chain: Chain = ()


class _Mooncake(msgspec.Struct):
    timestamp: float
    input_length: int
    output_length: int
    hash_ids: tuple[int, ...]


class _Arena(msgspec.Struct):
    req_time: float
    adapter_dir: str
    prompt_len: int
    output_len: int


def read(path: Path) -> list[Arrival]:
    """The requests of a trace in the order of their times, the first at 0.

    Raises:
        FieldInvalid: the file is not there, is empty, or has a line that none of the forms has; says which line.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(path, f"cannot be read ({error})") from None
    if not lines:
        raise _wrong(path, "is empty")
    head = lines[0].strip()
    parse: Callable[[str], Arrival]
    if head == "TIMESTAMP,ContextTokens,GeneratedTokens":
        parse, first = _azure, 1
    elif "hash_ids" in head:
        parse, first = _mooncake, 0
    elif "req_time" in head:
        parse, first = _arena, 0
    else:
        raise _wrong(path, "is none of Azure's csv, Mooncake's jsonl, VTC's jsonl")
    found = []
    for number, line in enumerate(lines[first:], first + 1):
        if line.strip():
            try:
                found.append(parse(line))
            except (ValueError, msgspec.DecodeError) as error:
                raise _wrong(path, f"line {number}: {error}") from None
    if not found:
        raise _wrong(path, "has no requests")
    found.sort(key=_when)
    return [replace(each, at_s=each.at_s - found[0].at_s) for each in found]


def faster(arrivals: Iterable[Arrival], speed: float) -> list[Arrival]:
    """The same requests in a ``speed``-th of the time."""
    return [replace(each, at_s=each.at_s / speed) for each in arrivals]


def overlaid(arrivals: Sequence[Arrival], copies: int, seed: int) -> list[Arrival]:
    """As if ``copies`` such crowds came at once: each begins elsewhere in the trace, and shares no prompt and no tenant
    with the others."""
    chance, length_s = random.Random(seed), arrivals[-1].at_s  # noqa: S311 - no secret
    ids = 1 + max((block for each in arrivals for block in each.chain), default=0)
    found = list(arrivals)
    for copy in range(1, copies):
        later_s = chance.uniform(0, length_s)
        for each in arrivals:
            at_s = each.at_s + later_s
            found.append(
                Arrival(
                    at_s if at_s <= length_s else at_s - length_s,
                    each.tenant if each.tenant == NOBODY else f"{each.tenant}.{copy}",
                    each.prompt_tokens,
                    each.output_tokens,
                    tuple(block + copy * ids for block in each.chain),
                )
            )
    return sorted(found, key=_when)


def dealt(arrivals: Iterable[Arrival], tenants: int, seed: int) -> list[Arrival]:
    """Among so many tenants by chance, as if a trace that names none had them; prompts that share two blocks or more
    are of one tenant."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    owners: dict[int, str] = {}
    found = []
    for each in arrivals:
        tenant = f"t{chance.randrange(tenants)}"
        if len(each.chain) > 1:
            tenant = owners.setdefault(each.chain[1], tenant)
        found.append(replace(each, tenant=tenant))
    return found


def flooded(arrivals: Sequence[Arrival], seed: int, *, at_once: int = 0, rate: float = 0.0) -> list[Arrival]:
    """With one more tenant, ``FLOOD``, who sends ``at_once`` requests at the beginning and ``rate`` a second from then
    on to the end. Their lengths are drawn from the trace; their prompts share nothing with any other."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    times = [0.0] * at_once
    if rate:
        times += [number / rate for number in range(int(arrivals[-1].at_s * rate) + 1)]
    found = list(arrivals)
    for at_s in times:
        drawn = chance.choice(arrivals)
        found.append(Arrival(at_s, FLOOD, drawn.prompt_tokens, drawn.output_tokens))
    return sorted(found, key=_when)


def ideal_hits(arrivals: Iterable[Arrival]) -> tuple[int, int]:
    """The blocks that one cache without bounds would hold when they are asked for, and all blocks: 36.6 % of Mooncake's
    conversations."""
    seen: set[int] = set()
    hits = blocks = 0
    for each in arrivals:
        blocks += len(each.chain)
        for block in each.chain:
            if block not in seen:
                break
            hits += 1
        seen.update(each.chain)
    return hits, blocks


def _azure(line: str) -> Arrival:
    when, prompt_tokens, output_tokens = line.split(",")
    whole, _, fraction = when.partition(".")  # seven digits; datetime knows six
    at_s = (datetime.fromisoformat(whole) - datetime(2000, 1, 1)).total_seconds() + float(f"0.{fraction or 0}")  # noqa: DTZ001 - only differences count
    return _arrival(at_s, NOBODY, int(prompt_tokens), int(output_tokens))


def _mooncake(line: str) -> Arrival:
    told = msgspec.json.decode(line, type=_Mooncake)
    return _arrival(told.timestamp / 1000, NOBODY, told.input_length, told.output_length, told.hash_ids)


def _arena(line: str) -> Arrival:
    told = msgspec.json.decode(line, type=_Arena)
    return _arrival(told.req_time, told.adapter_dir.rpartition("-")[2], told.prompt_len, told.output_len)


def _arrival(at_s: float, tenant: str, prompt_tokens: int, output_tokens: int, chain: Chain = ()) -> Arrival:
    if prompt_tokens < 0 or output_tokens < 0:
        raise ValueError("a length is negative")
    return Arrival(at_s, tenant, max(1, prompt_tokens), max(1, output_tokens), chain)


def _when(arrival: Arrival) -> float:
    return arrival.at_s


def _wrong(path: Path, why: str) -> FieldInvalid:
    return FieldInvalid(f"--trace {path}: {why}", field="trace")
