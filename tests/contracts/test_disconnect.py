"""The disconnect contract on the real engine: who leaves stops the work, and pays for what was done until then.

Three witnesses, none of them a promise of our own code: how many tokens were billed beyond those that had come, at the
pace at which they came; what the engine's cache turns out to hold; and the processor time its process burns afterwards.
A machine with two cores and other things to do cannot keep every appointment, so of five leavings the median counts;
where there is nothing but a clock to look at, the quickest does, for a busy machine only adds.
``pytest -s`` shows the figures.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from installation import Installation
from raw import Raw

pytestmark = pytest.mark.alone

STOP_S = 0.2  #: the contract, in decode
BATCH_TOKENS = 256  #: the contract, in prefill
LEAVINGS = 5
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@pytest.fixture(scope="module")
def started(smol_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, int]]:
    """A house in which every customer may have one request in flight, so that a seat that is not given back is missed;
    and the process of its engine."""
    made = Installation(tmp_path_factory.mktemp("leaving") / "data", str(smol_gguf), seats_per_organisation="1")
    made.start()
    made.ready()
    made.model = smol_gguf.stem.lower()
    (engine,) = made.children("openmaas.engines.program")
    yield made, engine
    made.end()


@pytest.fixture(scope="module")
def house(started: tuple[Installation, int]) -> Installation:
    """The house of ``started``."""
    return started[0]


@pytest.fixture(scope="module")
def engine(started: tuple[Installation, int]) -> int:
    """The process of its engine."""
    return started[1]


@pytest.fixture(scope="module")
def reseller(house: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, str]]:
    """A house to which the other one is a vendor, and the customer of the other one that it is."""
    customer, key = house.organisation("5")
    made = Installation(tmp_path_factory.mktemp("reseller") / "data")
    made.start()
    url = f"http://127.0.0.1:{house.port}/v1"
    served = {"model": "sold", "kind": "openai_http", "url": url, "api_key": key, "served_name": house.model}
    for path, body in (
        ("/models", {"name": "sold", "context_tokens": 8192}),
        ("/prices", {"model": "sold", "input": "1", "output": "2"}),
        ("/deployments", served),
    ):
        assert made.admin("POST", path, body)[0] == 201
    made.ready("sold")
    yield made, customer
    made.end()


@dataclass(frozen=True)
class Left:
    """How one leaving went. ``delivered`` tokens had come, at ``pace`` tokens a second, when the client left."""

    request_id: str
    delivered: int
    pace: float
    left_ms: float


def story(model: str) -> dict[str, Any]:
    """A request that would run for a long time."""
    text = f"Write a very long story about the number {time.time_ns()}."
    asked = [{"role": "user", "content": text}]
    return {"model": model, "messages": asked, "stream": True, "max_tokens": 4_000, "ignore_eos": True}


def leave_in_decode(house: Installation, model: str, key: str, tokens: int) -> Left:
    """Read ``tokens`` tokens of a story, take what has come until now, and go away."""
    with Raw(house) as client:
        client.ask("POST", "/v1/chat/completions", story(model), key=key)
        status, headers = client.head()
        assert status == 200, client.seen
        client.until(b"\ndata: ", 5)
        early, began_s = _tokens(client.seen), time.monotonic()
        client.until(b"\ndata: ", tokens)
        assert client.pull()
        delivered, took_s = _tokens(client.seen), time.monotonic() - began_s
        left_ms = time.time() * 1000
    return Left(headers["x-request-id"], delivered, (delivered - early) / took_s, left_ms)


def _tokens(seen: bytes) -> int:
    return max(seen.count(b'"content":"'), 0)  # the first event, the role, has the content null


def cpu_s(pid: int) -> float:
    """The processor time that a process has burnt."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def metered(house: Installation, request_id: str) -> dict[str, Any]:
    """The engine's own line about a request."""
    for path in (house.data / "meters").iterdir():
        for line in path.read_bytes().splitlines():
            if request_id.encode() in line:
                return dict(json.loads(line))
    raise AssertionError(f"the engine has no count for {request_id}")


def test_leaving_in_decode_stops_the_engine_within_200_ms(house: Installation, engine: int) -> None:
    customer, key = house.organisation("1")
    paid, beyond, told, seats, after, during = Decimal(0), [], [], [], [], []
    for number in range(LEAVINGS):
        before_s, began_s = cpu_s(engine), time.monotonic()
        left = leave_in_decode(house, house.model, key, 30 + 5 * number)
        during.append((cpu_s(engine) - before_s) / (time.monotonic() - began_s))
        if number % 2:
            seats.append(seat_back(house, key))
        time.sleep(STOP_S)
        before_s, began_s = cpu_s(engine), time.monotonic()
        time.sleep(0.4)
        after.append((cpu_s(engine) - before_s) / (time.monotonic() - began_s))
        receipt = house.receipt(left.request_id, "posted", key=key)
        count = metered(house, left.request_id)
        assert receipt["outcome"] == "client_closed"
        assert receipt["estimated"] is False
        assert count["outcome"] == "cancelled"
        for name in ("prompt_tokens", "cached_tokens", "completion_tokens"):
            assert receipt[name] == count[name]
        assert receipt["completion_tokens"] >= left.delivered
        beyond.append((receipt["completion_tokens"] - left.delivered) / left.pace)
        told.append((count["at_ms"] - left.left_ms) / 1000)
        print(
            f"\ndecode: {left.delivered} tokens had come at {left.pace:.0f} a second, "
            f"{receipt['completion_tokens']} were billed; the engine was told after {told[-1] * 1000:.0f} ms; "
            f"processor {during[-1]:.2f} while it ran, {after[-1]:.2f} from 200 ms after"
        )
    for request in house.admin("GET", f"/receipts?organisation_id={customer}&limit=100")[1]["data"]:
        paid += Decimal(request["amount"])
    assert statistics.median(beyond) <= STOP_S
    assert min(told) <= STOP_S
    assert statistics.median(after) < statistics.median(during) / 5
    print(f"\ndecode: the seat was there again after {[f'{1000 * seat:.0f} ms' for seat in seats]}")
    assert min(seats) <= STOP_S
    assert paid > 0
    assert house.settled(customer) == 1 - paid  # the rest of every hold came back, and nothing but the charges left


def test_leaving_in_prefill_stops_the_engine_within_one_batch(house: Installation, engine: int) -> None:
    customer, key = house.organisation("1")
    before_s = cpu_s(engine)
    body = {"model": house.model, "max_tokens": 1, "messages": prompt(120)}
    status, headers, _ = house.ask("POST", "/v1/chat/completions", body, key=key)
    assert status == 200
    short = house.receipt(headers["x-request-id"], key=key)
    batch_s = (cpu_s(engine) - before_s) / short["prompt_tokens"] * BATCH_TOKENS

    long, receipts = prompt(1_000), []
    for stream, batches in ((False, 2.5), (True, 1.5)):
        body = {"model": house.model, "max_tokens": 1, "messages": long, "stream": stream}
        with Raw(house) as client:
            before_s = cpu_s(engine)
            client.ask("POST", "/v1/chat/completions", body, key=key)
            while cpu_s(engine) - before_s < batches * batch_s:
                assert not client.waiting(0.01), "the prefill was over too soon"
            before_s = cpu_s(engine)
        seat_s = seat_back(house, key)
        receipt = newest(house, customer, "client_closed", beside=receipts)
        time.sleep(0.3)
        idle_s, after_s = settled_cpu_s(engine), cpu_s(engine) - before_s
        count = metered(house, receipt["request_id"])
        print(
            f"\nprefill (stream {stream}): {receipt['prompt_tokens']} tokens billed, {receipt['cached_tokens']} of "
            f"them from the cache; it burnt {after_s:.2f} s of processor afterwards and was idle after {idle_s:.1f} s; "
            f"one batch of {BATCH_TOKENS} costs {batch_s:.2f} s; seat after {seat_s:.3f} s"
        )
        assert receipt["estimated"] is False
        assert receipt["completion_tokens"] == 0
        assert receipt["prompt_tokens"] == count["prompt_tokens"] > 0
        assert after_s < 2 * batch_s + 0.1  # the batch it was in, and as much again for a machine that is busy
        receipts.append(receipt)
    first, second = receipts
    # What the second found in the cache is what the first had made the engine do: at most a batch beyond what it paid.
    assert second["cached_tokens"] > first["cached_tokens"]
    assert second["cached_tokens"] <= first["prompt_tokens"] + BATCH_TOKENS
    paid = sum(Decimal(request["amount"]) for request in (short, *receipts))
    assert house.settled(customer) == 1 - paid


def seat_back(house: Installation, key: str) -> float:
    """Seconds until the one seat is there again, found without making the engine work: the body names no message."""
    began_s = time.monotonic()
    while True:
        status, _, answer = house.ask("POST", "/v1/chat/completions", {"model": house.model, "max_tokens": 1}, key=key)
        code = json.loads(answer)["error"]["code"]
        if code != "rate_limit_exceeded":
            assert (status, code) == (400, "invalid_field")
            return time.monotonic() - began_s
        assert time.monotonic() < began_s + 30, "the seat is gone"
        time.sleep(0.005)


def settled_cpu_s(pid: int) -> float:
    """Wait until the process burns next to nothing; returns the seconds that took."""
    began_s = time.monotonic()
    while True:
        before_s = cpu_s(pid)
        time.sleep(0.1)
        if cpu_s(pid) - before_s <= 2 * _TICK_S:
            return time.monotonic() - began_s
        assert time.monotonic() < began_s + 30, "the engine works on for nobody"


def prompt(numbers: int) -> list[dict[str, str]]:
    """A message of which no beginning was seen before; four or five tokens a number."""
    seed = time.time_ns()
    words = " ".join(f"{(seed >> 8) * (number + 7) % 10_007}" for number in range(numbers))
    return [{"role": "user", "content": f"{seed} Remember: {words}"}]


def newest(
    house: Installation, organisation_id: str, outcome: str, *, beside: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """The newest receipt of a customer that ended like this, once it is posted."""
    deadline = time.monotonic() + 20
    while True:
        rows = house.admin("GET", f"/receipts?organisation_id={organisation_id}&limit=20")[1]["data"]
        for row in rows:
            if row["outcome"] == outcome and row not in beside:
                return dict(row)
        assert time.monotonic() < deadline, rows
        time.sleep(0.05)


def test_who_leaves_a_vendor_s_model_pays_what_was_delivered_and_the_receipt_says_so(
    house: Installation, reseller: tuple[Installation, str]
) -> None:
    shop, customer_of_vendor = reseller
    customer, key = shop.organisation("1")
    left = leave_in_decode(shop, "sold", key, 60)
    receipt = shop.receipt(left.request_id, "posted", key=key)
    assert receipt["outcome"] == "client_closed"
    assert receipt["estimated"] is True
    # What had left the shop for the client: all that the client took, and what was on its way to it.
    assert left.delivered <= receipt["completion_tokens"] <= left.delivered + left.pace * STOP_S + 1
    billed = newest(house, customer_of_vendor, "client_closed")
    print(
        f"\nvendor: {left.delivered} tokens had come at {left.pace:.0f} a second, {receipt['completion_tokens']} were "
        f"billed as an estimate; the vendor billed {billed['completion_tokens']}, counted"
    )
    assert billed["estimated"] is False
    assert billed["completion_tokens"] >= left.delivered
    assert shop.settled(customer) == 1 - Decimal(receipt["amount"])


def test_who_leaves_the_queue_gives_seat_and_hold_back_at_once_and_pays_nothing(house: Installation) -> None:
    for path, body in (
        ("/models", {"name": "narrow", "context_tokens": 8192}),
        ("/prices", {"model": "narrow", "input": "1", "output": "2"}),
        ("/deployments", {"model": "narrow", "kind": "echo", "slots": 1}),
    ):
        assert house.admin("POST", path, body)[0] == 201
    house.ready("narrow")
    (_, busy), (customer, key) = house.organisation("1"), house.organisation("1")
    asked = {"model": "narrow", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    asked["user"] = "echo:tokens=400,pace_ms=10"
    with Raw(house) as running:
        running.ask("POST", "/v1/chat/completions", asked, key=busy)
        running.until(b"tok5 ")
        with Raw(house) as waiting:
            waiting.ask("POST", "/v1/chat/completions", asked, key=key)
            deadline = time.monotonic() + 20
            while json.loads(house.ask("GET", "/readyz")[2])["models"]["narrow"]["waiting"] != 1:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        print(f"\nqueue: the seat was there again {seat_back(house, key) * 1000:.0f} ms after leaving")
        assert json.loads(house.ask("GET", "/readyz")[2])["models"]["narrow"]["waiting"] == 0
        assert running.pull()
        assert b"[DONE]" not in running.seen  # the slot is still taken: nobody waited for that
    assert house.settled(customer) == 1
