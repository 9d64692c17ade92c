"""The engine of kind ``search``: answers Zhipu's web search from one back end, and counts a call for each answer.

It knows the wire; ``query`` says what a back end is, ``back_ends`` which there are. A search that failed or was called
off before it was answered counts nothing. https://docs.bigmodel.cn/api-reference/工具-api/网络搜索
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from openmaas.core.clock import Clock
from openmaas.core.errors import FieldInvalid, OpenmaasError
from openmaas.engines.answer import Answer, attend
from openmaas.engines.body import decode
from openmaas.engines.meter import Meter
from openmaas.engines.search.back_ends import back_end
from openmaas.engines.search.query import Found, Query
from openmaas.engines.spec import EngineSpec
from openmaas.engines.wire import Exchange

log = logging.getLogger(__name__)

PATH = "/v1/web_search"
_decoder = msgspec.json.Decoder(Query)


class Search:
    """The engine of kind ``search``."""

    def __init__(self, spec: EngineSpec, meter: Meter, clock: Clock) -> None:
        self.model = spec.model
        self.ready = False
        self._back_end = back_end(spec.options, clock)
        self._meter = meter
        self._clock = clock
        self._threads = ThreadPoolExecutor(spec.slots)

    async def start(self) -> None:
        """Load what there is to load."""
        await asyncio.get_running_loop().run_in_executor(self._threads, self._back_end.open)
        self.ready = True

    def stop(self) -> None:
        """Let running searches end."""
        self._threads.shutdown()
        self._back_end.close()

    def post(self, exchange: Exchange) -> None:
        """Answer one request."""
        attend(exchange, self._meter, self.model, self._work)

    def _work(self, answer: Answer, exchange: Exchange) -> None:
        if exchange.path != PATH:
            raise FieldInvalid("this model searches; use /api/paas/v4/web_search", field="model")
        query = decode(_decoder, exchange.body)
        run = exchange.work = _Run(answer)
        run.task = asyncio.get_running_loop().create_task(self._search(answer, query, exchange.request_id))

    async def _search(self, answer: Answer, query: Query, request_id: str) -> None:
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._threads, self._back_end.find, query)
        except OpenmaasError as error:
            log.warning("%s: %s", request_id, error)
            answer.failed(error)
            return
        if not answer.over:
            answer.units = (("call", 1),)
            head = {"id": request_id, "created": self._clock.wall_ms() // 1000, "request_id": request_id}
            answer.finish_plain(msgspec.json.encode(head | _told(query, found)))


def _told(query: Query, found: list[Found]) -> dict[str, Any]:
    """Nothing rewrites a query here: what it means is what it says."""
    text = query.search_query
    intent = {"query": text, "intent": "SEARCH_ALL" if query.search_intent else "SEARCH_ALWAYS", "keywords": text}
    pages = [msgspec.structs.asdict(each) | {"refer": f"ref_{at}"} for at, each in enumerate(found, 1)]
    return {"search_intent": [intent], "search_result": pages}


class _Run:
    """One search, as the wire tells it of its caller. A thread that waits for its back end ends by its time-out."""

    def __init__(self, answer: Answer) -> None:
        self.task: asyncio.Task[None] | None = None
        self._answer = answer

    def cancel(self) -> None:
        self._answer.cancelled(stream=False)

    def lost(self) -> None:
        self._answer.settle("cancelled")

    def pause(self) -> None:
        """An answer is written whole."""

    def resume(self) -> None:
        """See ``pause``."""
