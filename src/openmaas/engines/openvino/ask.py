"""What a request to OpenVINO may say, and what it means to the pipeline: how to sample, how long, by which grammar.

A member that the pipeline lacks is refused by name (``spec.LACKS``); what nobody knows is passed over, as other engines
do. It knows no tokens.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from openmaas.core.bounds import CHOICES_MAX, STOPS_MAX
from openmaas.core.errors import FieldInvalid
from openmaas.engines.body import check_range, decode, least
from openmaas.engines.spec import lacking

#: What a request means that does not say how to sample: llama.cpp's, so that a model on both kinds speaks alike.
#: https://github.com/ggml-org/llama.cpp/tree/master/tools/server, "temperature" and below
TEMPERATURE, TOP_K, TOP_P, MIN_P = 0.8, 40, 0.95, 0.05
_Penalty = Annotated[float, Meta(ge=-2, le=2)] | None


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Schema(msgspec.Struct):
    schema: dict[str, Any] | bool | None = None


class _Format(msgspec.Struct):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _Schema | None = None
    schema: dict[str, Any] | None = None  # llama.cpp's place for it


class Ask(msgspec.Struct, kw_only=True):
    """A chat or a completion. ``min_p``, ``top_k``, ``ignore_eos`` and the penalties on repeating are llama.cpp's and
    vLLM's."""

    messages: list[dict[str, Any]] = []
    prompt: str | list[str | int | list[int]] = ""
    tools: list[dict[str, Any]] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: int | None = None
    min_p: Annotated[float, Meta(ge=0, lt=1)] | None = None
    presence_penalty: _Penalty = None
    frequency_penalty: _Penalty = None
    repeat_penalty: Annotated[float, Meta(gt=0)] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0)] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    ignore_eos: bool | None = None
    logprobs: int | bool | None = None
    response_format: _Format | None = None

    @property
    def prompts(self) -> list[str | list[int]]:
        """One or many, whichever way they were sent."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if all(isinstance(each, int) for each in self.prompt):
            return [[each for each in self.prompt if isinstance(each, int)]]
        return [each for each in self.prompt if not isinstance(each, int)]

    @property
    def stops(self) -> list[str]:
        """What ends an answer beside the model's own mark."""
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return [each for each in given if each]

    @property
    def budget(self) -> int | None:
        """The most tokens of one answer that were asked for."""
        return least(self.max_tokens, self.max_completion_tokens)

    @property
    def usage(self) -> bool:
        """Whether a stream ends with its usage."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def tells(self) -> bool:
        """Whether the probability of each token is told: 0 of a completion means those and no alternatives."""
        return self.logprobs is not None and self.logprobs is not False

    @property
    def grammar(self) -> str:
        """The JSON schema that the answer keeps; empty for none."""
        form = self.response_format
        if form is None or form.type == "text":
            return ""
        schema: Any = form.schema
        if form.type == "json_schema":
            if form.json_schema is None or form.json_schema.schema is None:
                raise FieldInvalid("response_format.json_schema.schema is required", field="response_format")
            schema = form.json_schema.schema
        return msgspec.json.encode({"type": "object"} if schema is None else schema).decode()

    def sampling(self, number: int) -> dict[str, Any]:
        """How the answer ``number`` of several is sampled, by the names of ``GenerationConfig``."""
        temperature = TEMPERATURE if self.temperature is None else self.temperature
        top_p = TOP_P if self.top_p is None else self.top_p
        told: dict[str, Any] = {
            "presence_penalty": self.presence_penalty or 0.0,
            "frequency_penalty": self.frequency_penalty or 0.0,
            "repetition_penalty": self.repetition_penalty or self.repeat_penalty or 1.0,
            "ignore_eos": bool(self.ignore_eos),
            "logprobs": int(self.tells),
        }
        if not temperature or not top_p:
            return told  # the likeliest token each time
        top_k = TOP_K if self.top_k is None else self.top_k
        if top_k > 0:
            told["top_k"] = top_k
        seeded = self.seed is not None and self.seed >= 0
        return told | {
            "do_sample": True,
            "temperature": temperature,
            "top_p": top_p,
            "min_p": MIN_P if self.min_p is None else self.min_p,
            "rng_seed": self.seed + number if seeded and self.seed is not None else secrets.randbits(63),
        }


_ask = msgspec.json.Decoder(Ask)


def read_ask(members: dict[str, msgspec.Raw]) -> Ask:
    """The request of these members. Raises ``FieldInvalid`` that names the field and says what to do."""
    body = msgspec.json.encode(members)
    ask = decode(_ask, body)
    if lacked := lacking("openvino", msgspec.json.decode(body)):
        said = f"{lacked}: engines of kind openvino do not have it; leave it out, or deploy the model on llama as well"
        raise FieldInvalid(said, field=lacked)
    check_range("max_tokens", ask.max_tokens, 1)
    check_range("max_completion_tokens", ask.max_completion_tokens, 1)
    check_range("n", ask.n, 1, CHOICES_MAX)
    if len(ask.stops) > STOPS_MAX:
        raise FieldInvalid(f"stop: up to {STOPS_MAX} sequences, not {len(ask.stops)}", field="stop")
    if not ask.messages:
        if any(isinstance(each, int) for each in ask.prompt) and not all(isinstance(each, int) for each in ask.prompt):
            raise FieldInvalid("prompt must be a text, token ids, or a list of either", field="prompt")
        check_range("n, times the number of prompts,", len(ask.prompts) * (ask.n or 1), 1, CHOICES_MAX)
    return ask
