"""The shipped fake: known tokens at a set pace, and every way an engine can break, on cue.

It computes nothing. Tests and benchmarks put it where a model would stand: it answers ``tok0 tok1 …`` and counts the
words of the prompt. A cue is ``key=value,key=value`` from the spec's options, the field ``user`` (behind ``echo:``) and
the header ``x-echo``, the later ones winning. ``cues.py`` lists the keys.
"""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from typing import Any

import msgspec

from openmaas.core.clock import Clock
from openmaas.core.errors import FieldInvalid, Internal
from openmaas.engines.answer import Answer, attend
from openmaas.engines.body import check_range, decode, least
from openmaas.engines.cues import Cue, read_cue, read_options
from openmaas.engines.echoed import Echoed, Shape
from openmaas.engines.meter import Meter
from openmaas.engines.spec import EngineSpec
from openmaas.engines.wire import Exchange, error_body

CHOICES_MAX = 128  #: as OpenAI's n
VECTOR_LENGTH = 8
_OTHER_SPACES = "\n\t\r\f\v\x1c\x1d\x1e\x1f"


class _Message(msgspec.Struct):
    content: str | list[dict[str, Any]] | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool = False


class _Ask(msgspec.Struct):
    messages: list[_Message] = []
    prompt: str | list[Any] = ""
    input: str | list[Any] = ""
    stream: bool | None = False
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = 1
    user: str | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    encoding_format: str | None = None


_decoder = msgspec.json.Decoder(_Ask)


def words(text: str) -> int:
    """``len(text.split())``, much faster for long plain text."""
    if text.isascii() and "  " not in text and not any(space in text for space in _OTHER_SPACES):
        text = text.strip()
        return text.count(" ") + 1 if text else 0
    return len(text.split())


def prompt_words(ask: _Ask) -> int:
    """The prompt tokens of a request: its words, or its numbers where it came as token ids."""
    total = sum(_words_of(message.content) for message in ask.messages)
    return total + _words_of(ask.prompt) + _words_of(ask.input)


def _words_of(part: Any) -> int:
    if isinstance(part, str):
        return words(part)
    if isinstance(part, dict):
        return _words_of(part.get("text"))
    if isinstance(part, list):
        return sum(_words_of(inner) for inner in part)
    return 1 if isinstance(part, int) else 0


class Echo:
    """The engine of kind ``echo``."""

    def __init__(self, spec: EngineSpec, meter: Meter, clock: Clock) -> None:
        self.model = spec.model
        self.ready = False
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
        attend(exchange, self._meter, self.model, self._work)

    def _work(self, answer: Answer, exchange: Exchange) -> None:
        ask = decode(_decoder, exchange.body)
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
            Echoed(answer, exchange, self._shape(ask, exchange, cue)).begin()

    def _shape(self, ask: _Ask, exchange: Exchange, cue: Cue) -> Shape:
        chat = exchange.path == "/v1/chat/completions"
        tool = _forced_tool(ask) if chat else None
        asked = least(ask.max_tokens, ask.max_completion_tokens)
        whole = 1 if tool else cue.reasoning + cue.tokens
        steps = whole if asked is None else min(whole, asked)
        return Shape(
            head=b'{"id":"echo-%b","created":%d,"model":%b,"object":'
            % (exchange.request_id.encode(), self._clock.wall_ms() // 1000, self._model_json),
            cue=cue,
            chat=chat,
            choices=ask.n or 1,
            stream=bool(ask.stream),
            usage=bool(ask.stream_options and ask.stream_options.include_usage) and not cue.no_usage,
            tool=tool,
            steps=steps,
            finish="tool_calls" if tool else "length" if steps < whole else "stop",
        )

    def _embed(self, ask: _Ask) -> bytes:
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


def _forced_tool(ask: _Ask) -> str | None:
    if not ask.tools or ask.tool_choice in (None, "none", "auto"):
        return None
    chosen = ask.tool_choice if isinstance(ask.tool_choice, dict) else ask.tools[0]
    function = chosen.get("function")
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str):
        raise FieldInvalid("tool_choice must name a function of tools", field="tool_choice")
    return name


def unit_vector(thing: object) -> list[float]:
    """A vector of length 1 that depends on ``thing`` alone."""
    digest = hashlib.blake2b(repr(thing).encode(), digest_size=4 * VECTOR_LENGTH).digest()
    raw = [number / 2**31 - 1 for number in struct.unpack(f"<{VECTOR_LENGTH}I", digest)]
    length = math.sqrt(sum(value * value for value in raw)) or 1.0
    return [value / length for value in raw]


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
