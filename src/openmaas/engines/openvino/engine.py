"""OpenVINO behind the wire of all engines: language models on a CPU, many requests in one step.

A conversation becomes tokens by ``vocabulary.py``, what a request may say stands in ``ask.py``, and ``scheduler.py``
computes what is there. What the pipeline lacks (``spec.LACKS``) is refused by name.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from openmaas.core.clock import Clock
from openmaas.core.errors import FieldInvalid, OpenmaasError
from openmaas.engines.answer import Answer, attend
from openmaas.engines.ask import check, check_chats
from openmaas.engines.body import decode
from openmaas.engines.meter import Meter
from openmaas.engines.openvino.ask import Ask, read_ask
from openmaas.engines.openvino.convert import folder_of
from openmaas.engines.openvino.pipeline import Pipeline
from openmaas.engines.openvino.proving import Proving
from openmaas.engines.openvino.run import Choice, Group, Run
from openmaas.engines.openvino.scheduler import Scheduler
from openmaas.engines.openvino.text import Text
from openmaas.engines.openvino.vocabulary import Vocabulary
from openmaas.engines.server import GENERATING, TOKENIZE
from openmaas.engines.spec import EngineSpec, check_options
from openmaas.engines.telling import Telling
from openmaas.engines.tools import forbid, forced_tool
from openmaas.engines.wire import Exchange

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_CHAT = "/v1/chat/completions"


class OpenVino:
    """The engine of kind ``openvino``."""

    def __init__(self, spec: EngineSpec, meter: Meter, clock: Clock) -> None:
        check_options("openvino", spec.options)
        self.model = spec.model
        self.ready = False
        self._spec = spec
        self._meter = meter
        self._clock = clock
        self._thread = ThreadPoolExecutor(1)
        self._vocabulary: Vocabulary
        self._scheduler: Scheduler | None = None

    async def start(self) -> None:
        """Load the weights, converted before if they are a GGUF file. Raises ``EngineFailed`` and ``FieldInvalid``."""
        pipeline, proving = await asyncio.get_running_loop().run_in_executor(self._thread, self._load)
        self._scheduler = Scheduler(pipeline, proving, self._thread, self._spec.slots)
        self.ready = True

    def stop(self) -> None:
        """Let the running step end."""
        if self._scheduler is not None:
            self._scheduler.stop()
        self._thread.shutdown()

    def post(self, exchange: Exchange) -> None:
        """Answer one request."""
        if exchange.path == TOKENIZE:
            self._tokenize(exchange)
            return
        attend(exchange, self._meter, self.model, self._work)

    def _load(self) -> tuple[Pipeline, Proving]:
        spec = self._spec
        folder, threads = folder_of(Path(spec.weights)), int(spec.options.get("threads", 0))
        pipeline = Pipeline(folder, slots=spec.slots, context=spec.context, threads=threads)
        self._vocabulary = Vocabulary(pipeline.tokenizer, spec.template, spec.context)
        return pipeline, Proving(pipeline.tokenizer, self._vocabulary.size)

    def _work(self, answer: Answer, exchange: Exchange) -> None:
        if exchange.path not in GENERATING:
            raise FieldInvalid(f"the model {self.model} generates, and makes no embeddings", field="model")
        ask, names = self._read(exchange.path, exchange.body)
        chat, stream = exchange.path == _CHAT, bool(ask.stream)
        told = Telling(answer, exchange.request_id, chat=chat, stream=stream, usage=ask.usage, names=names)
        head = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{exchange.request_id}",
            "object": "chat.completion.chunk" if chat else "text_completion",
            "created": self._clock.wall_ms() // 1000,
            "model": self.model,
        }
        run = Run(answer, exchange, told, head, stream=stream, tells=ask.tells, pieces=self._vocabulary.pieces)
        groups = self._groups(ask, run)
        assert self._scheduler is not None
        run.begin(self._scheduler)
        self._scheduler.add(groups)

    def _read(self, path: str, body: bytes) -> tuple[Ask, tuple[str, ...]]:
        """A request, mended for a call that is demanded, and the tools that it may call. Raises ``FieldInvalid``."""
        members = decode(_members, body)
        check(path, body)
        if "messages" in members:
            check_chats(self.model, self._vocabulary.template)
        forbid(members)
        tools: Any = msgspec.json.decode(members.get("tools", b"null"))
        forced = forced_tool(members, tools) if path == _CHAT else None
        return read_ask(members), forced.names if forced else tuple(tool["function"]["name"] for tool in tools or ())

    def _prompts(self, ask: Ask) -> list[list[int]]:
        """What is read, as tokens. Raises ``FieldInvalid`` and ``ContextExceeded``."""
        if ask.messages:
            return [self._vocabulary.chat(ask.messages, ask.tools, ask.chat_template_kwargs)]
        return [self._vocabulary.text(prompt) for prompt in ask.prompts]

    def _groups(self, ask: Ask, run: Run) -> list[Group]:
        """A group for each prompt, with ``n`` choices. Raises ``FieldInvalid`` and ``ContextExceeded``."""
        groups: list[Group] = []
        for prompt in self._prompts(ask):
            room = self._spec.context - len(prompt)
            group = Group(run, prompt, [], min(ask.budget or room, room), ask.grammar)
            for number in range(ask.n or 1):
                text = Text(self._vocabulary.pieces, ask.stops)
                group.waiting.append(Choice(group, len(run.choices), text, ask.sampling(number)))
                run.choices.append(group.waiting[-1])
            groups.append(group)
        return groups

    def _tokenize(self, exchange: Exchange) -> None:
        """Count a prompt as it would be billed."""
        try:
            path = _CHAT if b'"messages"' in exchange.body else "/v1/completions"
            ask, _ = self._read(path, exchange.body)
            count = sum(map(len, self._prompts(ask)))
        except OpenmaasError as error:
            exchange.refuse(error)
            return
        exchange.answer(200, msgspec.json.encode({"count": count, "max_model_len": self._spec.context}))
