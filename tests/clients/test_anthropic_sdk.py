"""The real Anthropic SDK, unchanged, against the real embedded model and the shipped fake."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import pytest

from installation import Installation

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}}, "required": ["city"]}
#: Newer SDKs have no word of their own for it.
COLD = {"temperature": 0}
WEATHER = {"name": "weather", "description": "The weather of a city", "input_schema": SCHEMA}


Connect = Callable[..., anthropic.Anthropic]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes clients of a house, which are closed when the test is done."""
    made: list[anthropic.Anthropic] = []

    def one(house: Installation, key: str = "", base: str = "/api/anthropic", **options: Any) -> anthropic.Anthropic:
        url = f"http://127.0.0.1:{house.port}{base}"
        made.append(anthropic.Anthropic(base_url=url, api_key=key or house.key, **{"max_retries": 0, **options}))
        return made[-1]

    yield one
    for client in made:
        client.close()


@pytest.fixture
def client(smol: Installation, connect: Connect) -> anthropic.Anthropic:
    return connect(smol)


def create(client: anthropic.Anthropic, **fields: Any) -> Any:
    return client.messages.create(**{"model": "smollm2-135m", "max_tokens": 24, "messages": QUESTION, **fields})


def test_a_message_is_answered_and_counted(client: anthropic.Anthropic) -> None:
    message = create(client, system="Be brief.", extra_body=COLD, stop_sequences=["zzz"])
    assert message.content[0].text
    assert 0 < message.usage.output_tokens <= 24
    assert message._request_id == message.id.replace("msg_", "req_")


def test_a_stream_gathers_the_same_message(client: anthropic.Anthropic) -> None:
    fields: dict[str, Any] = {"model": "smollm2-135m", "max_tokens": 24, "messages": QUESTION, "extra_body": COLD}
    whole = client.messages.create(**fields)
    with client.messages.stream(**fields) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == final.content[0].text == whole.content[0].text
    assert final.usage.output_tokens == whole.usage.output_tokens
    sums = [each.usage.input_tokens + (each.usage.cache_read_input_tokens or 0) for each in (final, whole)]
    assert sums[0] == sums[1] > 0
    assert final.usage.cache_read_input_tokens


def test_async_requests_run_side_by_side(smol: Installation) -> None:
    async def run() -> list[int]:
        base = f"http://127.0.0.1:{smol.port}/api/anthropic"
        async with anthropic.AsyncAnthropic(base_url=base, api_key=smol.key) as client:

            async def ask(number: int) -> int:
                asked: Any = [{"role": "user", "content": f"Say {number}"}]
                async with client.messages.stream(model="smollm2-135m", max_tokens=8, messages=asked) as stream:
                    return (await stream.get_final_message()).usage.output_tokens

            return await asyncio.gather(*map(ask, range(6)))

    assert all(0 < count <= 8 for count in asyncio.run(run()))


def test_a_tool_is_called_and_its_result_goes_back(client: anthropic.Anthropic) -> None:
    asked: list[Any] = [{"role": "user", "content": "Weather in Paris?"}]
    fields: dict[str, Any] = {"tools": [WEATHER], "max_tokens": 80, "extra_body": COLD}
    message = create(client, messages=asked, tool_choice={"type": "tool", "name": "weather"}, **fields)
    (block,) = message.content
    assert (message.stop_reason, block.type, "city" in block.input) == ("tool_use", "tool_use", True)
    result = {"type": "tool_result", "tool_use_id": block.id, "content": [{"type": "text", "text": "Sunny."}]}
    asked += [{"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
    assert create(client, messages=asked, **fields).content


def test_a_tool_is_called_in_a_stream(smol: Installation, connect: Connect) -> None:
    fields: dict[str, Any] = {"tools": [WEATHER], "tool_choice": {"type": "any"}, "max_tokens": 80, "extra_body": COLD}
    with connect(smol).messages.stream(model="smollm2-135m", messages=QUESTION, **fields) as stream:
        final = stream.get_final_message()
    assert (final.stop_reason, final.content[0].type) == ("tool_use", "tool_use")


def test_structured_output_keeps_the_schema(client: anthropic.Anthropic) -> None:
    person = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "maximum": 99}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    config = {"format": {"type": "json_schema", "schema": person}}
    message = create(client, output_config=config, max_tokens=60, extra_body=COLD)
    assert set(json.loads(message.content[0].text)) == {"name", "age"}


def test_thinking_goes_round_with_its_signature(echo: Installation, connect: Connect) -> None:
    client = connect(echo)
    fields: dict[str, Any] = {
        "model": "echo",
        "max_tokens": 2000,
        "thinking": {"type": "adaptive"},
        "metadata": {"user_id": "echo:tokens=2,reasoning=3"},
    }
    with client.messages.stream(messages=QUESTION, **fields) as stream:
        message = stream.get_final_message()
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.content[0].signature
    again: Any = [*QUESTION, {"role": "assistant", "content": message.content}, *QUESTION]
    assert client.messages.create(messages=again, **fields).content


def test_tokens_are_counted_before_they_are_paid(client: anthropic.Anthropic) -> None:
    counted = client.messages.count_tokens(model="smollm2-135m", messages=QUESTION, system="Be brief.")
    usage = create(client, system="Be brief.", max_tokens=1).usage
    assert counted.input_tokens == usage.input_tokens + usage.cache_read_input_tokens


def test_models_are_listed_page_by_page(echo: Installation, connect: Connect) -> None:
    client = connect(echo)
    assert "echo" in [model.id for model in client.models.list(limit=1)]
    assert client.models.retrieve("Echo").max_input_tokens == 131072


def test_errors_are_the_sdk_s_own_kinds(client: anthropic.Anthropic, smol: Installation, connect: Connect) -> None:
    with pytest.raises(anthropic.NotFoundError) as found:
        create(client, model="nope")
    assert found.value.request_id
    with pytest.raises(anthropic.BadRequestError, match=r"prompt is too long: \d+ tokens > 8192 maximum"):
        create(client, messages=[{"role": "user", "content": "word " * 9000}])
    with pytest.raises(anthropic.AuthenticationError):
        create(connect(smol, "a.b"))
    _, poor = smol.organisation("0.0000001")
    with pytest.raises(anthropic.APIStatusError) as refused:
        create(connect(smol, poor, max_retries=5))  # that would take seconds: it is told that there is no use
    assert refused.value.status_code == 402


def test_an_error_in_mid_stream_is_raised(echo: Installation, connect: Connect) -> None:
    fields: dict[str, Any] = {"model": "echo", "max_tokens": 50, "messages": QUESTION}
    cue = {"user_id": "echo:tokens=50,cut_after=5"}
    with (
        pytest.raises(anthropic.APIStatusError, match="failed"),
        connect(echo).messages.stream(**fields, metadata=cue) as stream,
    ):
        stream.get_final_message()


def test_the_key_is_taken_by_either_name(echo: Installation, connect: Connect) -> None:
    headers = {"x-api-key": echo.key, "authorization": anthropic.Omit()}
    for client in (connect(echo, base=""), connect(echo, base="", default_headers=headers)):
        assert client.messages.create(model="echo", max_tokens=4, messages=QUESTION).content
