"""One answer of llama.cpp on its way to the relay: events cleaned and counted, or gathered into a whole answer."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from openmaas.core.errors import EngineFailed, OpenmaasError
from openmaas.engines.answer import Answer
from openmaas.engines.llama.assemble import Echo, shorter
from openmaas.engines.llama.inner import Inner, refusal
from openmaas.engines.llama.prompts import Prompts
from openmaas.engines.llama.servers import Servers, Voice
from openmaas.engines.logprobs import LegacyLogprobs
from openmaas.engines.telling import Telling
from openmaas.engines.tools import ForcedTool
from openmaas.engines.wire import Exchange


class _Timings(msgspec.Struct):
    cache_n: int = 0
    prompt_n: int = 0
    predicted_n: int = 0


class _Progress(msgspec.Struct):
    cache: int = 0
    processed: int = 0


class _Place(msgspec.Struct):
    index: int = 0


class _Told(msgspec.Struct):
    choices: list[_Place] = []
    timings: _Timings | None = None
    prompt_progress: _Progress | None = None
    error: dict[str, Any] | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0


class _Embeddings(msgspec.Struct):
    usage: _Usage = msgspec.field(default_factory=_Usage)


_told = msgspec.json.Decoder(_Told)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NOTHING = msgspec.Raw(b"0")
_OURS = ("timings", "prompt_progress", "usage", "__verbose")


class Run:
    """The work behind one exchange. A ``wire.Work`` and an ``inner.Listener``."""

    def __init__(
        self,
        answer: Answer,
        exchange: Exchange,
        servers: Servers,
        members: dict[str, msgspec.Raw],
        *,
        stream: bool,
        usage: bool,
        choices: int,
        dimensions: int | None,
        forced: ForcedTool | None,
        tools: Any,
        prompts: Prompts | None,
    ) -> None:
        self._answer = answer
        self._exchange = exchange
        self._servers = servers
        self._voice: Voice | None = None  # held until the end, and its server with it
        self._stream = stream
        self._choices = choices
        self._dimensions = dimensions
        self._embeddings = exchange.path == "/v1/embeddings"
        names = tuple(tool["function"]["name"] for tool in tools or () if "function" in tool)
        self._telling = Telling(
            answer,
            exchange.request_id,
            chat=exchange.path == "/v1/chat/completions",
            stream=stream,
            usage=usage,
            names=forced.names if forced else names,
        )
        self._legacy = LegacyLogprobs() if exchange.path == "/v1/completions" else None
        self._echo: Echo | None = None
        self._members = members
        self._asked = prompts  # when something is to be done before llama.cpp can answer
        self._carry = b""
        self._head: bytes | None = None
        self._prompts: dict[int, tuple[int, int]] = {}
        self._completions: dict[int, int] = {}
        self._inner: Inner | None = None
        self._connecting: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Send the request to llama.cpp."""
        self._exchange.work = self
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    # ── told by the wire ──────────────────────────────────────────────────────────────────────────────────────
    def cancel(self) -> None:
        """Stop, and say what was used."""
        self._leave()
        if not self._answer.over:
            self._answer.cancelled(stream=self._stream)

    def lost(self) -> None:
        """Stop, and write down what was used."""
        self._leave()
        self._answer.settle("cancelled")

    def pause(self) -> None:
        """Take no more from llama.cpp."""
        if self._inner is not None:
            self._inner.read(go=False)

    def resume(self) -> None:
        """Go on."""
        if self._inner is not None:
            self._inner.read(go=True)

    # ── told by llama.cpp ─────────────────────────────────────────────────────────────────────────────────────
    def heard(self, status: int, data: bytes) -> None:
        """Bytes of the answer."""
        if self._answer.over:
            return
        self._carry += data
        if status != 200 or self._embeddings:
            return
        *events, self._carry = self._carry.split(b"\n\n")
        ready = [clean for event in events if (clean := self._event(event)) is not None]
        if ready and not self._answer.over:
            self._telling.tell(ready)

    def ended(self, status: int, *, whole: bool) -> None:
        """The answer is complete, refused, or broken."""
        if self._answer.over:
            return
        if not whole:
            self._answer.failed(EngineFailed("llama.cpp broke off"))
        elif status != 200:
            self._answer.failed(refusal(status, self._carry))
        elif self._embeddings:
            self._answer.prompt = msgspec.json.decode(self._carry, type=_Embeddings).usage.prompt_tokens
            members = _members.decode(self._carry)
            members.pop("usage", None)
            if self._dimensions is not None:
                members["data"] = msgspec.Raw(shorter(members["data"], self._dimensions))
            self._answer.finish_plain(msgspec.json.encode(members))
        else:
            self._finish()

    async def _connect(self) -> None:
        try:
            self._voice = voice = await self._servers.voice(self._exchange.adapter)
            if self._asked is not None:
                await self._prepare(self._asked, voice)
            voice.tell(self._members)
            body = msgspec.json.encode(self._members)
            self._inner = inner = Inner(self, self._exchange.path, body)
            await asyncio.get_running_loop().create_unix_connection(lambda: inner, voice.socket)
        except OpenmaasError as error:
            self._answer.failed(error)
        except OSError as error:
            self._answer.failed(EngineFailed(f"llama.cpp cannot be reached: {error}"))

    async def _prepare(self, asked: Prompts, voice: Voice) -> None:
        def heard(tokens: int) -> None:
            self._answer.prompt += tokens

        sent, echoed = await asked.ready(voice, heard)
        if sent is not None:
            self._members["prompt"] = msgspec.Raw(msgspec.json.encode(sent))
        if echoed:
            alone = self._members.get("max_tokens") == _NOTHING
            self._echo = Echo(echoed, self._choices, alone=alone)
            self._legacy = LegacyLogprobs(self._echo.length)

    def _leave(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
        if self._inner is not None:
            self._inner.leave()

    def _event(self, event: bytes) -> bytes | None:
        """One event, counted, as the caller may see it."""
        if not event.startswith(b"data: {"):
            if event.startswith(b"error: "):
                self._answer.failed(EngineFailed(event[7:].decode("utf-8", "replace")))
            return None
        raw = event[6:]
        told = _told.decode(raw)
        if told.error is not None:
            self._answer.failed(EngineFailed(str(told.error.get("message", ""))))
            return None
        self._count(told)
        if not told.choices or told.prompt_progress is not None:
            return None
        members = _members.decode(raw)
        for name in _OURS:
            members.pop(name, None)
        if self._legacy is not None and b'"logprobs":{' in raw:
            members["choices"] = msgspec.Raw(self._legacy.rewrite(members["choices"]))
        if self._echo is not None:
            members["choices"] = msgspec.Raw(self._echo.rewrite(members["choices"]))
        if self._head is None:
            self._head = msgspec.json.encode({k: v for k, v in members.items() if k != "choices"})
        return msgspec.json.encode(members)

    def _count(self, told: _Told) -> None:
        index = told.choices[0].index if told.choices else 0
        if told.timings is not None:
            self._prompts[index] = (told.timings.cache_n + told.timings.prompt_n, told.timings.cache_n)
            self._completions[index] = told.timings.predicted_n
        elif told.prompt_progress is not None and index not in self._prompts:
            progress = told.prompt_progress
            self._answer.prompt = max(self._answer.prompt, progress.processed, progress.cache)
            self._answer.cached = 0 if self._asked is not None and self._asked.recited else progress.cache
            return
        if self._prompts:
            # Choices of one prompt share it, and it is counted once, as the first of them had it; a list of prompts has
            # the choices of one after those of another.
            firsts: dict[int, tuple[int, int]] = {}
            for number, counts in self._prompts.items():
                firsts.setdefault(number // self._choices, counts)
            self._answer.prompt, self._answer.cached = map(sum, zip(*firsts.values(), strict=True))
            if self._asked is not None and self._asked.recited:
                self._answer.cached = 0  # what is found in the cache was read for this request
        if self._echo is None or not self._echo.alone:
            self._answer.completion = sum(self._completions.values())

    def _finish(self) -> None:
        if self._head is None:
            self._answer.failed(EngineFailed("llama.cpp said nothing"))
            return
        self._telling.finish(self._head)
