"""What this relay is working on: noted in the journal every second, so that even ``kill -9`` leaves a count."""

from __future__ import annotations

import asyncio

from openmaas.core.bounds import PROGRESS_INTERVAL_S
from openmaas.ledger.writing.journal import Journal
from openmaas.ledger.writing.records import Progress
from openmaas.relay.flow import Flow


class Running:
    """``flows``: those between ``opened`` and ``closed``, by request id."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.flows: dict[str, Flow] = {}

    def __len__(self) -> int:
        return len(self.flows)

    async def note(self) -> None:
        """Write progress until cancelled."""
        while True:
            await asyncio.sleep(PROGRESS_INTERVAL_S)
            for request_id, flow in self.flows.items():
                usage = flow.usage()
                if usage.completion_tokens:
                    self._journal.progress(Progress(request_id, usage))
