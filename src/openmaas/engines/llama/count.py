"""Counts the tokens of a prompt without answering it: llama.cpp applies its template, then takes the text apart.

Both are its own functions, the ones that an answer begins with, so the count is what the answer would be billed for.
Neither takes a slot: it works while every slot is busy.
"""

from __future__ import annotations

import asyncio

import msgspec

from openmaas.core.errors import FieldInvalid, OpenmaasError
from openmaas.engines.llama.inner import ask
from openmaas.engines.llama.servers import Servers, Voice
from openmaas.engines.wire import Exchange


class Counting:
    """One count on its way. A ``wire.Work`` that has nothing to report when it is cancelled."""

    def __init__(self, exchange: Exchange, servers: Servers, context: int, members: dict[str, msgspec.Raw]) -> None:
        self._exchange = exchange
        self._servers = servers
        self._voice: Voice
        self._context = context
        self._members = members
        exchange.work = self
        self._task = asyncio.get_running_loop().create_task(self._run())

    def cancel(self) -> None:
        """Nobody waits: stop, and say nothing."""
        self._task.cancel()
        self._exchange.cut()

    def lost(self) -> None:
        """See ``cancel``; the connection is gone already."""
        self._task.cancel()

    def pause(self) -> None:
        """An answer is written whole."""

    def resume(self) -> None:
        """See ``pause``."""

    async def _run(self) -> None:
        try:
            told = {"count": await self._count(), "max_model_len": self._context}
        except OpenmaasError as error:
            self._exchange.refuse(error)
        else:
            self._exchange.answer(200, msgspec.json.encode(told))

    async def _count(self) -> int:
        self._voice = await self._servers.voice(self._exchange.adapter)
        self._voice.tell(self._members)
        if "messages" in self._members:
            templated = await ask(self._voice.socket, "/apply-template", self._members)
            return await self._tokens(templated["prompt"])
        prompt = msgspec.json.decode(self._members.get("prompt", b"null"))
        if isinstance(prompt, str):
            return await self._tokens(prompt)
        if isinstance(prompt, list):
            counts = [1 if isinstance(each, int) else await self._tokens(each) for each in prompt]
            return sum(counts)
        raise FieldInvalid("messages or prompt is required", field="messages")

    async def _tokens(self, text: str | list[int]) -> int:
        if isinstance(text, list):
            return len(text)
        found = await ask(
            self._voice.socket, "/tokenize", {"content": text, "add_special": True, "parse_special": True}
        )
        return len(found["tokens"])
