"""Whether a grammar can be sampled by, found out before it stands among other requests: one that xgrammar refuses ends
the step of all of them, and leaves the pipeline in no known state (openvino-genai 2026.4).

So it is tried on a pipeline of its own, with the same tokenizer and a model of next to nothing: one layer of a llama,
one head of 32 numbers, all of them zero, written here as a GGUF file. Made in 0.13 s and asked in 2 ms on SmolLM2's
vocabulary. A grammar that breaks it is refused, and it is made anew.
"""

from __future__ import annotations

import re
import struct
import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import openvino_genai

from openmaas.core.bounds import GRAMMARS_PROVEN_MAX
from openmaas.core.errors import FieldInvalid

_WIDTH = 32
_BLOCKS = 64  # of a handful it schedules nothing, and says nothing
_FLOAT32, _FLOAT16 = 0, 1
#: What xgrammar puts before its words: a time, and a line of its source.
_PLACE = re.compile(r"^(?:\[[\d:]+\] )?\S+\.(?:cc|cpp|h|hpp):\d+:\s*")


class Proving:
    """Tries grammars. ``vocabulary`` is how many tokens ``tokenizer`` knows."""

    def __init__(self, tokenizer: Any, vocabulary: int) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._pipeline: Any = None
        self._asked = 0
        self._proven: OrderedDict[str, None] = OrderedDict()

    def prove(self, schema: str) -> None:
        """Raises ``FieldInvalid`` for a JSON schema that answers cannot be held to."""
        if schema in self._proven:
            self._proven.move_to_end(schema)
            return
        if self._pipeline is None:
            self._pipeline = _pipeline(self._tokenizer, self._vocabulary)
        config = openvino_genai.GenerationConfig(max_new_tokens=1)
        config.structured_output_config = openvino_genai.StructuredOutputConfig(json_schema=schema)
        self._asked += 1
        try:
            prompt = openvino.Tensor(np.zeros((1, 2), np.int64))
            request = self._pipeline.add_request(self._asked, prompt, config)
            self._pipeline.step()
        except RuntimeError as error:
            self._pipeline = None
            told = _PLACE.sub("", str(error).strip().splitlines()[0])
            raise FieldInvalid(f"response_format: the schema cannot be kept: {told}", field="response_format") from None
        assert request.can_read(), "nothing was sampled, so nothing is proven"
        self._proven[schema] = None
        if len(self._proven) > GRAMMARS_PROVEN_MAX:
            self._proven.popitem(last=False)


def _pipeline(tokenizer: Any, vocabulary: int) -> Any:
    schedule = openvino_genai.SchedulerConfig()
    schedule.num_kv_blocks = _BLOCKS
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "nothing.gguf"
        _write(path, vocabulary)
        return openvino_genai.ContinuousBatchingPipeline(str(path), tokenizer, schedule, "CPU", INFERENCE_NUM_THREADS=1)


def _write(path: Path, vocabulary: int) -> None:
    """The smallest model that the pipeline takes. https://github.com/ggml-org/ggml/blob/master/docs/gguf.md"""
    said: dict[str, str | int | float] = {
        "general.architecture": "llama",
        "general.file_type": 1,
        "llama.block_count": 1,
        "llama.context_length": 64,
        "llama.embedding_length": _WIDTH,
        "llama.feed_forward_length": _WIDTH,
        "llama.attention.head_count": 1,
        "llama.attention.head_count_kv": 1,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.freq_base": 10_000.0,
        "llama.rope.dimension_count": _WIDTH,
        "llama.vocab_size": vocabulary,
    }
    square = [f"blk.0.{name}.weight" for name in ("attn_q", "attn_k", "attn_v", "attn_output")]
    square += [f"blk.0.{name}.weight" for name in ("ffn_gate", "ffn_up", "ffn_down")]
    shapes = {"token_embd.weight": (_WIDTH, vocabulary), **dict.fromkeys(square, (_WIDTH, _WIDTH))}
    norms = dict.fromkeys(("blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"), (_WIDTH,))
    head, offset = struct.pack("<4sIQQ", b"GGUF", 3, len(shapes) + len(norms), len(said)), 0
    head += b"".join(_text(name) + _value(value) for name, value in said.items())
    for name, shape in {**shapes, **norms}.items():
        kind = _FLOAT16 if name in shapes else _FLOAT32
        head += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
        offset += int(np.prod(shape)) * (2 if kind == _FLOAT16 else 4)  # a multiple of the 32 that tensors begin at
    head += bytes(-len(head) % 32)
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + offset)


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def _value(value: str | int | float) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    return struct.pack("<II", 4, value) if isinstance(value, int) else struct.pack("<If", 6, value)
