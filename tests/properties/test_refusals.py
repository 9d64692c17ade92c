"""What an engine's refusal means, in whatever words it comes."""

from __future__ import annotations

import json

import pytest

from openmaas.core.clock import Clock
from openmaas.core.errors import (
    ContextExceeded,
    EngineFailed,
    EngineRefused,
    FieldInvalid,
    InsufficientFunds,
    ModelUnknown,
    OpenmaasError,
    Overloaded,
)
from openmaas.dialects.openai.errors import engine_error, render
from openmaas.dialects.zhipu import errors as zhipu
from openmaas.house.pages import all_errors
from openmaas.work.asking import NOBODY, Told
from openmaas.work.refusals import refusal_of

#: What engines say to a prompt that is too long, and the counts in it: prompt, context, output.
TOO_LONG = {
    "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4900 in the messages, "
    "100 in the completion). Please reduce the length of the messages or completion.": (4900, 4096, 0),
    "This model's maximum context length is 4096 tokens. However, you requested 4500 tokens (4000 in the messages, "
    "500 in the completion). Please reduce the length of the messages or completion.": (4000, 4096, 500),
    "'max_tokens' or 'max_completion_tokens' is too large: 32000. This model's maximum context length is 8192 tokens "
    "and your request has 2000 input tokens (32000 > 8192 - 2000).": (2000, 8192, 32000),
    "This model's maximum context length is 4096 tokens. However, your request has 5000 input tokens.": (5000, 4096, 0),
    "The input (5000 tokens) is longer than the model's context length (4096 tokens).": (5000, 4096, 0),
    "Requested token count exceeds the model's maximum context length of 4096 tokens. You requested a total of 5000 "
    "tokens: 4900 tokens from the input messages and 100 tokens for the completion.": (5000, 4096, 0),
    "request (5031 tokens) exceeds the available context size (2048 tokens), try increasing it": (5031, 2048, 0),
    "prompt is too long: 250000 tokens > 200000 maximum": (250_000, 200_000, 0),
    "The context window is full.": (0, 0, 0),
}


def refusal(**error: object) -> bytes:
    return json.dumps({"error": error}).encode()


@pytest.mark.parametrize("said", TOO_LONG, ids=range(len(TOO_LONG)))
def test_a_prompt_that_is_too_long_is_known_with_its_counts(said: str) -> None:
    found = engine_error(400, refusal(message=said, type="BadRequestError", code=400))
    assert isinstance(found, ContextExceeded)
    assert (found.prompt_tokens, found.context_tokens, found.output_tokens) == TOO_LONG[said]


def test_our_own_engines_and_zhipu_say_it_by_a_code() -> None:
    ours = engine_error(
        400, refusal(message="x", code="context_length_exceeded", prompt_tokens=300, context_tokens=200)
    )
    assert isinstance(ours, ContextExceeded)
    assert (ours.prompt_tokens, ours.context_tokens) == (300, 200)
    assert isinstance(engine_error(400, refusal(message="Prompt 超长", code="1261")), ContextExceeded)


def test_other_refusals_stay_what_they_are() -> None:
    assert type(engine_error(400, refusal(message="no such role", code=400))) is EngineRefused
    assert type(engine_error(400, refusal(message="n", code="invalid_field", param="n"))) is FieldInvalid
    assert type(engine_error(429, b"")) is Overloaded
    assert type(engine_error(500, b"maximum context length is 10")) is EngineFailed


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_what_a_relay_refused_comes_out_with_its_code_field_and_words(kind: type[OpenmaasError]) -> None:
    for detail in ("because", ""):
        error = kind(detail)
        error.field = "model"
        status, _, body = render(error)
        found = refusal_of(Told(status, {b"retry-after": b"7"}, body))
        assert (found.code, found.field, found.retry_after_s) == (kind.code, "model", 7)
        assert detail in found.detail


def test_what_a_relay_refused_in_zhipu_s_numbers_is_said_once() -> None:
    for sent, kind in ((ModelUnknown("no x", field="model"), ModelUnknown), (InsufficientFunds(), InsufficientFunds)):
        status, _, body = zhipu.render(sent, "", Clock())
        found = refusal_of(Told(status, {}, body))
        assert type(found) is kind
        assert zhipu.told(found, "", Clock()) == zhipu.told(sent, "", Clock())
    assert type(refusal_of(NOBODY)) is Overloaded
    assert type(refusal_of(Told(502, {}, b"no JSON"))) is EngineFailed
