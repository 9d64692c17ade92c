"""The shipped fake: known tokens at a set pace, and every way an engine can break, on cue.

It computes nothing. Tests and benchmarks put it where a model would stand: it answers ``tok0 tok1 …`` and counts the
words of the prompt. A cue is ``key=value,key=value`` from the spec's options, the field ``user`` (behind ``echo:``) and
the header ``x-echo``, the later ones winning. ``cues.py`` lists the keys.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import math
import os
import struct
from typing import Any

import msgspec

from openmaas.core.clock import Clock
from openmaas.core.errors import FieldInvalid, Internal
from openmaas.engines.answer import Answer, attend
from openmaas.engines.body import check_range, decode, least
from openmaas.engines.cues import Cue, read_cue, read_options
from openmaas.engines.meter import Meter
from openmaas.engines.spec import EngineSpec
from openmaas.engines.wire import Exchange, error_body

CHOICES_MAX = 128  #: as OpenAI's n
VECTOR_LENGTH = 8
FLUSH_S = 0.05  #: what was written has left the process before it dies on cue
STALL_KEPT_S = 5.0  #: a stalled connection whose caller has left is dropped after this
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
            head = b'"created":%d,"model":%b' % (self._clock.wall_ms() // 1000, self._model_json)
            _Run(answer, exchange, ask, cue, head).begin()

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


def unit_vector(thing: object) -> list[float]:
    """A vector of length 1 that depends on ``thing`` alone."""
    digest = hashlib.blake2b(repr(thing).encode(), digest_size=4 * VECTOR_LENGTH).digest()
    raw = [number / 2**31 - 1 for number in struct.unpack(f"<{VECTOR_LENGTH}I", digest)]
    length = math.sqrt(sum(value * value for value in raw)) or 1.0
    return [value / length for value in raw]


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


class _Run:
    """One answer on its way: a step is one token of every choice."""

    def __init__(self, answer: Answer, exchange: Exchange, ask: _Ask, cue: Cue, head: bytes) -> None:
        self._answer = answer
        self._exchange = exchange
        self._cue = cue
        self._chat = exchange.path == "/v1/chat/completions"
        self._choices = ask.n or 1
        self._stream = bool(ask.stream)
        self._usage = bool(ask.stream_options and ask.stream_options.include_usage) and not cue.no_usage
        self._tool = _forced_tool(ask) if self._chat else None
        asked = least(ask.max_tokens, ask.max_completion_tokens)
        whole = 1 if self._tool else cue.reasoning + cue.tokens
        self._steps = whole if asked is None else min(whole, asked)
        self._finish = b"tool_calls" if self._tool else b"length" if self._steps < whole else b"stop"
        kind = b"chat.completion" if self._chat else b"text_completion"
        if self._stream and self._chat:
            kind += b".chunk"
        self._head = b'{"id":"echo-%b","object":"%b",%b}' % (exchange.request_id.encode(), kind, head)
        self._step = 0
        self._batch: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._waiting = False
        self._stalled = False

    def begin(self) -> None:
        """Start now, or after the cued wait."""
        self._exchange.work = self
        loop = asyncio.get_running_loop()
        self._began = loop.time() + self._cue.wait_ms / 1000
        if self._cue.wait_ms:
            self._timer = loop.call_at(self._began, self._pump)
        else:
            self._pump()

    # ── told by the wire ──────────────────────────────────────────────────────────────────────────────────────
    def cancel(self) -> None:
        """Stop; a stalled run keeps silent even now, as a hung engine would."""
        self._stop()
        if self._stalled:
            self._answer.settle("cancelled")
            asyncio.get_running_loop().call_later(STALL_KEPT_S, self._exchange.cut)
            return
        self._flush()
        self._answer.cancelled(stream=self._stream)

    def lost(self) -> None:
        """Stop and keep the counts."""
        self._stop()
        self._answer.settle("cancelled")

    def pause(self) -> None:
        """The pump looks at ``exchange.paused`` itself."""

    def resume(self) -> None:
        """Go on if the pump had stopped for a slow reader."""
        if self._waiting:
            self._waiting = False
            self._pump()

    def _stop(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._waiting = False

    # ── the pump ──────────────────────────────────────────────────────────────────────────────────────────────
    def _pump(self) -> None:
        pace_s = self._cue.pace_ms / 1000
        while self._step < self._steps:
            if self._exchange.paused:
                self._waiting = True
                return
            if self._breaks():
                return
            if self._stream:
                self._batch.extend(self._event(choice) for choice in range(self._choices))
            self._step += 1
            self._count()
            if len(self._batch) >= self._cue.coalesce or pace_s:
                self._flush()
            if pace_s:
                due = self._began + self._step * pace_s
                self._timer = asyncio.get_running_loop().call_at(due, self._pump)
                return
        if not self._breaks():
            self._end()

    def _breaks(self) -> bool:
        cue = self._cue
        if self._step not in (cue.cut_after, cue.stall_after, cue.die):
            return False
        self._flush()
        if self._step == cue.stall_after:
            self._stalled = True
        elif self._step == cue.cut_after:
            self._answer.cut()
        else:
            asyncio.get_running_loop().call_later(FLUSH_S, os._exit, 1)
        return True

    def _count(self) -> None:
        self._answer.completion = self._step * self._choices
        self._answer.reasoning = min(self._step, self._cue.reasoning) * self._choices

    def _flush(self) -> None:
        if self._batch:
            self._answer.events(self._batch)
            self._batch = []

    def _event(self, choice: int) -> bytes:
        word, last = self._text(self._step), self._step + 1 == self._steps
        finish = b'"%b"' % self._finish if last else b"null"
        if not self._chat:
            return b'%b,"choices":[{"index":%d,"text":"%b","finish_reason":%b}]}' % (
                self._head[:-1],
                choice,
                word,
                finish,
            )
        if self._tool:
            delta = b'"tool_calls":[%b]' % _call(self._tool, self._exchange.request_id, index=b'"index":0,')
        elif self._step < self._cue.reasoning:
            delta = b'"reasoning_content":"%b"' % word
        else:
            delta = b'"content":"%b"' % word
        role = b'"role":"assistant",' if self._step == 0 else b""
        return b'%b,"choices":[{"index":%d,"delta":{%b%b},"finish_reason":%b}]}' % (
            self._head[:-1],
            choice,
            role,
            delta,
            finish,
        )

    def _end(self) -> None:
        self._flush()
        if self._stream:
            self._answer.finish_stream(self._head if self._usage else None)
            return
        choices = b",".join(self._choice(choice) for choice in range(self._choices))
        body = b'%b,"choices":[%b]}' % (self._head[:-1], choices)
        if self._cue.no_usage:
            self._answer.settle("done")
            self._exchange.answer(200, body)
        else:
            self._answer.finish_plain(body)

    def _choice(self, choice: int) -> bytes:
        reasoning = self._cue.reasoning
        words = [self._text(step) for step in range(self._steps)]
        text = b"".join(words[reasoning:])
        if not self._chat:
            return b'{"index":%d,"text":"%b","finish_reason":"%b"}' % (choice, text, self._finish)
        message = b'"content":"%b"' % text
        if self._tool:
            message = b'"content":null,"tool_calls":[%b]' % _call(self._tool, self._exchange.request_id, index=b"")
        elif reasoning:
            message += b',"reasoning_content":"%b"' % b"".join(words[:reasoning])
        return b'{"index":%d,"message":{"role":"assistant",%b},"finish_reason":"%b"}' % (choice, message, self._finish)

    def _text(self, step: int) -> bytes:
        if step < self._cue.reasoning:
            return b"think%d " % step
        word = b"tok%d " % (step - self._cue.reasoning)
        return word + b"x" * max(self._cue.big - len(word), 0)


def _forced_tool(ask: _Ask) -> bytes | None:
    """The JSON name of the tool that the caller demands."""
    if not ask.tools or ask.tool_choice in (None, "auto", "none"):
        return None
    wanted = ask.tool_choice if isinstance(ask.tool_choice, dict) else ask.tools[0]
    return msgspec.json.encode(str(wanted.get("function", {}).get("name", "")))


def _call(name: bytes, request_id: str, *, index: bytes) -> bytes:
    return b'{%b"id":"call_%b","type":"function","function":{"name":%b,"arguments":"{}"}}' % (
        index,
        request_id.encode(),
        name,
    )
