"""The embedding engine: multilingual-e5-small in 4 bits, a small C library called through ctypes on one thread.

It answers /v1/embeddings and nothing else. It knows one folder with the library and its weights, never the package
they came in. e5 wants to be told a question from a passage: ``input_type`` of the request, else the option ``prefix``.
"""

from __future__ import annotations

import asyncio
import base64
import ctypes
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import msgspec

from openmaas.core.errors import ContextExceeded, EngineFailed, EngineRefused, FieldInvalid, SettingInvalid
from openmaas.engines.answer import Answer, attend
from openmaas.engines.body import check_range, decode
from openmaas.engines.meter import Meter
from openmaas.engines.spec import EngineSpec, refuse_unknown_options
from openmaas.engines.wire import Exchange

WINDOW_TOKENS = 512  #: positions the model was trained with; the library cuts what is longer
INPUTS_MAX = 2048  #: as OpenAI's limit of inputs in one request
BATCH_INPUTS = 8  #: inputs embedded between two looks at whether the caller is still there
PREFIXES = {"query: ": 1, "passage: ": 0}


class _Ask(msgspec.Struct):
    input: Any
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = None
    input_type: Literal["query", "passage"] | None = None


_decoder = msgspec.json.Decoder(_Ask)


class Library:
    """The C library with its weights loaded. Its calls release the GIL; they are made from one thread only."""

    def __init__(self, folder: Path) -> None:
        found = [sorted(folder.glob(pattern)) for pattern in ("_engine*.so", "e5-small-q4.bin")]
        if not all(found):
            raise EngineFailed(f"{folder} must hold _engine*.so and e5-small-q4.bin")
        self._c = ctypes.CDLL(str(found[0][0]))
        self._c.e5_load.restype = ctypes.c_void_p
        self._c.e5_load.argtypes = [ctypes.c_char_p]
        self._c.e5_dim.argtypes = [ctypes.c_void_p]
        self._c.e5_token_count.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
        self._c.e5_embed_batch.argtypes = [
            ctypes.c_void_p,
            ctypes.POINTER(ctypes.c_char_p),
            ctypes.c_int,
            ctypes.c_int,
            ctypes.POINTER(ctypes.c_float),
        ]
        self._model = self._c.e5_load(str(found[1][0]).encode())
        if not self._model:
            raise EngineFailed(f"{found[1][0]} is not a model that this library reads")
        self.dimensions = int(self._c.e5_dim(self._model))

    def token_count(self, text: bytes, query: int) -> int:
        """Tokens of ``text`` with its prefix and the special ones."""
        return int(self._c.e5_token_count(self._model, text, query))

    def embed(self, texts: list[bytes], query: int) -> list[bytes]:
        """One vector of little-endian float32 for each text. Raises ``EngineFailed``."""
        floats = (ctypes.c_float * (len(texts) * self.dimensions))()
        pointers = (ctypes.c_char_p * len(texts))(*texts)
        if self._c.e5_embed_batch(self._model, pointers, len(texts), query, floats):
            raise EngineFailed("the embedding library reported an error")
        raw = bytes(floats)
        width = 4 * self.dimensions
        return [raw[start : start + width] for start in range(0, len(raw), width)]


class Embedder:
    """The engine of kind ``embedder``."""

    def __init__(self, spec: EngineSpec, meter: Meter) -> None:
        refuse_unknown_options(spec, frozenset({"prefix"}))
        prefix = str(spec.options.get("prefix", "query: "))
        if prefix not in PREFIXES:
            raise SettingInvalid(f"engine option prefix must be one of {', '.join(map(repr, PREFIXES))}")
        self.model = spec.model
        self.ready = False
        self._query = PREFIXES[prefix]
        self._folder = Path(spec.weights)
        self._meter = meter
        self._thread = ThreadPoolExecutor(1, "embedder")
        self._works: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Load the library and its weights. Raises ``EngineFailed``."""
        loop = asyncio.get_running_loop()
        self._library = await loop.run_in_executor(self._thread, Library, self._folder)
        self.ready = True

    def stop(self) -> None:
        """Let the worker thread go."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def post(self, exchange: Exchange) -> None:
        """Answer one request."""
        attend(exchange, self._meter, self.model, self._work)

    def _work(self, answer: Answer, exchange: Exchange) -> None:
        if exchange.path != "/v1/embeddings":
            raise EngineRefused(f"{self.model} embeds and does not generate; use /v1/embeddings")
        ask = decode(_decoder, exchange.body)
        texts = read_texts(ask.input)
        check_range("dimensions", ask.dimensions, self._library.dimensions, self._library.dimensions)
        query = self._query if ask.input_type is None else PREFIXES[f"{ask.input_type}: "]
        work = _Work(answer)
        exchange.work = work
        task = asyncio.create_task(self._embed(work, texts, query, ask.encoding_format == "base64"))
        self._works.add(task)
        task.add_done_callback(self._works.discard)

    async def _embed(self, work: _Work, texts: list[bytes], query: int, packed: bool) -> None:
        loop = asyncio.get_running_loop()
        vectors: list[bytes] = []
        try:
            counts = await loop.run_in_executor(self._thread, self._count, texts, query)
            for start in range(0, len(texts), BATCH_INPUTS):
                if work.answer.over:
                    return
                batch = texts[start : start + BATCH_INPUTS]
                vectors += await loop.run_in_executor(self._thread, self._library.embed, batch, query)
                if work.answer.over:
                    return
                work.answer.prompt += sum(counts[start : start + BATCH_INPUTS])
        except (ContextExceeded, EngineFailed) as error:
            work.answer.failed(error)
            return
        work.answer.finish_plain(self._body(vectors, packed))

    def _count(self, texts: list[bytes], query: int) -> list[int]:
        counts = [self._library.token_count(text, query) for text in texts]
        for index, count in enumerate(counts):
            if count > WINDOW_TOKENS:
                said = f"input {index} has {count} tokens, the model takes {WINDOW_TOKENS}"
                raise ContextExceeded(said, field="input")
        return counts

    def _body(self, vectors: list[bytes], packed: bool) -> bytes:
        rows = [
            {
                "object": "embedding",
                "index": index,
                "embedding": base64.b64encode(vector).decode() if packed else memoryview(vector).cast("f").tolist(),
            }
            for index, vector in enumerate(vectors)
        ]
        return msgspec.json.encode({"object": "list", "data": rows, "model": self.model})


class _Work:
    """What the wire tells a running embedding."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def cancel(self) -> None:
        """Report what was embedded; the thread ends its batch."""
        self.answer.cancelled(stream=False)

    def lost(self) -> None:
        """Keep the counts."""
        self.answer.settle("cancelled")

    def pause(self) -> None:
        """A plain answer is one write."""

    def resume(self) -> None:
        """A plain answer is one write."""


def read_texts(given: Any) -> list[bytes]:
    """The inputs as UTF-8. Raises ``FieldInvalid`` that names ``input``."""
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts:
        raise FieldInvalid("input must be a string or a list of strings", field="input")
    if len(texts) > INPUTS_MAX:
        raise FieldInvalid(f"input may have {INPUTS_MAX} texts, not {len(texts)}", field="input")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise FieldInvalid("input must be text: this model takes no token ids", field=f"input[{index}]")
        if not text or "\0" in text:
            raise FieldInvalid("input must not be empty or hold NUL characters", field=f"input[{index}]")
    return [text.encode() for text in texts]
