"""The real OpenAI SDK, unchanged, against the real embedded model."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal

import openai
import pytest

from installation import Installation
from tunable import offer

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture
def client(smol: Installation) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"http://127.0.0.1:{smol.port}/v1", api_key=smol.key, max_retries=0)


def test_sync_chat_answers_and_counts(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="smollm2-135m", messages=QUESTION, max_tokens=24, temperature=0)
    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 24


def test_streaming_gives_the_same_words(client: openai.OpenAI) -> None:
    fields = {"model": "smollm2-135m", "messages": QUESTION, "max_tokens": 24, "temperature": 0, "seed": 1}
    whole = client.chat.completions.create(**fields)
    stream = client.chat.completions.create(**fields, stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert chunks[-1].usage.prompt_tokens_details.cached_tokens > 0


def test_async_requests_run_side_by_side_and_the_sums_agree(smol: Installation) -> None:
    async def run() -> list[tuple[str, int]]:
        async with openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{smol.port}/v1", api_key=smol.key) as client:

            async def ask(number: int) -> tuple[str, int]:
                raw = await client.chat.completions.with_raw_response.create(
                    model="smollm2-135m", messages=[{"role": "user", "content": f"Say {number}"}], max_tokens=8
                )
                usage = raw.parse().usage
                assert usage is not None
                return raw.headers["x-request-id"], usage.prompt_tokens * 1 + usage.completion_tokens * 2

            return await asyncio.gather(*map(ask, range(6)))

    for request_id, cost in asyncio.run(run()):
        receipt = smol.receipt(request_id, "posted")
        cached = receipt["cached_tokens"]
        assert Decimal(receipt["amount"]) * 10**6 == Decimal(cost) - cached * Decimal("0.8")


def test_n_choices_are_all_counted(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="smollm2-135m",
        messages=QUESTION,
        max_tokens=6,
        n=2,
        logprobs=True,
        top_logprobs=2,
        stop=["zzz"],
        temperature=0,
    )
    assert len(answer.choices) == 2
    tokens = sum(len(choice.logprobs.content) for choice in answer.choices)
    assert answer.usage.completion_tokens == tokens > 2


def test_structured_output_keeps_the_schema(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "maximum": 99}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model="smollm2-135m",
        messages=[{"role": "user", "content": "Alice is 31 years old."}],
        response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": schema}},
        max_tokens=60,
        temperature=0,
    )
    assert set(json.loads(answer.choices[0].message.content)) == {"name", "age"}


@pytest.mark.parametrize("stream", [False, True])
def test_a_demanded_tool_is_called(client: openai.OpenAI, stream: bool) -> None:
    found = client.chat.completions.create(
        model="smollm2-135m",
        messages=[{"role": "user", "content": "Weather in Paris?"}],
        tools=[WEATHER],
        tool_choice="required",
        max_tokens=80,
        temperature=0,
        stream=stream,
    )
    if stream:
        deltas = [chunk.choices[0].delta for chunk in found if chunk.choices]
        call = next(delta.tool_calls[0] for delta in deltas if delta.tool_calls)
    else:
        call = found.choices[0].message.tool_calls[0]
        assert found.choices[0].finish_reason == "tool_calls"
    assert call.function.name == "weather"
    assert "city" in json.loads(call.function.arguments)


def test_legacy_completions_and_prompts_in_a_list(client: openai.OpenAI) -> None:
    asked = {"model": "smollm2-135m", "max_tokens": 4, "temperature": 0}
    one = client.completions.create(prompt="The sky is", **asked)
    two = client.completions.create(prompt=["The sky is", "The sky is"], **asked)
    assert len(two.choices) == 2
    assert two.usage.completion_tokens == 2 * one.usage.completion_tokens
    assert two.usage.prompt_tokens == 2 * one.usage.prompt_tokens


def test_choices_of_prompts_in_a_list_share_their_prompt_and_come_in_its_order(client: openai.OpenAI) -> None:
    asked = {"model": "smollm2-135m", "prompt": ["The sky is", "Grass is green"], "max_tokens": 4, "temperature": 0}
    one, two = (client.completions.create(**asked, n=n, echo=True) for n in (1, 2))
    assert (two.usage.prompt_tokens, two.usage.completion_tokens) == (one.usage.prompt_tokens, 16)
    texts = [choice.text for choice in one.choices]
    assert [choice.text for choice in two.choices] == [texts[0], texts[0], texts[1], texts[1]]


def test_prompts_of_token_ids_are_as_good_as_words(client: openai.OpenAI) -> None:
    asked = {"model": "smollm2-135m", "max_tokens": 3, "temperature": 0}
    one = client.completions.create(prompt=[504, 2], logprobs=1, **asked)
    two = client.completions.create(prompt=[[504, 2], [504, 3]], **asked)
    assert (one.usage.prompt_tokens, two.usage.prompt_tokens) == (2, 4)
    assert len(one.choices[0].logprobs.tokens) == one.usage.completion_tokens > 0
    assert len(two.choices) == 2


@pytest.mark.parametrize("stream", [False, True])
def test_an_echo_is_the_prompt_before_the_answer_and_costs_nothing_more(client: openai.OpenAI, stream: bool) -> None:
    asked = {"model": "smollm2-135m", "prompt": ["The sky is", "Grass is"], "max_tokens": 4, "temperature": 0}
    plain = client.completions.create(**asked)
    found = client.completions.create(
        **asked, echo=True, stream=stream, **({"stream_options": {"include_usage": True}} if stream else {})
    )
    texts = {0: "", 1: ""}
    for part in found if stream else [found]:
        for choice in part.choices:
            texts[choice.index] += choice.text
    assert texts == {choice.index: asked["prompt"][choice.index] + choice.text for choice in plain.choices}
    assert (part.usage.prompt_tokens, part.usage.completion_tokens) == (
        plain.usage.prompt_tokens,
        plain.usage.completion_tokens,
    )


def test_what_the_engine_would_pass_over_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="suffix"):
        client.completions.create(model="smollm2-135m", prompt="The sky", max_tokens=3, suffix="is blue")


def test_the_probabilities_of_a_prompt_come_with_its_echo(client: openai.OpenAI) -> None:
    asked = {"model": "smollm2-135m", "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
    likely = []
    for city in (" Paris", " seven"):
        choice = client.completions.create(prompt=f"The capital of France is{city}", **asked).choices[0]
        assert choice.logprobs.tokens[5] == city
        likely.append(choice.logprobs.token_logprobs[5])
    assert likely[0] > likely[1]


def test_members_that_change_nothing_here_are_taken(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="smollm2-135m",
        messages=QUESTION,
        max_tokens=4,
        store=True,
        metadata={"a": "b"},
        prediction={"type": "content", "content": "Paris"},
        service_tier="flex",
        prompt_cache_key="k",
        safety_identifier="s",
        verbosity="low",
    )
    assert answer.choices[0].message.content


def test_errors_are_the_sdk_s_own_kinds(client: openai.OpenAI, smol: Installation) -> None:
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="nope", messages=QUESTION)
    with pytest.raises(openai.BadRequestError, match="context"):
        client.chat.completions.create(model="smollm2-135m", messages=[{"role": "user", "content": "word " * 9000}])
    wrong = openai.OpenAI(base_url=f"http://127.0.0.1:{smol.port}/v1", api_key="a.b", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        wrong.models.list()


def test_leaving_in_decode_stops_the_engine_and_bills_its_count(client: openai.OpenAI, smol: Installation) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="smollm2-135m",
        messages=[{"role": "user", "content": "Write a very long story."}],
        max_tokens=2000,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    stream = raw.parse()
    for _, _chunk in zip(range(10), stream, strict=False):
        pass
    stream.close()
    receipt = smol.receipt(raw.headers["x-request-id"], "posted")
    assert receipt["outcome"] == "client_closed"
    assert not receipt["estimated"]
    assert 8 <= receipt["completion_tokens"] < 200  # of two thousand: it stopped
    ready = json.loads(smol.ask("GET", "/readyz")[2])
    assert ready["models"]["smollm2-135m"]["replicas"][0]["running"] == 0


def test_every_choice_counts_its_own_tokens(client: openai.OpenAI) -> None:
    """Choices of different lengths: a choice's last count must not be put down to another one."""

    def counted(n: int) -> tuple[int, int]:
        answer = client.chat.completions.create(
            model="smollm2-135m",
            messages=[{"role": "user", "content": "Say yes or no."}],
            n=n,
            seed=11,
            temperature=1.5,
            max_tokens=24,
            logprobs=True,
        )
        # What ends a choice is a token that was generated, too.
        shown = sum(len(choice.logprobs.content) + (choice.finish_reason == "stop") for choice in answer.choices)
        return answer.usage.completion_tokens, shown

    for n in (1, 2, 4):
        told, shown = counted(n)
        assert told == shown, n


def test_a_call_that_is_forbidden_is_not_even_offered(client: openai.OpenAI) -> None:
    fields = {"model": "smollm2-135m", "messages": QUESTION, "max_tokens": 4}
    plain = client.chat.completions.create(**fields)
    answer = client.chat.completions.create(**fields, tools=[WEATHER], tool_choice="none")
    assert answer.usage.prompt_tokens == plain.usage.prompt_tokens
    assert not answer.choices[0].message.tool_calls


MISTAKES: list[tuple[dict[str, object], str]] = [
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "alien", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": 1, "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content"),
    ({"temperature": 9}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"stop": 1}, "stop"),
    ({"seed": "x"}, "seed"),
    ({"reasoning_format": "x"}, "reasoning_format"),  # a word of llama.cpp alone, which answers 500
    ({"reasoning_format": 1}, "reasoning_format"),
    ({"tools": [None]}, "tools[0]"),
    ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function"),
    ({"tools": [{"type": "function", "function": "x"}]}, "tools[0].function"),
    ({"tools": [WEATHER], "tool_choice": {"type": "function"}}, "tool_choice"),
    ({"tools": [WEATHER], "tool_choice": "sometimes"}, "tool_choice"),
    ({"functions": [{"name": "weather"}]}, "functions"),
    ({"modalities": ["text", "audio"]}, "modalities[1]"),
]


@pytest.mark.parametrize(("fields", "field"), MISTAKES, ids=lambda value: str(value)[:50])
def test_a_mistake_is_refused_by_name(smol: Installation, fields: dict[str, object], field: str) -> None:
    body = {"model": "smollm2-135m", "messages": QUESTION, "max_tokens": 2, **fields}
    status, _, told = smol.ask("POST", "/v1/chat/completions", body)
    assert (status, json.loads(told)["error"]["param"]) == (400, field), told


def test_a_chat_model_says_that_it_makes_no_embeddings(smol: Installation) -> None:
    status, _, told = smol.ask("POST", "/v1/embeddings", {"model": "smollm2-135m", "input": "x"})
    assert (status, json.loads(told)["error"]["param"]) == (400, "model")


@pytest.mark.parametrize("messages", [b"[" * 5_000 + b"]" * 5_000, b'[{"role":"user","content":"\xff"}]'])
def test_bytes_that_cannot_be_read_are_the_caller_s_mistake(smol: Installation, messages: bytes) -> None:
    status, _, told = smol.ask("POST", "/v1/chat/completions", b'{"model":"smollm2-135m","messages":%b}' % messages)
    assert (status, json.loads(told)["error"]["code"]) == (400, "invalid_json")


def test_legacy_completions_spell_their_logprobs_in_the_legacy_way(client: openai.OpenAI) -> None:
    fields = {"model": "smollm2-135m", "prompt": "Once upon", "max_tokens": 4, "logprobs": 2, "temperature": 0}
    choice = client.completions.create(**fields).choices[0]
    found = choice.logprobs
    assert found is not None
    assert "".join(found.tokens) == choice.text
    assert len(found.token_logprobs) == len(found.text_offset) == 4
    assert all(len(top) == 2 for top in found.top_logprobs)
    assert all(choice.text[at:].startswith(token) for at, token in zip(found.text_offset, found.tokens, strict=True))
    chunks = [chunk.choices[0].logprobs for chunk in client.completions.create(**fields, stream=True)]
    assert [token for chunk in chunks if chunk for token in chunk.tokens] == found.tokens
    assert [at for chunk in chunks if chunk for at in chunk.text_offset] == found.text_offset


def test_no_choice_is_made_that_no_money_was_set_aside_for(client: openai.OpenAI) -> None:
    """llama.cpp knows ``n`` by a second name."""
    answer = client.chat.completions.create(
        model="smollm2-135m", messages=QUESTION, max_tokens=4, extra_body={"n_cmpl": 4, "id_slot": 2, "lora": []}
    )
    assert len(answer.choices) == 1
    assert answer.usage.completion_tokens <= 4


def test_a_fine_tuning_job_is_queued_told_of_and_cancelled(echo: Installation) -> None:
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{echo.port}/v1", api_key=echo.key, max_retries=0)
    example = b'{"messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]}\n'
    file = client.files.create(file=("examples.jsonl", example), purpose="fine-tune")
    jobs = client.fine_tuning.jobs
    job = jobs.create(
        model=offer(echo),
        training_file=file.id,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}},
        seed=1,
    )
    assert (job.status, job.seed, job.hyperparameters.n_epochs, job.fine_tuned_model) == ("queued", 1, 2, None)
    assert jobs.retrieve(job.id) == job
    assert next(iter(jobs.list(limit=1))) == job
    assert [event.level for event in jobs.list_events(job.id)] == ["info"] * 3
    assert list(jobs.checkpoints.list(job.id)) == []
    assert jobs.cancel(job.id).status == "cancelled"
