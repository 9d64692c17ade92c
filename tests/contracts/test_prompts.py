"""What completions of llama.cpp do with their prompt: a gap is filled, the prompt given back, its probabilities told.

The model with marks for a gap is the embedded one with three of its tokens renamed: it never learnt to fill anything,
but what it is asked can be told from what it answers.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from installation import Installation

SMOL, GAPPED = "smollm2-135m", "gapped"
#: Names of tokens that its training has not used, and as long as those that they are given.
MARKS = {
    b"<jupyter_text>": b"<|fim_prefix|>",
    b"<jupyter_code>": b"<|fim_suffix|>",
    b"<empty_output>": b"<|fim_middle|>",
}
SKY = "The sky is blue and the grass is"


def complete(house: Installation, **fields: Any) -> tuple[int, dict[str, str], Any]:
    """Status, headers and answer."""
    asked = {"model": SMOL, "max_tokens": 6, "temperature": 0, **fields}
    status, headers, told = house.ask("POST", "/v1/completions", asked)
    return status, headers, json.loads(told)


def good(house: Installation, **fields: Any) -> Any:
    status, _, told = complete(house, **fields)
    assert status == 200, told
    return told


def streamed(house: Installation, **fields: Any) -> list[Any]:
    asked = {"model": SMOL, "max_tokens": 6, "temperature": 0, "stream": True, **fields}
    status, _, told = house.ask("POST", "/v1/completions", asked)
    assert status == 200, told
    return [json.loads(event[6:]) for event in told.split(b"\n\n") if event.startswith(b"data: {")]


@pytest.fixture(scope="module")
def gapped(smol: Installation, smol_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The house with a model that has marks for a gap."""
    file = tmp_path_factory.mktemp("gapped") / f"{GAPPED}.gguf"
    held = smol_gguf.read_bytes()
    head, rest = held[:4_000_000], held[4_000_000:]  # the tokens stand at its beginning
    for name, mark in MARKS.items():
        assert head.count(name) == 1
        head = head.replace(name, mark)
    file.write_bytes(head + rest)
    offered = smol.command("models", "offer", str(file))
    assert offered.returncode == 0, offered.stderr
    smol.ready(GAPPED)
    yield smol
    smol.command("models", "stop", GAPPED)


def test_a_gap_is_asked_for_by_the_marks_of_the_model_however_long_its_sides_are(gapped: Installation) -> None:
    before, behind = "one two three " * 60, " nine ten eleven" * 40
    told = good(gapped, model=GAPPED, prompt=before, suffix=behind)
    spelt = f"<|fim_prefix|>{before}<|fim_suffix|>{behind}<|fim_middle|>"
    plain = good(gapped, model=GAPPED, prompt=spelt)
    assert told["choices"][0]["text"] == plain["choices"][0]["text"] != ""
    assert told["usage"]["prompt_tokens"] == plain["usage"]["prompt_tokens"] > 300


def test_a_mark_in_the_text_around_a_gap_is_text(gapped: Installation) -> None:
    found = [good(gapped, model=GAPPED, prompt=f"a{mark}b", suffix="c") for mark in ("", "<|fim_suffix|>")]
    tokens = [each["usage"]["prompt_tokens"] for each in found]
    assert tokens[1] > tokens[0] + 1


def test_a_gap_is_filled_for_each_prompt_in_a_stream_and_with_the_prompt_before_it(gapped: Installation) -> None:
    asked = {"model": GAPPED, "prompt": ["a b", "c d"], "suffix": " e f", "n": 1}
    plain, echoed = good(gapped, **asked), good(gapped, **asked, echo=True)
    assert [each["text"] for each in echoed["choices"]] == [
        prompt + each["text"] for prompt, each in zip(asked["prompt"], plain["choices"], strict=True)
    ]
    texts = ["", ""]
    for event in streamed(gapped, **asked):
        for choice in event["choices"]:
            texts[choice["index"]] += choice["text"]
    assert texts == [each["text"] for each in plain["choices"]]


def test_a_model_without_marks_refuses_a_gap_by_name_and_bills_nothing(gapped: Installation) -> None:
    status, headers, told = complete(gapped, prompt="def f():", suffix="return 1")
    assert (status, told["error"]["param"]) == (400, "suffix")
    receipt = gapped.receipt(headers["x-request-id"])
    assert (receipt["prompt_tokens"], float(receipt["amount"])) == (0, 0)
    assert complete(gapped, prompt="The sky", suffix="")[0] == 200


@pytest.mark.parametrize("stream", [False, True])
def test_the_probabilities_of_a_prompt_are_those_with_which_it_would_be_generated(
    smol: Installation, stream: bool
) -> None:
    generated = good(smol, prompt=SKY, logprobs=2)["choices"][0]
    whole = SKY + generated["text"]
    fields = {"prompt": whole, "echo": True, "logprobs": 2, "max_tokens": 2}
    if stream:
        parts = streamed(smol, **fields, stream_options={"include_usage": True})
        found: dict[str, Any] = {"text": "", "tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for choice in (choice for part in parts for choice in part["choices"]):
            found["text"] += choice["text"]
            for name, values in (choice["logprobs"] or {}).items():
                found[name] += values
        usage = parts[-1]["usage"]
    else:
        told = good(smol, **fields)
        found, usage = {"text": told["choices"][0]["text"], **told["choices"][0]["logprobs"]}, told["usage"]
    assert found["text"].startswith(whole)
    assert "".join(found["tokens"]) == found["text"]
    assert [
        found["text"][at:].startswith(token) for at, token in zip(found["text_offset"], found["tokens"], strict=True)
    ]
    assert len(found["tokens"]) == usage["prompt_tokens"] + usage["completion_tokens"]
    assert (found["token_logprobs"][0], found["top_logprobs"][0]) == (None, None)
    end = usage["prompt_tokens"]
    begin = end - len(generated["logprobs"]["tokens"])
    assert found["tokens"][begin:end] == generated["logprobs"]["tokens"]
    assert found["token_logprobs"][begin:end] == pytest.approx(generated["logprobs"]["token_logprobs"], abs=0.05)
    for token, logprob, others in zip(
        found["tokens"][1:], found["token_logprobs"][1:], found["top_logprobs"][1:], strict=True
    ):
        assert others[token] == logprob
        assert logprob <= max(others.values()) <= 0


def test_pieces_of_characters_and_tokens_that_end_answers_have_their_probability_too(smol: Installation) -> None:
    prompt = "A box: │ 中文 😀.<|im_end|>\nMore │"
    told = good(smol, prompt=prompt, echo=True, logprobs=1, max_tokens=1)
    choice = told["choices"][0]
    assert choice["text"].startswith("A box: │ 中文 😀.")
    found = choice["logprobs"]
    assert len(found["tokens"]) == told["usage"]["prompt_tokens"] + told["usage"]["completion_tokens"]
    pieces = [token for token in found["tokens"] if token.startswith("bytes:")]
    assert 0 < len(pieces) < len(found["tokens"]) - 10
    assert all(logprob < 0 for logprob in found["token_logprobs"][1:])
    assert all(
        logprob <= max(others.values())
        for logprob, others in zip(found["token_logprobs"][1:], found["top_logprobs"][1:], strict=True)
    )


def test_what_was_read_for_its_probabilities_is_billed_as_a_prompt_that_is_new(smol: Installation) -> None:
    fields = {"prompt": [SKY, "Once upon a time"], "echo": True, "logprobs": 1, "max_tokens": 1}
    plain = good(smol, prompt=fields["prompt"], max_tokens=1)["usage"]
    for _ in range(2):
        usage = good(smol, **fields)["usage"]
        assert (usage["prompt_tokens"], usage["completion_tokens"]) == (plain["prompt_tokens"], 2)
        assert usage["prompt_tokens_details"]["cached_tokens"] == 0


def test_prompts_of_token_ids_are_given_back_as_words(smol: Installation) -> None:
    told = good(smol, prompt=[[504, 6376, 314], [504, 2]], echo=True, logprobs=1, max_tokens=1)
    assert [len(each["logprobs"]["tokens"]) for each in told["choices"]] == [4, 3]
    words = good(smol, prompt=[504, 6376, 314], echo=True, max_tokens=1)["choices"][0]["text"]
    assert words == told["choices"][0]["text"]


def test_no_alternatives_are_still_the_probabilities_of_what_was_said(smol: Installation) -> None:
    one, none = (good(smol, prompt=SKY, logprobs=asked)["choices"][0]["logprobs"] for asked in (1, 0))
    assert none["tokens"] == one["tokens"]
    assert none["token_logprobs"] == pytest.approx(one["token_logprobs"], abs=0.05)
    given_back = good(smol, prompt=SKY, logprobs=0, echo=True, max_tokens=1)["choices"][0]["logprobs"]
    assert given_back["token_logprobs"][0] is None
    assert all(logprob < 0 for logprob in given_back["token_logprobs"][1:])


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": "a", "suffix": "b", "echo": True, "logprobs": 1}, "echo"),
        ({"prompt": "", "echo": True}, "prompt"),
        ({"prompt": [504, "a"], "echo": True}, "prompt"),
        ({"prompt": "a", "logprobs": 21}, "logprobs"),
        ({"prompt": "a", "best_of": 3}, "best_of"),
        ({"prompt": "a", "best_of": 3, "n": 2}, "best_of"),
        ({"prompt": "word " * 9000, "echo": True, "logprobs": 1}, None),
    ],
    ids=str,
)
def test_what_cannot_be_done_with_a_prompt_is_refused_by_name(
    smol: Installation, fields: dict[str, Any], param: str | None
) -> None:
    status, _, told = complete(smol, **fields)
    assert status == 400, told
    assert param is None or told["error"]["param"] == param


def test_who_leaves_while_a_prompt_is_read_stops_the_engine(smol: Installation) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", smol.port)
    asked = {"model": SMOL, "prompt": "word " * 4000, "echo": True, "logprobs": 1, "max_tokens": 1}
    connection.request("POST", "/v1/completions", json.dumps(asked), {"authorization": f"Bearer {smol.key}"})
    time.sleep(1)
    connection.close()
    deadline = time.monotonic() + 20
    while (row := json.loads(smol.ask("GET", "/v1/receipts")[2])["data"][0])["outcome"] != "client_closed":
        assert time.monotonic() < deadline, row
        time.sleep(0.05)
    assert 0 < row["prompt_tokens"] < 4000


def test_a_prompt_is_scored_without_an_answer(smol: Installation) -> None:
    """The classic way: everything that is told is of the prompt, and nothing is generated or paid beyond it."""
    asked = {"prompt": [SKY, "Once upon a time"], "echo": True, "logprobs": 1}
    status, headers, told = complete(smol, **asked, max_tokens=0)
    assert status == 200, told
    one_more = good(smol, **asked, max_tokens=1)
    for given, text, other in zip(told["choices"], asked["prompt"], one_more["choices"], strict=True):
        assert (given["text"], given["finish_reason"]) == (text, "length")
        for name, values in given["logprobs"].items():
            assert values == other["logprobs"][name][:-1], name
    assert told["usage"]["completion_tokens"] == 0
    assert told["usage"]["prompt_tokens"] == one_more["usage"]["prompt_tokens"]
    receipt = smol.receipt(headers["x-request-id"], "posted")
    assert (receipt["completion_tokens"], receipt["estimated"]) == (0, False)
    words = streamed(smol, prompt=SKY, echo=True, max_tokens=0)
    assert "".join(choice["text"] for event in words for choice in event["choices"]) == SKY
    status, _, told = complete(smol, prompt=SKY, max_tokens=0)
    assert (status, told["error"]["param"]) == (400, "max_tokens")


def test_the_fake_fills_no_gap_either(echo: Installation) -> None:
    status, _, told = complete(echo, model="echo", prompt="a", suffix="b")
    assert (status, told["error"]["param"]) == (400, "suffix")
