"""What this relay is working on: noted in the journal every second, so that even ``kill -9`` leaves a count."""

from __future__ import annotations

import asyncio
from types import TracebackType

from openmaas.core.bounds import PROGRESS_INTERVAL_S
from openmaas.ledger.journal import Journal
from openmaas.ledger.records import Progress
from openmaas.relay.flow import Flow


class Running:
    """The flows between ``opened`` and ``closed``."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._flows: dict[str, Flow] = {}

    def __len__(self) -> int:
        return len(self._flows)

    def watch(self, request_id: str, flow: Flow) -> Watch:
        """Count this flow for the length of a ``with``."""
        return Watch(self._flows, request_id, flow)

    async def note(self) -> None:
        """Write progress until cancelled."""
        while True:
            await asyncio.sleep(PROGRESS_INTERVAL_S)
            for request_id, flow in self._flows.items():
                usage = flow.usage(0)
                if usage.completion_tokens:
                    self._journal.progress(Progress(request_id, usage))


class Watch:
    """One flow among the running."""

    __slots__ = ("_flow", "_flows", "_request_id")

    def __init__(self, flows: dict[str, Flow], request_id: str, flow: Flow) -> None:
        self._flows = flows
        self._request_id = request_id
        self._flow = flow

    def __enter__(self) -> None:
        self._flows[self._request_id] = self._flow

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        del self._flows[self._request_id]
