"""One answer of the echo engine on its way: the pump, its pace, and the ways it breaks off.

A step is one token of every choice. It knows the shapes of the OpenAI wire's answers; ``engine.py`` begins it, and the
wire tells it what becomes of its caller.
"""

from __future__ import annotations

import asyncio
import os

import msgspec

from openmaas.core.bounds import ECHO_FLUSH_S, ECHO_STALL_KEPT_S
from openmaas.core.errors import FieldInvalid
from openmaas.engines.answer import Answer
from openmaas.engines.body import least
from openmaas.engines.echo.ask import Ask
from openmaas.engines.echo.cues import Cue
from openmaas.engines.wire import Exchange


class Run:
    """One answer on its way: a step is one token of every choice."""

    def __init__(self, answer: Answer, exchange: Exchange, ask: Ask, cue: Cue, head: bytes) -> None:
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
        self._last_word: bytes | None = None  # what a stop sequence leaves of it …
        self._stopped_by = b""  # … and which it was, told as vLLM tells it
        if ask.stop and not self._tool:
            self._stop_at([ask.stop] if isinstance(ask.stop, str) else ask.stop)
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

    def _stop_at(self, sequences: list[str]) -> None:
        """End at the first stop sequence: its token is made and counted, and not shown."""
        words = [self._text(step) for step in range(self._cue.reasoning, self._steps)]
        text = b"".join(words)
        ends = [(at, each) for each in sequences if each and (at := text.find(each.encode())) >= 0]
        left, sequence = min(ends, default=(len(text), ""))
        if ends:
            self._stopped_by = b',"stop_reason":%b' % msgspec.json.encode(sequence)
        for step, word in enumerate(words, self._cue.reasoning):
            if left < len(word):
                self._steps, self._last_word, self._finish = step + 1, word[:left], b"stop"
                return
            left -= len(word)

    # ── told by the wire ──────────────────────────────────────────────────────────────────────────────────────
    def cancel(self) -> None:
        """Stop; a stalled run keeps silent even now, as a hung engine would."""
        self._stop()
        if self._stalled:
            self._answer.settle("cancelled")
            asyncio.get_running_loop().call_later(ECHO_STALL_KEPT_S, self._exchange.cut)
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
            asyncio.get_running_loop().call_later(ECHO_FLUSH_S, os._exit, 1)
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
        finish = b'"%b"%b' % (self._finish, self._stopped_by) if last else b"null"
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
            return b'{"index":%d,"text":"%b","logprobs":null,"finish_reason":"%b"}' % (choice, text, self._finish)
        message = b'"content":"%b"' % text
        if self._tool:
            message = b'"content":null,"tool_calls":[%b]' % _call(self._tool, self._exchange.request_id, index=b"")
        elif reasoning:
            message += b',"reasoning_content":"%b"' % b"".join(words[:reasoning])
        message += b',"refusal":null'
        told = b'{"index":%d,"message":{"role":"assistant",%b},"logprobs":null,"finish_reason":"%b"%b}'
        return told % (choice, message, self._finish, self._stopped_by)

    def _text(self, step: int) -> bytes:
        if step < self._cue.reasoning:
            return b"think%d " % step
        if self._last_word is not None and step + 1 == self._steps:
            return self._last_word
        word = b"tok%d " % (step - self._cue.reasoning)
        return word + b"x" * max(self._cue.big - len(word), 0)


def _forced_tool(ask: Ask) -> bytes | None:
    """The JSON name of the tool that the caller demands."""
    if not ask.tools or ask.tool_choice in (None, "auto", "none"):
        return None
    wanted = ask.tool_choice if isinstance(ask.tool_choice, dict) else ask.tools[0]
    function = wanted.get("function", {})
    if not isinstance(function, dict):
        raise FieldInvalid("tool_choice must name a function of tools", field="tool_choice")
    return msgspec.json.encode(str(function.get("name", "")))


def _call(name: bytes, request_id: str, *, index: bytes) -> bytes:
    return b'{%b"id":"call_%b","type":"function","function":{"name":%b,"arguments":"{}"}}' % (
        index,
        request_id.encode(),
        name,
    )
