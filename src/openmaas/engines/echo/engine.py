"""The shipped fake: known tokens at a set pace, and every way an engine can break, on cue.

It computes nothing. Tests and benchmarks put it where a model would stand: it answers ``tok0 tok1 …`` and counts the
words of the prompt. A cue is ``key=value,key=value`` from the spec's options, the field ``user`` (behind ``echo:``) and
the header ``x-echo``, the later ones winning. ``cues.py`` lists the keys; ``run.py`` is one answer on its way.
"""

from __future__ import annotations

import base64
import hashlib
import math
import struct

import msgspec

from openmaas.core.bounds import CHOICES_MAX
from openmaas.core.clock import Clock
from openmaas.core.errors import FieldInvalid, Internal, OpenmaasError
from openmaas.engines.answer import Answer, attend
from openmaas.engines.body import check_range
from openmaas.engines.echo.ask import Ask, prompt_words, read_ask
from openmaas.engines.echo.cues import read_cue, read_options
from openmaas.engines.echo.run import Run
from openmaas.engines.meter import Meter
from openmaas.engines.server import GENERATING, TOKENIZE
from openmaas.engines.spec import EngineSpec
from openmaas.engines.wire import Exchange, error_body

VECTOR_LENGTH = 8


class Echo:
    """The engine of kind ``echo``."""

    def __init__(self, spec: EngineSpec, meter: Meter, clock: Clock) -> None:
        self.model = spec.model
        self.ready = False
        self._context = spec.context
        self._meter = meter
        self._clock = clock
        self._defaults = read_options(spec.options)
        self._model_json = msgspec.json.encode(spec.model)

    async def start(self) -> None:
        """There is nothing to load."""
        self.ready = True

    def stop(self) -> None:
        """There is nothing to give back."""

    def post(self, exchange: Exchange) -> None:
        """Answer one request as cued."""
        if exchange.path == TOKENIZE:
            self._tokenize(exchange)
            return
        attend(exchange, self._meter, self.model, self._work)

    def _work(self, answer: Answer, exchange: Exchange) -> None:
        if exchange.path not in GENERATING and exchange.path != "/v1/embeddings":
            raise FieldInvalid(f"the model {self.model} neither searches nor moderates", field="model")
        ask = read_ask(exchange.body, chat=exchange.path == "/v1/chat/completions")
        cue = self._defaults
        if exchange.cue or (ask.user and ask.user.startswith("echo:")):
            cue = read_cue(cue, ask.user or "", exchange.cue)
        answer.prompt = prompt_words(ask)
        answer.cached = min(cue.cached, answer.prompt)
        if cue.status:
            answer.prompt = answer.cached = 0
            answer.broken(cue.status, error_body(Internal(f"status {cue.status} on cue")))
        elif exchange.path == "/v1/embeddings":
            answer.finish_plain(self._embed(ask))
        else:
            check_range("max_tokens", ask.max_tokens, 1)
            check_range("max_completion_tokens", ask.max_completion_tokens, 1)
            check_range("n", ask.n, 1, CHOICES_MAX)
            head = b'"created":%d,"model":%b' % (self._clock.wall_ms() // 1000, self._model_json)
            Run(answer, exchange, ask, cue, head).begin()

    def _tokenize(self, exchange: Exchange) -> None:
        try:
            ask = read_ask(exchange.body, chat=b'"messages"' in exchange.body)
        except OpenmaasError as error:
            exchange.refuse(error)
            return
        told = {"count": prompt_words(ask), "max_model_len": self._context}
        exchange.answer(200, msgspec.json.encode(told))

    def _embed(self, ask: Ask) -> bytes:
        if not ask.input:
            raise FieldInvalid("input must be a string or a list", field="input")
        inputs = [ask.input] if isinstance(ask.input, str) else ask.input
        if isinstance(inputs[0], int):
            inputs = [inputs]
        plain = ask.encoding_format != "base64"
        rows = [
            {"object": "embedding", "index": index, "embedding": vector if plain else _base64(vector)}
            for index, vector in enumerate(map(unit_vector, inputs))
        ]
        return msgspec.json.encode({"object": "list", "data": rows, "model": self.model})


def unit_vector(thing: object) -> list[float]:
    """A vector of length 1 that depends on ``thing`` alone."""
    digest = hashlib.blake2b(repr(thing).encode(), digest_size=4 * VECTOR_LENGTH).digest()
    raw = [number / 2**31 - 1 for number in struct.unpack(f"<{VECTOR_LENGTH}I", digest)]
    length = math.sqrt(sum(value * value for value in raw)) or 1.0
    return [value / length for value in raw]


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
