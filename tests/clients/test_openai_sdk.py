"""The real OpenAI SDK, unchanged, against the real embedded model."""

from __future__ import annotations

import asyncio
import calendar
import json
import time
from decimal import Decimal

import openai
import pytest

from installation import Installation

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
        model="smollm2-135m", messages=QUESTION, max_tokens=6, n=2, logprobs=True, top_logprobs=2, stop=["zzz"]
    )
    assert len(answer.choices) == 2
    tokens = sum(len(choice.logprobs.content) for choice in answer.choices)
    assert answer.usage.completion_tokens == tokens == 12


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
    one = client.completions.create(model="smollm2-135m", prompt="The sky is", max_tokens=4)
    two = client.completions.create(model="smollm2-135m", prompt=["The sky is", "The sky is"], max_tokens=4)
    assert len(two.choices) == 2
    assert two.usage.completion_tokens == 2 * one.usage.completion_tokens
    assert two.usage.prompt_tokens == 2 * one.usage.prompt_tokens


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
    left_ms = time.time() * 1000
    stream.close()
    receipt = smol.receipt(raw.headers["x-request-id"], "posted")
    assert receipt["outcome"] == "client_closed"
    assert not receipt["estimated"]
    assert 8 <= receipt["completion_tokens"] < 200
    closed = time.strptime(receipt["closed_at"][:19], "%Y-%m-%dT%H:%M:%S")
    assert abs(left_ms / 1000 - calendar.timegm(closed)) < 2
    ready = json.loads(smol.ask("GET", "/readyz")[2])
    assert ready["models"]["smollm2-135m"]["replicas"][0]["running"] == 0
