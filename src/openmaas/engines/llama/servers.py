"""llama.cpp's own servers in this process: mostly one; two for as long as answers run while an adapter joins.

llama.cpp takes adapters when it loads a model and never later. So one more joins by a second server over the same
weights, which lie in memory once: new requests go there, and the first is let go with the last request that holds it.
On SmolLM2-135M that takes half a second. Adapters that were loaded stay until there is no room, and every request says
which of them it wants, mostly none. https://github.com/ggml-org/llama.cpp/tree/master/tools/server, "lora"
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec
import xllamacpp

from openmaas.core.bounds import ADAPTERS_MAX
from openmaas.core.errors import EngineFailed, FieldInvalid
from openmaas.engines.gguf import Adapter, gguf_adapter
from openmaas.engines.spec import EngineSpec
from openmaas.engines.tools import tell_template


class Loaded:
    """One of llama.cpp's servers. It ends when nobody holds it any more."""

    def __init__(self, server: Any, socket: str, adapters: dict[str, Adapter]) -> None:
        self._server = server
        self.socket = socket
        self.adapters = adapters

    def __del__(self) -> None:
        """llama.cpp leaves the file of its socket."""
        Path(self.socket).unlink(missing_ok=True)

    def voice(self, path: str) -> Voice:
        """The base's, or that of the adapter at ``path``. All are named: an empty list would mean what the server began
        with."""
        lora = [{"id": at, "scale": float(each == path)} for at, each in enumerate(self.adapters)]
        silent = path != "" and not self.adapters[path].thinks
        return Voice(self, {"lora": lora} if lora else {}, silent=silent)


class Voice:
    """What one request speaks to: a server, and the ``members`` by which it speaks as this model and no other."""

    def __init__(self, server: Loaded, members: dict[str, Any], *, silent: bool) -> None:
        self._server = server  # as long as somebody holds this, it answers
        self._silent = silent
        self.socket = server.socket
        self.members = members

    def tell(self, members: dict[str, msgspec.Raw]) -> None:
        """Make a request one to this voice; whatever its caller said of adapters is not theirs to say. Raises
        ``FieldInvalid``."""
        members.pop("lora", None)
        members.update({name: msgspec.Raw(msgspec.json.encode(value)) for name, value in self.members.items()})
        if self._silent and "messages" in members:
            tell_template(members, enable_thinking=False)


class Servers:
    """The servers of one engine."""

    def __init__(self, spec: EngineSpec) -> None:
        self._spec = spec
        self._joining = asyncio.Lock()
        self._number = 0
        self._newest: Loaded | None = None
        self._wanted: dict[str, None] = {}  # adapters, the one that was wanted longest ago first

    async def start(self) -> None:
        """Load the weights. Raises ``EngineFailed``."""
        self._newest = await asyncio.to_thread(self._load, {})

    async def voice(self, path: str) -> Voice:
        """The base's, or that of the adapter at ``path``, which is loaded unless it is. Raises ``EngineFailed``."""
        assert self._newest is not None
        if path and path not in self._newest.adapters:
            # Whoever asked may leave meanwhile; the thread goes on, and nobody else must begin the same.
            await asyncio.shield(asyncio.ensure_future(self._join(path)))
        if path:
            self._wanted.pop(path, None)
            self._wanted[path] = None
        return self._newest.voice(path)

    async def _join(self, path: str) -> None:
        async with self._joining:
            assert self._newest is not None
            if path not in self._newest.adapters:
                joined = self._joined(path, self._newest)
                self._newest = await asyncio.to_thread(self._load, joined)
                self._wanted = {each: None for each in self._wanted if each in joined} | {path: None}

    def _joined(self, path: str, loaded: Loaded) -> dict[str, Adapter]:
        """The new one, and of those that are loaded the last wanted, without what was removed meanwhile. Raises
        ``EngineFailed``."""
        try:
            new = gguf_adapter(Path(path))
        except FieldInvalid as error:  # it was an adapter when it was attached: nothing that a caller could mend
            raise EngineFailed(error.detail) from None
        old = [each for each in self._wanted if each in loaded.adapters and Path(each).exists()]
        return {each: loaded.adapters[each] for each in old[-(ADAPTERS_MAX - 1) :]} | {path: new}

    def _load(self, adapters: dict[str, Adapter]) -> Loaded:
        spec, params = self._spec, xllamacpp.CommonParams()
        self._number += 1
        socket = f"{spec.socket.removesuffix('.sock')}.{self._number}.sock"  # llama.cpp wants this ending
        Path(socket).unlink(missing_ok=True)
        params.model.path = spec.weights
        params.chat_template = spec.template  # empty: the file's own
        params.hostnames = [socket]
        params.port = 0
        params.n_parallel = spec.slots
        params.n_ctx = spec.context * spec.slots
        params.model_alias = {spec.model}
        params.warmup = False
        params.fit_params = False  # we say what fits; a trial load to find out costs a second start 0.2 s
        params.verbosity = 1  # errors only
        # A cancelled prefill ends the batch it is in, and at times has begun the next: 256 tokens at most.
        params.n_batch = params.n_ubatch = int(spec.options.get("batch", 128))
        params.cpuparams.n_threads = int(spec.options.get("threads", os.cpu_count() or 1))
        if spec.options.get("embedding"):
            params.embedding = True
            if pooling := spec.options.get("pooling"):
                params.pooling_type = getattr(xllamacpp.llama_pooling_type, f"LLAMA_POOLING_TYPE_{pooling}".upper())
        if adapters:
            params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 0.0) for path in adapters]
            params.lora_init_without_apply = True
            params.cache_ram_mib = 0  # what it keeps there it finds by tokens alone, whichever adapter read them
        try:
            return Loaded(xllamacpp.Server(params), socket, adapters)
        except RuntimeError as error:
            beside = f" with the adapters {', '.join(adapters)}" if adapters else ""
            raise EngineFailed(f"llama.cpp cannot load {spec.weights}{beside}: {error}") from None
