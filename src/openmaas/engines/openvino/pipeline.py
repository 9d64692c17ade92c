"""OpenVINO GenAI's continuous batching, as one thread drives it: requests go in, a step computes the next token of
each, and each is read.

It knows tokens, and no text and no caller; ``scheduler.py`` calls it, and nobody beside. A pipeline whose step failed
is in no known state (openvino-genai 2026.4): ``renew`` makes another one.
https://docs.openvino.ai, "Continuous Batching"; ``ContinuousBatchingPipeline`` in openvino_genai's stubs
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import openvino
import openvino_genai

from openmaas.core.errors import EngineFailed, EngineRefused
from openmaas.engines.openvino.prefixes import BLOCK_TOKENS, Prefixes

_FINISHES = {
    openvino_genai.GenerationFinishReason.STOP: "stop",
    openvino_genai.GenerationFinishReason.LENGTH: "length",
}


class Heard(msgspec.Struct, frozen=True):
    """What a step made of one request: tokens, the logarithm of each one's probability, and why it ended, or ""."""

    tokens: list[int]
    logprobs: list[float]
    finish: str


class Pipeline:
    """The pipeline of one model. ``slots`` requests of ``context`` tokens fit; ``threads`` 0 is one for each core."""

    def __init__(self, folder: Path, *, slots: int, context: int, threads: int) -> None:
        """Load the model. Raises ``EngineFailed``."""
        self._folder = folder
        self._blocks = slots * -(-context // BLOCK_TOKENS)
        self._slots = slots
        self._threads = threads
        self._number = 0
        self.renew()

    def renew(self) -> None:
        """Load the model anew; of what was before nothing is left. Raises ``EngineFailed``."""
        self._pipeline: Any = None  # its memory first
        schedule = openvino_genai.SchedulerConfig()
        schedule.num_kv_blocks = self._blocks
        schedule.max_num_seqs = self._slots
        schedule.enable_prefix_caching = True
        properties = {"INFERENCE_NUM_THREADS": self._threads} if self._threads else {}
        try:
            self._pipeline = openvino_genai.ContinuousBatchingPipeline(str(self._folder), schedule, "CPU", properties)
        except RuntimeError as error:
            told = str(error).strip().splitlines()[-1]
            raise EngineFailed(f"openvino cannot load {self._folder}: {told}") from None
        self.tokenizer: Any = self._pipeline.get_tokenizer()
        self._default: Any = self._pipeline.get_config()
        self.prefixes = Prefixes(self._blocks)

    def add(self, tokens: list[int], budget: int, grammar: str, sampling: dict[str, Any]) -> Any:
        """A request for up to ``budget`` tokens; what ``read`` and ``cancel`` know it by. Raises ``EngineRefused``."""
        config = openvino_genai.GenerationConfig(max_new_tokens=budget, **sampling)
        config.stop_token_ids = self._default.stop_token_ids
        config.set_eos_token_id(self._default.eos_token_id)
        if grammar:
            config.structured_output_config = openvino_genai.StructuredOutputConfig(json_schema=grammar)
        self._number += 1
        try:
            prompt = openvino.Tensor(np.array([tokens], np.int64))
            return self._pipeline.add_request(self._number, prompt, config)
        except RuntimeError as error:
            raise EngineRefused(str(error).strip().splitlines()[-1]) from None

    def step(self) -> None:
        """The next token of each request, or a further part of its prompt. Raises ``EngineFailed``: all are lost."""
        try:
            if self._pipeline.has_non_finished_requests():
                self._pipeline.step()
        except RuntimeError as error:
            raise EngineFailed(str(error).strip().splitlines()[-1]) from None

    def read(self, request: Any) -> Heard:
        """What came of the last step for ``request``. Raises ``EngineFailed`` where there is no room for it."""
        tokens: list[int] = []
        logprobs: list[float] = []
        finish = ""
        while request.can_read():
            for part in request.read().values():  # one: no request asks for several sequences
                tokens += part.generated_ids
                logprobs += part.generated_log_probs
                finish = _FINISHES.get(part.finish_reason, "")
        if request.get_status() == openvino_genai.GenerationStatus.IGNORED:
            raise EngineFailed("the cache has no room for this request")
        return Heard(tokens, logprobs, finish)

    def cancel(self, request: Any) -> None:
        """Nothing more is computed for it; the next step frees what it held."""
        request.cancel()
