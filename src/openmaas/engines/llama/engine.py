"""llama.cpp behind our wire: its server runs in this process on an inner socket, and every request passes here.

It is always asked to stream with its own timings, because only those count every choice (its ``usage`` reports one of
``n``) and are known at any moment, so that a cancelled answer still says what it cost.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from openmaas.core.errors import FieldInvalid, OpenmaasError
from openmaas.engines.answer import Answer, attend
from openmaas.engines.ask import check, check_chats
from openmaas.engines.body import decode
from openmaas.engines.gguf import gguf_embedding, gguf_template
from openmaas.engines.llama.count import Counting
from openmaas.engines.llama.prompts import Prompts
from openmaas.engines.llama.run import Run
from openmaas.engines.llama.servers import Servers
from openmaas.engines.meter import Meter
from openmaas.engines.server import GENERATING, TOKENIZE
from openmaas.engines.shorter import OPTION, check_dimensions
from openmaas.engines.spec import EngineSpec, check_options
from openmaas.engines.tools import ForcedTool, forbid, forced_tool, tell_template, writes_names
from openmaas.engines.wire import Exchange

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
#: Of what is said and no alternatives to it; the one that llama.cpp tells is mostly the same token.
_SAID = msgspec.Raw(b"1")
_ALWAYS = {
    "stream": msgspec.Raw(b"true"),
    # With usage, a choice's last timings would hang on the usage event, which does not say whose they are.
    "stream_options": msgspec.Raw(b'{"include_usage":false}'),
    "timings_per_token": msgspec.Raw(b"true"),
    "return_progress": msgspec.Raw(b"true"),
}


class Llama:
    """The engine of kind ``llama``."""

    def __init__(self, spec: EngineSpec, meter: Meter) -> None:
        check_options("llama", spec.options)
        self.model = spec.model
        self.ready = False
        self._spec = spec
        self._meter = meter
        self._servers = Servers(spec)
        self._length = 0  # of a vector, for a model that embeds
        self._template = ""  # empty for what was only pretrained, and completes
        self._writes_names = False  # as its template has calls written

    async def start(self) -> None:
        """Load the weights. Raises ``EngineFailed``."""
        if self._spec.options.get("embedding"):
            self._length = gguf_embedding(Path(self._spec.weights))
        _, self._template = await asyncio.gather(self._servers.start(), asyncio.to_thread(self._read_template))
        self._writes_names = writes_names(self._template)
        self.ready = True

    def stop(self) -> None:
        """The process ends next; llama.cpp goes with it."""

    def post(self, exchange: Exchange) -> None:
        """Answer one request."""
        if exchange.path == TOKENIZE:
            self._tokenize(exchange)
            return
        attend(exchange, self._meter, self.model, self._work)

    def _read_template(self) -> str:
        return self._spec.template or gguf_template(Path(self._spec.weights))

    def _work(self, answer: Answer, exchange: Exchange) -> None:
        members = decode(_members, exchange.body)
        embeddings = exchange.path == "/v1/embeddings"
        if not embeddings and exchange.path not in GENERATING:
            raise FieldInvalid(f"the model {self.model} neither searches nor moderates", field="model")
        if embeddings != bool(self._spec.options.get("embedding")):
            task = "makes embeddings and does not generate" if not embeddings else "generates and makes no embeddings"
            raise FieldInvalid(f"the model {self.model} {task}", field="model")
        check(exchange.path, exchange.body)
        if "messages" in members:
            check_chats(self.model, self._template)
        dimensions = _number(members, "dimensions") if embeddings else None
        check_dimensions(dimensions, int(self._spec.options.get(OPTION, 0)), self._length)
        members.pop("dimensions", None)  # done here: llama.cpp does not know it
        choices = _number(members, "n") or 1
        if choices > self._spec.slots:
            raise FieldInvalid(f"n may be up to {self._spec.slots} on this model", field="n")
        stream = not embeddings and bool(_plain(members, "stream"))
        options = _plain(members, "stream_options")
        usage = isinstance(options, dict) and bool(options.get("include_usage"))
        forced: ForcedTool | None = None
        forbid(members)
        tools = _plain(members, "tools")
        if not embeddings:
            forced = self._forced(members, tools)
            members.update(_ALWAYS)
        if exchange.path == "/v1/completions" and _plain(members, "logprobs") == 0:
            members["logprobs"] = _SAID  # to llama.cpp 0 is none at all
        run = Run(
            answer,
            exchange,
            self._servers,
            members,
            stream=stream,
            usage=usage,
            choices=choices,
            dimensions=dimensions,
            forced=forced,
            tools=tools,
            prompts=self._prompts(members) if exchange.path == "/v1/completions" else None,
        )
        run.begin()

    def _forced(self, members: dict[str, msgspec.Raw], tools: Any) -> ForcedTool | None:
        """The call that is demanded; ``members`` are mended for that, and for the model's way to write calls."""
        forced = forced_tool(members, tools)
        if tools and not forced and self._writes_names:
            _hide(members)
        return forced

    def _prompts(self, members: dict[str, msgspec.Raw]) -> Prompts | None:
        """What is to be done with the prompts before llama.cpp has them; mostly nothing."""
        suffix, echo = _plain(members, "suffix") or "", bool(_plain(members, "echo"))
        if not suffix and not echo:
            return None
        logprobs = int(_plain(members, "logprobs") or 0)
        return Prompts(_plain(members, "prompt"), self._spec.context, suffix=suffix, echo=echo, logprobs=logprobs)

    def _tokenize(self, exchange: Exchange) -> None:
        """Count a prompt, mended as it would be for an answer."""
        try:
            members = decode(_members, exchange.body)
            check("/v1/chat/completions" if "messages" in members else "/v1/completions", exchange.body)
            if "messages" in members:
                check_chats(self.model, self._template)
            forbid(members)
            if "messages" in members:
                self._forced(members, _plain(members, "tools"))
        except OpenmaasError as error:
            exchange.refuse(error)
            return
        Counting(exchange, self._servers, self._spec.context, members)


def _hide(members: dict[str, msgspec.Raw]) -> None:
    """Give the tools to the template alone. Of one that writes calls without a mark llama.cpp makes a parser to which
    every answer is a call: words end with status 500 (b11549). Raises ``FieldInvalid``."""
    tell_template(members, tools=members.pop("tools"))
    for name in ("tool_choice", "parallel_tool_calls"):
        members.pop(name, None)


def _plain(members: dict[str, msgspec.Raw], name: str) -> Any:
    raw = members.get(name)
    return None if raw is None else msgspec.json.decode(raw)


def _number(members: dict[str, msgspec.Raw], name: str) -> int | None:
    value = _plain(members, name)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise FieldInvalid(f"{name} must be a whole number of at least 1", field=name)
    return value
