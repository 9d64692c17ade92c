"""The Responses API through OpenAI's own SDK, unchanged: a scripted model for what must be exact, the embedded one for
what must be real."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import openai
import pydantic
import pytest
from openai.types.responses import Response

from installation import Installation
from official import faults
from scripted import DONE, THOUGHT, Model

MODEL = "smollm2-135m"
TASK = "Change hello to goodbye in /tmp/greeting.txt"
TOOLS: list[Any] = [
    {"type": "function", "name": name, "parameters": {"type": "object", "properties": {}}, "strict": False}
    for name in ("Read", "Edit")
]


class Person(pydantic.BaseModel):
    name: str
    age: int


@pytest.fixture
def client(smol: Installation) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"http://127.0.0.1:{smol.port}/v1", api_key=smol.key, max_retries=0)


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    """A house whose model plays a script."""
    model, house = Model(), Installation(tmp_path_factory.mktemp("sdk") / "data")
    house.start()
    house.ready()
    model.offered(house, "coder")
    yield openai.OpenAI(base_url=f"http://127.0.0.1:{house.port}/v1", api_key=house.key, max_retries=0)
    house.end()
    model.end()


def check(response: Response) -> None:
    """It is as OpenAI's document says."""
    assert not faults("openai", "Response", response.model_dump(mode="json", exclude_unset=True))


def test_a_real_model_answers_and_is_counted(client: openai.OpenAI) -> None:
    response = client.responses.create(model=MODEL, input="What is the capital of France?", max_output_tokens=24)
    assert response.output_text
    assert response.usage is not None
    assert response.usage.output_tokens <= 24
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    check(response)


def test_a_stream_adds_up_to_the_same(client: openai.OpenAI) -> None:
    asked = {"input": "Answer with one word: yes or no?", "max_output_tokens": 400, "temperature": 0}
    with client.responses.stream(
        model=MODEL, **asked
    ) as stream:  # it must end by itself: the SDK waits for `completed`
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        response = stream.get_final_response()
    assert "".join(deltas) == response.output_text != ""
    check(response)


def test_many_at_once(smol: Installation) -> None:
    async def run() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{smol.port}/v1", api_key=smol.key) as client:

            async def ask(number: int) -> str:
                return (
                    await client.responses.create(model=MODEL, input=f"Say {number}", max_output_tokens=8)
                ).output_text

            return await asyncio.gather(*map(ask, range(4)))

    assert all(asyncio.run(run()))


def test_structured_output_is_parsed(client: openai.OpenAI) -> None:
    response = client.responses.parse(
        model=MODEL, input="Alice is 31 years old.", text_format=Person, max_output_tokens=60, temperature=0
    )
    assert isinstance(response.output_parsed, Person)


def test_a_demanded_function_is_called(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool: Any = {"type": "function", "name": "weather", "parameters": {**schema, "additionalProperties": False}}
    response = client.responses.create(
        model=MODEL,
        input="Weather in Paris?",
        tools=[{**tool, "strict": True}],
        tool_choice="required",
        max_output_tokens=80,
        temperature=0,
    )
    (call,) = [item for item in response.output if item.type == "function_call"]
    assert "city" in json.loads(call.arguments)


@pytest.mark.parametrize("stateless", [True, False])
def test_a_tool_loop_with_thoughts(scripted: openai.OpenAI, stateless: bool) -> None:
    """Stateless: the client brings back what it got; else the house remembers."""
    told: list[Any] = [{"role": "user", "content": TASK}]
    fields: dict[str, Any] = {
        "model": "coder",
        "tools": TOOLS,
        "reasoning": {"summary": "auto"},
        "store": not stateless,
    }
    if stateless:
        fields["include"] = ["reasoning.encrypted_content"]
    response = scripted.responses.create(input=told, **fields)
    names = []
    while calls := [item for item in response.output if item.type == "function_call"]:
        names += [call.name for call in calls]
        check(response)
        results = [{"type": "function_call_output", "call_id": call.call_id, "output": "ok"} for call in calls]
        if stateless:
            told += [*response.output, *results]
            response = scripted.responses.create(input=told, **fields)
        else:
            response = scripted.responses.create(input=results, previous_response_id=response.id, **fields)
    assert names == ["Read", "Edit"]
    assert response.output_text.endswith(DONE)


def test_a_streamed_thought_and_call_are_what_the_sdk_puts_together(scripted: openai.OpenAI) -> None:
    for summary in ({"summary": "auto"}, {}):
        fields: Any = {"model": "coder", "input": TASK, "tools": TOOLS, "reasoning": summary}
        with scripted.responses.stream(**fields) as stream:
            events = list(stream)
            response = stream.get_final_response()
        assert [item.type for item in response.output] == ["reasoning", "message", "function_call"]
        thought = response.output[0]
        assert thought.type == "reasoning"
        parts = thought.summary if summary else thought.content
        assert parts is not None
        assert parts[0].text == THOUGHT
        kind = "response.reasoning_summary_text.delta" if summary else "response.reasoning_text.delta"
        assert "".join(getattr(event, "delta", "") for event in events if event.type == kind) == THOUGHT
        check(response)


def test_what_is_kept_is_found_listed_and_deleted(scripted: openai.OpenAI) -> None:
    response = scripted.responses.create(model="coder", input="Hello", store=True, metadata={"a": "b"})
    assert scripted.responses.retrieve(response.id) == response
    (item,) = scripted.responses.input_items.list(response.id).data
    assert item.type == "message"
    assert scripted.responses.input_tokens.count(model="coder", input="Hello").input_tokens > 0
    scripted.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError):
        scripted.responses.retrieve(response.id)
    with pytest.raises(openai.BadRequestError, match="not kept here"):
        scripted.responses.create(model="coder", input="x", previous_response_id=response.id)


def test_mistakes_are_the_sdk_s_own_kinds(scripted: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        scripted.responses.create(model="nope", input="x")
    with pytest.raises(openai.BadRequestError, match="code_interpreter"):
        scripted.responses.create(
            model="coder", input="x", tools=[{"type": "code_interpreter", "container": {"type": "auto"}}]
        )
    with pytest.raises(openai.BadRequestError, match="background"):
        scripted.responses.create(model="coder", input="x", background=True)
