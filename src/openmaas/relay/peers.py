"""The relays of one house, and its worker, tell their counts, so that whichever relay is asked answers for all.

Each has a socket in the private folder; who connects is sent the counts as JSON, and that is all it says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from openmaas.core.bounds import PEER_TIMEOUT_S
from openmaas.relay.metrics import Counts, Metrics
from openmaas.work.counts import Counts as JobCounts

T = TypeVar("T")
_counts = msgspec.json.Decoder(Counts)
_job_counts = msgspec.json.Decoder(JobCounts)


class Peers:
    """``sockets`` of all relays of the house, by number; ours is number ``own``. ``jobs`` is the worker's."""

    def __init__(self, sockets: Sequence[str], own: int, metrics: Metrics, jobs: str) -> None:
        self._jobs = jobs
        self._sockets = sockets
        self._own = own
        self._metrics = metrics

    async def listen(self) -> asyncio.Server:
        """Tell whoever connects, until the server is closed."""
        path = self._sockets[self._own]
        Path(path).unlink(missing_ok=True)  # of a relay of this number that was killed
        return await asyncio.start_unix_server(self._tell, path)

    async def gather(self) -> dict[str, Counts | None]:
        """The counts of every relay by its number; None of one that does not answer in ``PEER_TIMEOUT_S``."""
        found = await asyncio.gather(*[self._ask(number) for number in range(len(self._sockets))])
        return {str(number): counts for number, counts in enumerate(found)}

    async def jobs(self) -> JobCounts | None:
        """The worker's counts; None when it does not answer."""
        # a walk is no task, and a time-out needs one
        return await asyncio.ensure_future(_heard(self._jobs, _job_counts.decode))

    async def _ask(self, number: int) -> Counts | None:
        if number == self._own:
            return self._metrics.now()
        return await _heard(self._sockets[number], _counts.decode)

    async def _tell(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(msgspec.json.encode(self._metrics.now()))
        writer.close()


async def _heard(socket: str, decode: Callable[[bytes], T]) -> T | None:
    try:
        async with asyncio.timeout(PEER_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(socket)
            try:
                return decode(await reader.read(-1))
            finally:
                writer.close()
    except (OSError, msgspec.MsgspecError):  # TimeoutError is an OSError
        return None
