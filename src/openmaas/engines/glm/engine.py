"""Our own engine: classic GLMs behind the wire of all engines, which no other serving engine runs.

``/v1/completions`` fills the blanks of a prompt, or continues it; what a request may say stands in ``ask.py``, how a
text becomes a prompt in ``prompt.py``. Requests are computed side by side (``scheduler.py``). The model is openglm's,
and so is all that touches torch.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from openglm.checkpoint.folder import load
from openglm.data.tokenizer import Tokenizer
from openglm.errors import Refused
from openglm.models.classic import Classic
from openglm.models.rows import Rows, chooser, use_threads
from openmaas.core.clock import Clock
from openmaas.core.errors import EngineFailed, FieldInvalid, OpenmaasError
from openmaas.engines.answer import Answer, attend
from openmaas.engines.glm.ask import Ask, read_ask
from openmaas.engines.glm.folder import context_of
from openmaas.engines.glm.prompt import Prompts
from openmaas.engines.glm.run import Choice, Group, Run
from openmaas.engines.glm.scheduler import Scheduler
from openmaas.engines.glm.text import Text
from openmaas.engines.meter import Meter
from openmaas.engines.server import TOKENIZE
from openmaas.engines.spec import EngineSpec, check_options
from openmaas.engines.wire import Exchange


class Glm:
    """The engine of kind ``glm``."""

    def __init__(self, spec: EngineSpec, meter: Meter, clock: Clock) -> None:
        check_options("glm", spec.options)
        self.model = spec.model
        self.ready = False
        self._spec = spec
        self._meter = meter
        self._clock = clock
        self._context = spec.context
        self._thread = ThreadPoolExecutor(1)
        self._tokenizer: Tokenizer | None = None
        self._prompts: Prompts | None = None
        self._scheduler: Scheduler | None = None

    async def start(self) -> None:
        """Load the checkpoint. Raises ``EngineFailed``."""
        rows = await asyncio.get_running_loop().run_in_executor(self._thread, self._load)
        self._scheduler = Scheduler(rows, self._thread)
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

    def _load(self) -> Rows:
        folder = Path(self._spec.weights)
        use_threads(int(self._spec.options.get("threads", 0)))
        try:
            self._context = min(self._context, context_of(folder))
            model = load(folder)
            self._tokenizer = Tokenizer.load(folder / "tokenizer.json")
            vocabulary = model.embedding.num_embeddings
            if len(self._tokenizer) > vocabulary:
                raise EngineFailed(
                    f"{folder}: tokenizer.json has {len(self._tokenizer)} tokens and the model {vocabulary}; they are "
                    "not of one checkpoint"
                )
            self._prompts = Prompts(self._tokenizer, context=self._context, vocabulary=vocabulary)
            assert isinstance(model, Classic)  # context_of has seen to it
            return Rows(model, self._prompts.marks, count=self._spec.slots, capacity=self._context)
        except (Refused, FieldInvalid, OSError, RuntimeError) as wrong:
            raise EngineFailed(str(wrong)) from None

    def _work(self, answer: Answer, exchange: Exchange) -> None:
        if exchange.path != "/v1/completions":
            raise FieldInvalid(
                f"the model {self.model} fills blanks and continues texts, and does nothing else; use /v1/completions",
                field="model",
            )
        ask = read_ask(exchange.body)
        assert self._scheduler is not None
        head = {
            "id": f"cmpl-{exchange.request_id}",
            "object": "text_completion",
            "created": self._clock.wall_ms() // 1000,
            "model": self.model,
        }
        usage = bool(ask.stream_options and ask.stream_options.include_usage)
        run = Run(answer, exchange, head, stream=bool(ask.stream), usage=usage)
        groups = self._groups(ask, run)
        run.begin(self._scheduler)
        self._scheduler.add(groups)

    def _groups(self, ask: Ask, run: Run) -> list[Group]:
        """A group for each prompt, with ``n`` choices. Raises ``FieldInvalid`` and ``ContextExceeded``."""
        assert self._prompts is not None
        assert self._tokenizer is not None
        tokenizer, many = self._tokenizer, ask.n or 1
        groups: list[Group] = []
        temperature = 1.0 if ask.temperature is None else ask.temperature
        top_p = 1.0 if ask.top_p is None else ask.top_p

        def decode(tokens: list[int]) -> str:
            return tokenizer.decode(tokens, marks=False)

        for written in ask.prompts:
            prompt = self._prompts.read(written, ask.suffix)
            room = self._context - len(prompt.tokens)
            choices = [
                Choice(
                    index=len(groups) * many + number,
                    text=Text(prompt.between, ask.stops, decode),
                    choose=chooser(temperature, top_p, None if ask.seed is None else ask.seed + number),
                    budget=min(ask.max_tokens or room, room),
                )
                for number in range(many)
            ]
            run.choices += choices
            groups.append(Group(run, prompt, choices, bool(ask.ignore_eos)))
        return groups

    def _tokenize(self, exchange: Exchange) -> None:
        """Count a prompt as it would be billed."""
        assert self._prompts is not None
        try:
            if b'"messages"' in exchange.body:
                raise FieldInvalid(f"the model {self.model} has no conversations; send a prompt", field="messages")
            ask = read_ask(exchange.body)
            count = sum(len(self._prompts.read(written, ask.suffix).tokens) for written in ask.prompts)
        except OpenmaasError as error:
            exchange.refuse(error)
            return
        exchange.answer(200, msgspec.json.encode({"count": count, "max_model_len": self._context}))
