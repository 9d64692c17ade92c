"""One echoed answer: the pump that sends known tokens at their pace, and breaks where the cue says so.

It knows its ``Shape`` and the clock of the loop; it reads no request. ``echo.py`` makes one for each request.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import msgspec

from openmaas.engines.answer import Answer
from openmaas.engines.cues import Cue
from openmaas.engines.wire import Exchange

FLUSH_S = 0.05  #: what was written has left the process before it dies on cue
STALL_KEPT_S = 5.0  #: a stalled connection whose caller has left is dropped after this


class Shape(msgspec.Struct, frozen=True):
    """What an echoed answer looks like. ``head`` is the open start of every JSON object of it."""

    head: bytes
    cue: Cue
    chat: bool
    choices: int
    stream: bool
    usage: bool
    tool: str | None
    steps: int
    finish: str


class Echoed:
    """One answer on its way: a step is one token of every choice."""

    def __init__(self, answer: Answer, exchange: Exchange, shape: Shape) -> None:
        self._answer = answer
        self._exchange = exchange
        self._shape = shape
        self._cue = shape.cue
        self._event = self._chat_event if shape.chat else self._text_event
        kind = b'"chat.completion' if shape.chat else b'"text_completion'
        self._head = shape.head + kind + (b'.chunk"' if shape.stream and shape.chat else b'"')
        self._step = 0
        self._batch: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._waiting = False
        self._stalled = False
        self._began = 0.0

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
        self._answer.cancelled(stream=self._shape.stream)

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
        while self._step < self._shape.steps:
            if self._exchange.paused:
                self._waiting = True
                return
            if self._breaks():
                return
            if self._shape.stream:
                self._batch.extend(self._event(choice) for choice in range(self._shape.choices))
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
        self._answer.completion = self._step * self._shape.choices
        self._answer.reasoning = min(self._step, self._cue.reasoning) * self._shape.choices

    def _flush(self) -> None:
        if self._batch:
            self._answer.events(self._batch)
            self._batch = []

    def _event(self, choice: int) -> bytes:
        word, last = self._text(self._step), self._step + 1 == self._shape.steps
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
        if self._shape.stream:
            self._answer.finish_stream(self._head if self._usage else None)
            return
        choices = b",".join(self._choice(choice) for choice in range(self._shape.choices))
        body = b'%b,"choices":[%b]}' % (self._head[:-1], choices)
        if self._cue.no_usage:
            self._answer.settle("done")
            self._exchange.answer(200, body)
        else:
            self._answer.finish_plain(body)

    def _choice(self, choice: int) -> bytes:
        reasoning = self._cue.reasoning
        words = [self._text(step) for step in range(self._shape.steps)]
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

    # ── the bytes ─────────────────────────────────────────────────────────────────────────────────────────────
    def _text(self, step: int) -> str:
        """The token of ``step``: reasoning tokens come first and are numbered on their own."""
        number = step - self._cue.reasoning if step >= self._cue.reasoning else step
        if self._cue.big:
            return "x" * self._cue.big
        return f" tok{number}" if number else "tok0"

    def _chat_event(self, choice: int) -> bytes:
        role = b'"role":"assistant",' if self._step == 0 else b""
        if self._shape.tool:
            delta = b'"tool_calls":[%b]' % msgspec.json.encode({"index": 0, **self._call(choice)})
        else:
            field = b"reasoning_content" if self._step < self._cue.reasoning else b"content"
            delta = b'"%b":"%b"' % (field, self._text(self._step).encode())
        return b'%b,"choices":[{"index":%d,"delta":{%b%b},"finish_reason":null}]}' % (self._head, choice, role, delta)

    def _text_event(self, choice: int) -> bytes:
        text = self._text(self._step).encode()
        return b'%b,"choices":[{"index":%d,"text":"%b","logprobs":null,"finish_reason":null}]}' % (
            self._head,
            choice,
            text,
        )

    def _call(self, choice: int) -> dict[str, Any]:
        return {
            "id": f"call_{choice}",
            "type": "function",
            "function": {"name": self._shape.tool, "arguments": "{}"},
        }

    def _end(self) -> None:
        if not self._shape.stream:
            self._answer.finish_plain(self._plain())
            return
        empty = b'"delta":{}' if self._shape.chat else b'"text":"","logprobs":null'
        self._batch.extend(
            b'%b,"choices":[{"index":%d,%b,"finish_reason":"%b"}]}'
            % (self._head, choice, empty, self._shape.finish.encode())
            for choice in range(self._shape.choices)
        )
        self._flush()
        self._answer.finish_stream(self._head + b"}" if self._shape.usage else None)

    def _plain(self) -> bytes:
        reasoning = "".join(self._text(step) for step in range(min(self._step, self._cue.reasoning)))
        content = "".join(self._text(step) for step in range(self._cue.reasoning, self._step))
        choices = []
        for choice in range(self._shape.choices):
            message: dict[str, Any] = {"role": "assistant", "content": content}
            if reasoning:
                message["reasoning_content"] = reasoning
            if self._shape.tool:
                message |= {"content": None, "tool_calls": [self._call(choice)]}
            said = {"message": message} if self._shape.chat else {"text": content, "logprobs": None}
            choices.append({"index": choice, **said, "finish_reason": self._shape.finish})
        return b'%b,"choices":%b}' % (self._head, msgspec.json.encode(choices))
