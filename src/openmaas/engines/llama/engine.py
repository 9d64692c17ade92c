"""llama.cpp behind our wire: its server runs in this process on an inner socket, and every request passes here.

It is always asked to stream with its own timings, because only those count every choice (its ``usage`` reports one of
``n``) and are known at any moment, so that a cancelled answer still says what it cost.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec
import xllamacpp

from openmaas.core.errors import BodyInvalid, EngineFailed, FieldInvalid
from openmaas.engines.answer import Answer, attend
from openmaas.engines.llama.run import Run
from openmaas.engines.llama.tools import ForcedTool, forced_tool
from openmaas.engines.meter import Meter
from openmaas.engines.spec import EngineSpec, refuse_unknown_options
from openmaas.engines.wire import Exchange

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ALWAYS = {
    "stream": msgspec.Raw(b"true"),
    "stream_options": msgspec.Raw(b'{"include_usage":true}'),
    "timings_per_token": msgspec.Raw(b"true"),
    "return_progress": msgspec.Raw(b"true"),
}
OPTIONS = frozenset({"threads", "embedding", "pooling", "batch"})


class Llama:
    """The engine of kind ``llama``."""

    def __init__(self, spec: EngineSpec, meter: Meter) -> None:
        refuse_unknown_options(spec, OPTIONS)
        self.model = spec.model
        self.ready = False
        self.inner = spec.socket.removesuffix(".sock") + ".llama.sock"  # llama.cpp wants this ending
        self._spec = spec
        self._meter = meter
        self._server: Any = None

    async def start(self) -> None:
        """Load the weights. Raises ``EngineFailed``."""
        self._server = await asyncio.to_thread(self._load)
        self.ready = True

    def stop(self) -> None:
        """The process ends next; llama.cpp goes with it."""

    def post(self, exchange: Exchange) -> None:
        """Answer one request."""
        attend(exchange, self._meter, self.model, self._work)

    def _load(self) -> Any:
        spec, params = self._spec, xllamacpp.CommonParams()
        Path(self.inner).unlink(missing_ok=True)
        params.model.path = spec.weights
        params.hostnames = [self.inner]
        params.port = 0
        params.n_parallel = spec.slots
        params.n_ctx = spec.context * spec.slots
        params.model_alias = {spec.model}
        params.warmup = False
        params.verbosity = 1  # errors only
        params.n_batch = params.n_ubatch = int(spec.options.get("batch", 256))  # a cancelled prefill stops within one
        params.cpuparams.n_threads = int(spec.options.get("threads", os.cpu_count() or 1))
        if spec.options.get("embedding"):
            params.embedding = True
        try:
            return xllamacpp.Server(params)
        except RuntimeError as error:
            raise EngineFailed(f"llama.cpp cannot load {spec.weights}: {error}") from None

    def _work(self, answer: Answer, exchange: Exchange) -> None:
        try:
            members = _members.decode(exchange.body)
        except msgspec.DecodeError as error:
            raise BodyInvalid(str(error)) from None
        embeddings = exchange.path == "/v1/embeddings"
        choices = _number(members, "n") or 1
        if choices > self._spec.slots:
            raise FieldInvalid(f"n may be up to {self._spec.slots} on this model", field="n")
        stream = not embeddings and bool(_plain(members, "stream"))
        options = _plain(members, "stream_options")
        usage = isinstance(options, dict) and bool(options.get("include_usage"))
        forced: ForcedTool | None = None
        tools = _plain(members, "tools") if "tools" in members else None
        if not embeddings:
            forced = forced_tool(members, tools)
            members.update(_ALWAYS)
        body = msgspec.json.encode(members)
        run = Run(
            answer,
            exchange,
            self.inner,
            body,
            stream=stream,
            usage=usage,
            many=isinstance(_plain(members, "prompt"), list),
            forced=forced,
            tools=tools,
        )
        run.begin()


def _plain(members: dict[str, msgspec.Raw], name: str) -> Any:
    raw = members.get(name)
    return None if raw is None else msgspec.json.decode(raw)


def _number(members: dict[str, msgspec.Raw], name: str) -> int | None:
    value = _plain(members, name)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise FieldInvalid(f"{name} must be a whole number of at least 1", field=name)
    return value
