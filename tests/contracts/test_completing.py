"""What every engine promises of ``/v1/completions``: the shipped fake, llama.cpp, and our own engine of classic GLMs,
which has no conversations and so does not stand in ``test_engines.py``.

And what the last one promises besides: blanks. It needs torch; where that is missing its half says that it was skipped.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import openai
import pytest

from installation import Installation
from learned_texts import CODE, CODE_FILLED, CODE_REST, GAPS, GAPS_FILLED, POEM, POEM_REST
from official import faults
from raw import Raw

SMOL, GLM = "smollm2-135m", "learned-glm"


@dataclass(frozen=True)
class Completing:
    """A model of a house."""

    house: Installation
    model: str

    def post(self, path: str = "/v1/completions", **fields: Any) -> tuple[int, dict[str, str], Any]:
        status, headers, body = self.house.ask("POST", path, {"model": self.model, **fields})
        return status, headers, json.loads(body)

    def good(self, prompt: Any = POEM, **fields: Any) -> Any:
        status, _, answer = self.post(prompt=prompt, **fields)
        assert status == 200, answer
        assert not faults("openai", "CreateCompletionResponse", answer)
        return answer

    def text(self, prompt: Any = POEM, **fields: Any) -> str:
        return str(self.good(prompt, **fields)["choices"][0]["text"])

    def stream(self, prompt: Any = POEM, **fields: Any) -> list[dict[str, Any]]:
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
        status, _, answer = self.house.ask("POST", "/v1/completions", {"model": self.model, "prompt": prompt, **fields})
        assert status == 200, answer
        assert answer.endswith(b"data: [DONE]\n\n")
        return [json.loads(event[6:]) for event in answer.split(b"\n\n") if event.startswith(b"data: {")]


def told(chunks: list[dict[str, Any]], index: int = 0) -> str:
    """The text of one choice of a stream."""
    return "".join(c["text"] for chunk in chunks for c in chunk["choices"] if c["index"] == index)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a classic GLM that knows what belongs into the blanks above."""
    if find_spec("torch") is None:
        pytest.skip("openglm needs torch: make setup-glm")
    from learned_glm import learned  # noqa: PLC0415 - torch is an extra

    return learned(tmp_path_factory.mktemp("checkpoint") / GLM)


@pytest.fixture(scope="module")
def learned_house(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A house that serves it, added by the command of every model."""
    house = Installation(tmp_path_factory.mktemp("glm") / "data")
    house.start()
    for command in (
        ("models", "add", "--name", GLM, "--context-tokens", "4096", "--output-tokens-default", "256"),
        ("models", "price", GLM, "--input", "1", "--output", "2"),
        ("models", "attach", "--model", GLM, "--kind", "glm", "--weights", str(folder), "--options", "threads=1"),
    ):
        done = house.command(*command)
        assert done.returncode == 0, done.stdout + done.stderr
    house.ready(GLM)
    yield house
    house.end()


@pytest.fixture
def glm(learned_house: Installation) -> Completing:
    return Completing(learned_house, GLM)


@pytest.fixture(params=["echo", SMOL, GLM])
def engine(request: pytest.FixtureRequest) -> Completing:
    """Each engine that completes."""
    house = {"echo": "echo", SMOL: "smol", GLM: "learned_house"}[request.param]
    return Completing(request.getfixturevalue(house), request.param)


# ── of every engine that completes ────────────────────────────────────────────────────────────────────────────────


def test_plain_and_streamed_answers_have_the_same_words_and_the_same_usage(engine: Completing) -> None:
    fields: dict[str, Any] = {"max_tokens": 20, "temperature": 0, "seed": 7, "user": "echo:tokens=9"}
    plain, chunks = engine.good(**fields), engine.stream(**fields)
    assert told(chunks) == plain["choices"][0]["text"] != ""
    finishes = [c["finish_reason"] for chunk in chunks for c in chunk["choices"] if c.get("finish_reason")]
    assert finishes == [plain["choices"][0]["finish_reason"]]
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert chunks[-1]["usage"][name] == plain["usage"][name] > 0
    assert {plain["model"], *(chunk["model"] for chunk in chunks)} == {engine.model}


def test_a_prompt_is_counted_as_it_is_billed(engine: Completing) -> None:
    for prompt in (POEM, [1, 2, 3], [POEM, "x y"]):
        status, headers, counted = engine.post("/tokenize", prompt=prompt)
        assert status == 200, counted
        assert "x-openmaas-estimated" not in headers
        assert counted["count"] == engine.good(prompt, max_tokens=1)["usage"]["prompt_tokens"] > 0


def test_the_cap_is_kept_and_named_as_the_reason_of_the_end(engine: Completing) -> None:
    answer = engine.good(max_tokens=9, ignore_eos=True, user="echo:tokens=50")
    assert answer["usage"]["completion_tokens"] == 9
    assert answer["choices"][0]["finish_reason"] == "length"


def test_a_stop_sequence_ends_the_answer_and_is_not_part_of_it(engine: Completing) -> None:
    fields: dict[str, Any] = {"max_tokens": 30, "temperature": 0, "user": "echo:tokens=9"}
    whole = engine.good(**fields)
    text = whole["choices"][0]["text"]
    stop = text[3:5]
    for given in (stop, ["never said", stop]):
        stopped = engine.good(stop=given, **fields)
        assert stopped["choices"][0]["text"] == text[: text.index(stop)]
        assert stopped["choices"][0]["finish_reason"] == "stop"
        assert 0 < stopped["usage"]["completion_tokens"] < whole["usage"]["completion_tokens"]
    assert told(engine.stream(stop=[stop], **fields)) == text[: text.index(stop)]


@pytest.mark.parametrize("stream", [False, True])
def test_the_tokens_of_every_choice_of_every_prompt_are_counted(engine: Completing, stream: bool) -> None:
    fields: dict[str, Any] = {"n": 2, "max_tokens": 5, "ignore_eos": True, "user": "echo:tokens=50"}
    if engine.model == "echo":  # it answers once, however many prompts there are
        prompts: list[str] = [POEM]
    else:
        prompts = [POEM, CODE]
    whole = prompts if len(prompts) > 1 else prompts[0]
    if stream:
        chunks = engine.stream(whole, **fields)
        indexes = {choice["index"] for chunk in chunks for choice in chunk["choices"]}
        usage = chunks[-1]["usage"]
    else:
        answer = engine.good(whole, **fields)
        indexes, usage = {choice["index"] for choice in answer["choices"]}, answer["usage"]
    assert indexes == set(range(2 * len(prompts)))
    assert usage["completion_tokens"] == 10 * len(prompts)
    alone = [engine.good(prompt, **{**fields, "n": 1})["usage"]["prompt_tokens"] for prompt in prompts]
    assert usage["prompt_tokens"] == sum(alone)  # read once, however many answers there are


def test_the_same_seed_gives_the_same_answer(engine: Completing) -> None:
    fields: dict[str, Any] = {"temperature": 1.5, "max_tokens": 12, "ignore_eos": True}
    assert engine.text(seed=11, **fields) == engine.text(seed=11, **fields)
    if engine.model != "echo":
        assert engine.text(seed=11, **fields) != engine.text(seed=12, **fields)


def test_a_caller_that_leaves_stops_it_and_pays_what_the_engine_counted(engine: Completing) -> None:
    body = {"model": engine.model, "prompt": POEM, "stream": True, "max_tokens": 3_000, "ignore_eos": True}
    body["user"] = "echo:tokens=3000,pace_ms=10"
    with Raw(engine.house) as client:
        client.ask("POST", "/v1/completions", body)
        _, headers = client.head()
        client.until(b"\ndata: ", 8)
    receipt = engine.house.receipt(headers["x-request-id"], "posted")
    assert receipt["outcome"] == "client_closed"
    assert receipt["estimated"] is False
    assert 7 <= receipt["completion_tokens"] < 3_000
    lines = [line for path in (engine.house.data / "meters").iterdir() for line in path.read_text().splitlines()]
    (count,) = [json.loads(line) for line in lines if headers["x-request-id"] in line]
    assert count["outcome"] == "cancelled"
    assert (count["prompt_tokens"], count["completion_tokens"]) == (
        receipt["prompt_tokens"],
        receipt["completion_tokens"],
    )
    deadline = time.monotonic() + 5
    while running(engine):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def running(engine: Completing) -> int:
    """How many requests its only replica runs."""
    (found,) = json.loads(engine.house.ask("GET", "/readyz")[2])["models"][engine.model]["replicas"]
    return int(found["running"])


@pytest.mark.parametrize("engine", [SMOL, GLM], indirect=True)
def test_a_prompt_that_is_too_long_is_refused_and_costs_nothing(engine: Completing) -> None:
    status, headers, answer = engine.post(prompt="word " * 40_000, max_tokens=4)
    assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")
    receipt = engine.house.receipt(headers["x-request-id"], "posted")
    assert (receipt["outcome"], Decimal(receipt["amount"])) == ("engine_refused", 0)


# ── of the one that fills blanks ──────────────────────────────────────────────────────────────────────────────────


def test_a_prompt_goes_on_where_no_blank_is(glm: Completing) -> None:
    answer = glm.good(temperature=0)
    (choice,) = answer["choices"]
    assert (choice["text"], choice["blanks"], choice["finish_reason"]) == (POEM_REST, [POEM_REST], "stop")
    # bytes and a [gMASK]; bytes and what ended it
    assert answer["usage"]["prompt_tokens"] == len(POEM.encode()) + 1
    assert answer["usage"]["completion_tokens"] == len(POEM_REST.encode()) + 1
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    assert glm.text(POEM + "[gMASK]", temperature=0) == POEM_REST


@pytest.mark.parametrize("stream", [False, True])
def test_blanks_are_filled_and_the_text_goes_from_the_first_to_the_last(glm: Completing, stream: bool) -> None:
    if stream:
        chunks = glm.stream(GAPS, temperature=0)
        text, last = told(chunks), chunks[-2]["choices"][0]
    else:
        (last,) = glm.good(GAPS, temperature=0)["choices"]
        text = last["text"]
    assert last["blanks"] == GAPS_FILLED
    before, _, rest = GAPS.partition("[MASK]")
    after = rest.rpartition("[MASK]")[2]
    assert before + text + after == GAPS.replace("[MASK]", "{}").format(*GAPS_FILLED)


def test_a_suffix_stands_behind_a_blank(glm: Completing) -> None:
    assert glm.text(CODE, suffix=CODE_REST, temperature=0) == CODE_FILLED
    assert glm.text(f"{CODE}[MASK]{CODE_REST}", temperature=0) == CODE_FILLED


def test_token_ids_are_a_prompt_too(glm: Completing, folder: Path) -> None:
    from openglm.data.tokenizer import Tokenizer  # noqa: PLC0415 - torch is an extra

    ids = Tokenizer.load(folder / "tokenizer.json").encode(GAPS, marks=True)
    answer = glm.good(ids, temperature=0)
    assert answer["choices"][0]["blanks"] == GAPS_FILLED
    assert answer["choices"][0]["text"] == glm.text(GAPS, temperature=0)
    assert answer["usage"]["prompt_tokens"] == len(ids)
    status, _, refused = glm.post(prompt=[1, 10_000])
    assert (status, refused["error"]["param"]) == (400, "prompt")
    assert "10000 is no token of this model; ids go from 0 to 293" in refused["error"]["message"]


def test_a_stop_sequence_ends_its_blank_and_the_next_one_is_filled(glm: Completing) -> None:
    (choice,) = glm.good(GAPS, temperature=0, stop="觉")["choices"]
    assert (choice["blanks"], choice["text"], choice["finish_reason"]) == (["不", "闻啼"], "不晓，处处闻啼", "stop")


def test_blanks_that_the_cap_leaves_are_empty(glm: Completing) -> None:
    answer = glm.good(GAPS, temperature=0, max_tokens=3)
    (choice,) = answer["choices"]
    assert (choice["blanks"], choice["text"], choice["finish_reason"]) == (["不", ""], "不晓，处处", "length")
    assert answer["usage"]["completion_tokens"] == 3


def test_marks_of_spans_written_in_a_text_are_text(glm: Completing) -> None:
    plain = glm.post("/tokenize", prompt="x")[2]["count"]
    assert glm.post("/tokenize", prompt="x<sop><eop>")[2]["count"] == plain + len("<sop><eop>")
    assert glm.post("/tokenize", prompt="x[MASK]")[2]["count"] == plain  # the blank that was added before is now there


def test_many_at_once_are_answered_as_each_alone(glm: Completing) -> None:
    asked: list[dict[str, Any]] = [
        {"prompt": POEM, "temperature": 0},
        {"prompt": GAPS, "temperature": 0},
        {"prompt": CODE, "suffix": CODE_REST, "temperature": 0, "n": 3},
        *({"prompt": POEM, "temperature": 2, "seed": seed, "max_tokens": 40, "ignore_eos": True} for seed in range(5)),
    ]

    def answer(fields: dict[str, Any]) -> Any:
        answer = glm.good(**fields)
        return answer["choices"], answer["usage"]

    alone = [answer(fields) for fields in asked]
    with ThreadPoolExecutor(len(asked)) as pool:
        together = list(pool.map(answer, asked * 2))
    assert together == alone * 2


def test_a_short_request_is_answered_while_a_long_one_runs(glm: Completing) -> None:
    running = threading.Event()
    lengths: list[int] = []

    def long() -> None:
        body = {"model": GLM, "prompt": POEM, "stream": True, "max_tokens": 3_000, "ignore_eos": True}
        with Raw(glm.house) as client:
            client.ask("POST", "/v1/completions", body)
            client.head()
            client.until(b"\ndata: ", 3)
            running.set()
            client.until(b"[DONE]")
            lengths.append(client.seen.count(b"\ndata: "))

    thread = threading.Thread(target=long)
    thread.start()
    assert running.wait(30)
    assert glm.text(temperature=0) == POEM_REST
    assert not lengths, "the long one was not running any more"
    thread.join()
    assert lengths[0] > 100


@pytest.mark.parametrize(
    ("path", "fields", "field", "said"),
    [
        ("/v1/completions", {"logprobs": 1}, "logprobs", "not told by this engine"),
        ("/v1/completions", {"logprobs": 0}, "logprobs", "not told by this engine"),
        ("/v1/completions", {"echo": True}, "echo", "not given back"),
        ("/v1/completions", {"best_of": 2}, "best_of", "does not rank"),
        ("/v1/completions", {"frequency_penalty": 0.5}, "frequency_penalty", "no penalties"),
        ("/v1/completions", {"logit_bias": {"5": 1}}, "logit_bias", "favoured"),
        ("/v1/completions", {"prompt": ""}, "prompt", "not empty"),
        ("/v1/completions", {"prompt": ["a", 1]}, "prompt", "a text, token ids, or a list of either"),
        ("/v1/completions", {"temperature": 3}, "temperature", "<= 2"),
        ("/v1/completions", {"stop": ["x"] * 17}, "stop", "up to 16"),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}, "model", "/v1/completions"),
        ("/v1/embeddings", {"input": "hi"}, "model", "/v1/completions"),
        ("/tokenize", {"messages": [{"role": "user", "content": "hi"}]}, "messages", "send a prompt"),
    ],
)
def test_what_it_cannot_do_is_refused_by_name(
    glm: Completing, path: str, fields: dict[str, Any], field: str, said: str
) -> None:
    body = {"prompt": POEM, **fields} if path == "/v1/completions" else fields
    status, _, answer = glm.post(path, **body)
    assert (status, answer["error"]["param"]) == (400, field), answer
    assert said in answer["error"]["message"]


def test_the_openai_client_fills_blanks_and_the_receipt_says_what_that_cost(glm: Completing) -> None:
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{glm.house.port}/v1", api_key=glm.house.key, max_retries=0)
    raw = client.completions.with_raw_response.create(model=GLM, prompt=GAPS, temperature=0)
    answer = raw.parse()
    assert answer.choices[0].model_extra == {"blanks": GAPS_FILLED}
    assert answer.usage is not None
    receipt = glm.house.receipt(raw.headers["x-request-id"], "posted")
    assert receipt["prompt_tokens"] == answer.usage.prompt_tokens == 26
    assert receipt["completion_tokens"] == answer.usage.completion_tokens == 14
    assert Decimal(receipt["amount"]) * 10**6 == 26 * 1 + 14 * 2
    stream = client.completions.create(model=GLM, prompt=CODE, suffix=CODE_REST, temperature=0, stream=True)
    assert "".join(event.choices[0].text for event in stream) == CODE_FILLED


def test_weights_that_are_no_classic_glm_are_refused_when_they_are_attached(
    learned_house: Installation, folder: Path, tmp_path: Path
) -> None:
    def refusal(weights: Path) -> str:
        body = {"model": GLM, "kind": "glm", "weights": str(weights)}
        status, answer = learned_house.admin("POST", "/deployments", body)
        assert (status, answer["error"]["param"]) == (400, "weights"), answer
        return str(answer["error"]["message"])

    (tmp_path / "config.json").write_text('{"model_type": "glm4"}')
    assert "has no tokenizer.json" in refusal(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    assert "has no *.safetensors" in refusal(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert "is no classic GLM (model_type 'glm4')" in refusal(tmp_path)
    (tmp_path / "config.json").write_text("{")
    assert "config.json" in refusal(tmp_path)
    status, answer = learned_house.admin("POST", "/models", {"name": "embeds", "task": "embed", "context_tokens": 64})
    assert status == 201, answer
    wrong = {"model": "embeds", "kind": "glm", "weights": str(folder)}
    status, answer = learned_house.admin("POST", "/deployments", wrong)
    assert (status, answer["error"]["param"]) == (400, "kind")
