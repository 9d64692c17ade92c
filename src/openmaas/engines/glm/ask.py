"""What a request to a classic GLM may say: the members of ``/v1/completions`` that it obeys, and those it refuses.

A member that would change the answer elsewhere and cannot here is refused by name; one that nobody knows is passed
over, as other engines do. It knows no tokens.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from openmaas.core.bounds import CHOICES_MAX, STOPS_MAX
from openmaas.core.errors import FieldInvalid
from openmaas.engines.body import check_range, decode


class StreamOptions(msgspec.Struct):
    """What a stream shall bring beside the answer."""

    include_usage: bool | None = None


class Ask(msgspec.Struct, kw_only=True):
    """A completion. ``ignore_eos`` is llama.cpp's and vLLM's: nothing but the cap ends a blank."""

    prompt: str | list[str | int | list[int]]
    suffix: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    n: int | None = None
    best_of: int | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    ignore_eos: bool | None = None
    logprobs: int | bool | None = None
    echo: bool | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, Any] | None = None

    @property
    def prompts(self) -> list[str | list[int]]:
        """One or many, whichever way they were sent."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        texts = [each for each in self.prompt if not isinstance(each, int)]
        if texts and len(texts) == len(self.prompt):
            return texts
        return [[each for each in self.prompt if isinstance(each, int)]]

    @property
    def stops(self) -> list[str]:
        """What ends a blank beside the model's own marks."""
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return [each for each in given if each]


_decoder = msgspec.json.Decoder(Ask)
_REFUSED = {
    "logprobs": "probabilities are not told by this engine",
    "echo": "the prompt is not given back; `text` stands between what is before the first blank and after the last",
    "presence_penalty": "there are no penalties on this engine",
    "frequency_penalty": "there are no penalties on this engine",
    "logit_bias": "no token can be favoured on this engine",
}


def read_ask(body: bytes) -> Ask:
    """The request in ``body``. Raises ``BodyInvalid``, or ``FieldInvalid`` that names the field and says what to do."""
    ask = decode(_decoder, body)
    for name, reason in _REFUSED.items():
        value = getattr(ask, name)
        if value or (name == "logprobs" and value is not None and value is not False):
            raise FieldInvalid(f"{name}: {reason}; leave it out", field=name)
    check_range("max_tokens", ask.max_tokens, 1)
    check_range("n", ask.n, 1, CHOICES_MAX)
    if ask.best_of is not None and ask.best_of != (ask.n or 1):
        raise FieldInvalid("best_of: this engine does not rank answers; leave it out", field="best_of")
    if len(ask.stops) > STOPS_MAX:
        raise FieldInvalid(f"stop: up to {STOPS_MAX} sequences, not {len(ask.stops)}", field="stop")
    if not ask.prompt or any(isinstance(each, int) for each in ask.prompt) != all(
        isinstance(each, int) for each in ask.prompt
    ):
        raise FieldInvalid("prompt must be a text, token ids, or a list of either, and not empty", field="prompt")
    check_range("n, times the number of prompts,", len(ask.prompts) * (ask.n or 1), 1, CHOICES_MAX)
    return ask
