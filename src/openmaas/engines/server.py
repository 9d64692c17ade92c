"""The listening side of an engine: its routes, what every engine answers alike, and how it drains.

It knows paths and states, no model; ``program`` starts it and puts one engine behind it.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import msgspec

from openmaas.core import bounds
from openmaas.core.errors import (
    Draining,
    FieldInvalid,
    MethodUnknown,
    NoReplica,
    OpenmaasError,
    PathUnknown,
    TooLarge,
)
from openmaas.engines.wire import Connection, Exchange

#: A prompt with its template, counted and not answered: ``{model, messages, tools?, …}`` or ``{model, prompt}`` →
#: ``{count, max_model_len}``. vLLM's path and shape; no meter knows of it. https://docs.vllm.ai, "Tokenizer API"
TOKENIZE = "/tokenize"
POST_PATHS = frozenset(
    {"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/moderations", "/v1/web_search", TOKENIZE}
)
#: Those that a language model answers.
GENERATING = frozenset({"/v1/chat/completions", "/v1/completions"})
GET_PATHS = frozenset({"/health", "/v1/models"})


class Engine(Protocol):
    """One kind of engine, as the wire sees it."""

    model: str
    ready: bool

    async def start(self) -> None:
        """Load; afterwards ``ready`` is true. Raises ``EngineFailed`` or ``SettingInvalid``."""

    def post(self, exchange: Exchange) -> None:
        """Answer ``exchange``, now or later; a refusal is answered, not raised."""

    def stop(self) -> None:
        """Give everything back."""


class Server:
    """The listening side of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.connections: set[Connection] = set()
        self.draining = False

    def connection(self) -> Connection:
        """The protocol of one new connection."""
        return Connection(self.serve, self.connections)

    def serve(self, exchange: Exchange, method: str) -> None:
        """Answer what every engine answers alike; hand the rest to the engine."""
        if method == "POST" and exchange.path in POST_PATHS:
            error = self._refusal(exchange)
            if error is None:
                self._engine.post(exchange)
            else:
                exchange.refuse(error)
        elif method == "GET" and exchange.path == "/health":
            ready = self._engine.ready and not self.draining
            exchange.answer(200 if ready else 503, b'{"status":"ok"}' if ready else b'{"status":"loading"}')
        elif method == "GET" and exchange.path == "/v1/models":
            model = {"id": self._engine.model, "object": "model", "created": 0, "owned_by": "openmaas"}
            exchange.answer(200, msgspec.json.encode({"object": "list", "data": [model]}))
        elif method == "TOO LARGE":
            exchange.refuse(TooLarge(f"the body may have {bounds.BODY_BYTES_MAX} bytes"))
        elif exchange.path in POST_PATHS or exchange.path in GET_PATHS:
            exchange.refuse(MethodUnknown(method))
        else:
            exchange.refuse(PathUnknown(exchange.path))

    def _refusal(self, exchange: Exchange) -> OpenmaasError | None:
        if self.draining:
            return Draining()
        if not self._engine.ready:
            return NoReplica("the weights are loading")
        request_id = exchange.request_id
        bad = len(request_id) > bounds.REQUEST_ID_BYTES_MAX or '"' in request_id or "\\" in request_id
        if bad or not (request_id.isascii() and (request_id.isprintable())):
            return FieldInvalid(
                f"x-request-id must be up to {bounds.REQUEST_ID_BYTES_MAX} printable ASCII characters",
                field="x-request-id",
            )
        return None

    async def drain(self, timeout_s: float) -> None:
        """Take nothing new, let running answers end for up to ``timeout_s``, then close what is left."""
        self.draining = True
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            for connection in list(self.connections):
                connection.close_idle()
            if all(connection.idle for connection in self.connections):
                return
            if asyncio.get_running_loop().time() > deadline:
                return
            await asyncio.sleep(bounds.DRAIN_POLL_S)
