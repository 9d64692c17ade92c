"""What holds an agent back: cancel, pause and resume, taking over and handing back, at any step and in the middle of
one. Whoever shows the task has the reins; the loop asks them before everything it does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from openmaas.apps.agent.gate import Ruling

T = TypeVar("T")


class Cancelled(Exception):  # noqa: N818 - what happened, and nobody's error
    """A person ended the task."""


class Person(Protocol):
    """Who is asked. An answer may take as long as it takes; cancelling ends the wait."""

    async def agree(self, action: str, ruling: Ruling) -> bool:
        """Whether this may be done."""

    async def answer(self, question: str) -> str:
        """What the agent asks."""

    async def take_over(self, reason: str) -> None:
        """Do the next part by hand; returns when the agent may go on."""


class Nobody:
    """Nobody is there: nothing that needs a person is done, and a task that cannot go on without one is cancelled."""

    async def agree(self, action: str, ruling: Ruling) -> bool:
        """No."""
        del action, ruling
        return False

    async def answer(self, question: str) -> str:
        """That nobody is there."""
        del question
        return "Nobody is there to answer. Decide yourself, or finish with succeeded false."

    async def take_over(self, reason: str) -> None:
        """Raises ``Cancelled``."""
        raise Cancelled(f"a person is needed: {reason}")


class Reins:
    """The reins of one task. Every method may be called at any time, from the task's own event loop."""

    def __init__(self) -> None:
        self._cancelled = asyncio.Event()
        self._going = asyncio.Event()
        self._going.set()

    def cancel(self) -> None:
        """End it now: what it waits for is dropped, and a driver puts right what it was in the middle of."""
        self._cancelled.set()

    def pause(self) -> None:
        """Do nothing more after what is being done."""
        self._going.clear()

    def resume(self) -> None:
        """Go on."""
        self._going.set()

    @property
    def paused(self) -> bool:
        """Whether it waits for ``resume``."""
        return not self._going.is_set()

    async def ready(self) -> None:
        """Returns when the agent may go on. Raises ``Cancelled``."""
        await self.through(self._going.wait())

    async def through(self, doing: Coroutine[Any, Any, T]) -> T:
        """What ``doing`` returns, unless it is cancelled first, which cancels it. Raises ``Cancelled``."""
        if self._cancelled.is_set():
            doing.close()
            raise Cancelled("cancelled")
        task = asyncio.ensure_future(doing)
        stop = asyncio.ensure_future(self._cancelled.wait())
        try:
            await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise Cancelled("cancelled")
            return task.result()
        finally:
            for each in (task, stop):
                each.cancel()
            await asyncio.gather(task, stop, return_exceptions=True)
