"""Adapters in one engine: each request is answered by the one it means, whichever others are there, and they join while
answers run.

The base knows the right things, the adapters were taught the next thing and the one after it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from installation import Installation
from openmaas.catalog.deployments import remove_model
from openmaas.core.errors import Conflict
from openmaas.store.database import Database

tiny = pytest.importorskip("tiny_tuning", reason="tuning needs torch: make setup-glm")
from openglm.tune.order import Order  # noqa: E402 - needs torch too
from openglm.tune.tuning import Tuning  # noqa: E402

BASE, NEXT, AFTER, LATE = "colours", "next", "after", "late"
SHIFTS = {BASE: 0, NEXT: 1, AFTER: 2}  # LATE is what AFTER is, attached while the others answer


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The base as a whole file, and the adapters over it."""
    folder = tmp_path_factory.mktemp("taught")
    numbers = {"learning_rate_multiplier": 60, "n_epochs": 40, "batch_size": 3, "threads": 1}
    training = {name: tiny.lines(folder / f"{name}.jsonl", tiny.chats(shift)) for name, shift in SHIFTS.items()}
    whole = Order(base=tiny.base(folder / "tiny"), training=training[BASE], into=folder / BASE, **numbers)
    Tuning(whole).walk()
    over = replace(whole, base=folder / BASE / "model", rank=8, learning_rate_multiplier=8)
    for name in (NEXT, AFTER):
        Tuning(replace(over, training=training[name], into=folder / name)).walk()
        assert json.loads((folder / name / "done.json").read_text())["over_base"] == "adapter.gguf"
    return {BASE: folder / BASE / "model.gguf"} | {name: folder / name / "adapter.gguf" for name in (NEXT, AFTER)}


@pytest.fixture(scope="module")
def house(taught: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The base is attached, and two adapters, which no request has meant yet."""
    made = Installation(tmp_path_factory.mktemp("adapters") / "data")
    made.start()
    try:
        add(made, BASE, taught[BASE])
        for name in (NEXT, AFTER):
            add(made, name, taught[name], over=BASE)
        made.ready(*SHIFTS)
        yield made
    finally:
        made.end()


def add(house: Installation, name: str, weights: Path, **options: str) -> None:
    model = {"name": name, "context_tokens": 256, "output_tokens_default": 16}
    assert house.admin("POST", "/models", model)[0] == 201
    assert house.admin("POST", "/prices", {"model": name, "input": "1", "output": "2"})[0] == 201
    status, told = attach(house, name, weights, options)
    assert status == 201, told


def attach(house: Installation, name: str, weights: Path | str, options: dict[str, Any]) -> tuple[int, Any]:
    return house.admin(
        "POST", "/deployments", {"model": name, "kind": "llama", "weights": str(weights), "options": options}
    )[:2]


def said(house: Installation, model: str, colour: str, **fields: Any) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": f"What is {colour}?"}], "temperature": 0}
    status, _, answer = house.ask("POST", "/v1/chat/completions", body | fields)
    assert status == 200, answer
    return str(json.loads(answer)["choices"][0]["message"]["content"])


def right(model: str, colour: str) -> str:
    things = list(tiny.QUESTIONS.values())
    return things[(list(tiny.QUESTIONS).index(colour) + SHIFTS[model]) % len(things)]


def engines(house: Installation) -> int:
    return len(house.children("openmaas.engines.program"))


def test_each_answers_as_it_was_taught_side_by_side_and_one_joins_while_they_do(
    house: Installation, taught: dict[str, Path], tmp_path: Path
) -> None:
    before, late = engines(house), tmp_path / "late.gguf"
    late.write_bytes(taught[AFTER].read_bytes())
    asked = [(model, colour) for _ in range(6) for colour in tiny.QUESTIONS for model in (BASE, NEXT)]
    with ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(said, house, *each) for each in asked]
        add(house, LATE, late, over=BASE)
        house.ready(LATE)
        answers += [pool.submit(said, house, LATE, colour) for colour in tiny.QUESTIONS]
        asked += [(AFTER, colour) for colour in tiny.QUESTIONS]
        assert [each.result() for each in answers] == [right(*each) for each in asked]
    assert engines(house) == before  # the adapters have none of their own


def test_what_is_kept_of_a_prompt_is_not_another_s(house: Installation) -> None:
    """The same prompt, one after the other: what was read of it is of use to the same model only."""
    for _ in range(2):
        for model in SHIFTS:
            assert [said(house, model, colour) for colour in ("red", "red")] == [right(model, "red")] * 2


def test_a_caller_chooses_a_model_and_not_an_adapter(house: Installation) -> None:
    for model in SHIFTS:
        assert said(house, model, "blue", lora=[{"id": 0, "scale": 1.0}]) == right(model, "blue")
    thinking = {"chat_template_kwargs": {"enable_thinking": True}}
    assert said(house, NEXT, "blue", **thinking) == right(NEXT, "blue")  # it never learned to


def test_prompts_are_read_by_the_model_that_is_meant(house: Installation) -> None:
    """``echo`` with ``logprobs``: each finds its own answer likely."""
    prompt = "[gMASK]<sop><|user|>What is red?<|assistant|></think>"
    for model in SHIFTS:
        found = {}
        for thing in ("apple", "leaf", "sky"):
            body = {"model": model, "prompt": prompt + thing, "echo": True, "logprobs": 1, "max_tokens": 0}
            status, _, answer = house.ask("POST", "/v1/completions", body)
            assert status == 200, answer
            logprobs = json.loads(answer)["choices"][0]["logprobs"]
            of_thing = next(at for at in range(20) if "".join(logprobs["tokens"][-at:]) == thing)
            found[thing] = sum(logprobs["token_logprobs"][-of_thing:])
        assert max(found, key=lambda thing: found[thing]) == right(model, "red")


def test_receipts_and_counts_are_those_of_the_model(house: Installation) -> None:
    body = {"model": NEXT, "messages": [{"role": "user", "content": "What is red?"}], "temperature": 0}
    status, headers, answer = house.ask("POST", "/v1/chat/completions", body)
    assert status == 200
    receipt = house.receipt(headers["x-request-id"], "posted")
    usage = json.loads(answer)["usage"]
    assert (receipt["model"], receipt["prompt_tokens"]) == (NEXT, usage["prompt_tokens"])


def test_an_adapter_whose_file_is_gone_is_refused_and_the_others_go_on(
    house: Installation, taught: dict[str, Path], tmp_path: Path
) -> None:
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(taught[NEXT].read_bytes())
    add(house, "lost", copy, over=BASE)
    house.ready("lost")
    copy.unlink()
    status, _, answer = house.ask(
        "POST", "/v1/chat/completions", {"model": "lost", "messages": [{"role": "user", "content": "?"}]}
    )
    assert status >= 500, answer
    assert said(house, BASE, "red") == right(BASE, "red")
    assert said(house, NEXT, "red") == right(NEXT, "red")


def test_a_base_stays_as_long_as_an_adapter_lies_over_it(house: Installation) -> None:
    database = Database(house.address)
    with pytest.raises(Conflict, match="an adapter over 'colours'"):
        database.call(remove_model, BASE)
    database.close()


def test_a_house_may_be_started_by_the_name_of_an_adapter(house: Installation) -> None:
    assert house.stop() == 0
    house.model = f"{BASE},{NEXT}"
    house.start()
    house.ready(*SHIFTS)
    assert said(house, NEXT, "red") == right(NEXT, "red")


def test_the_engine_of_before_leaves_when_its_answers_have_ended(house: Installation) -> None:
    """Its threads do: llama.cpp has some for each of its servers."""
    said(house, AFTER, "red")
    (pid,) = [each for each in house.children("openmaas.engines.program") if sockets(each)]
    deadline = time.monotonic() + 20
    while len(sockets(pid)) > 1:
        assert time.monotonic() < deadline, sockets(pid)
        time.sleep(0.2)


def sockets(pid: int) -> set[str]:
    """The inner sockets on which a process listens."""
    mine = {os.readlink(f"/proc/{pid}/fd/{each}") for each in os.listdir(f"/proc/{pid}/fd")}
    found = set()
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        words = line.split()
        if len(words) == 8 and words[3] == "00010000" and f"socket:[{words[6]}]" in mine and words[7].count(".") == 2:
            found.add(words[7])
    return found


@pytest.mark.parametrize(
    ("weights", "options", "field"),
    [
        ("adapter.gguf", {"over": BASE}, "weights"),
        ("/nowhere/adapter.gguf", {"over": BASE}, "weights"),
        (BASE, {"over": BASE}, "weights"),
        (NEXT, {"over": "nosuch"}, "options.over"),
        (NEXT, {"over": NEXT}, "options.over"),
        (NEXT, {"over": BASE, "threads": 1}, "options"),
        (NEXT, {}, "weights"),
    ],
)
def test_what_could_not_run_is_refused_at_once(
    house: Installation, taught: dict[str, Path], weights: str, options: dict[str, Any], field: str
) -> None:
    status, told = attach(house, NEXT, taught.get(weights, weights), options)
    assert (status, told["error"]["param"]) == (400, field), told
