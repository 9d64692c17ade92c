"""Which rows are computed next: one step after the other, each for all that are there (continuous batching).

A step reads one prompt that waits, if a row is free for it, and computes one token of every row whose caller reads. It
runs in a thread, so that the event loop answers meanwhile; between two steps nothing is computed, and only then rows
come, go, and are told of. So who leaves stops its work within a step, and is told a count in which that step is.

It knows runs and rows, nothing of bytes. ``engine.py`` gives it runs; nobody else calls the model.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from openglm.errors import Refused
from openglm.models.infill import Choose
from openglm.models.rows import Rows, Seat
from openmaas.core.errors import EngineFailed
from openmaas.engines.glm.run import Choice, Group, Run

log = logging.getLogger(__name__)
_Told = list[tuple[Seat, int, int | None]]


class Scheduler:
    """Shares the rows of one model among runs."""

    def __init__(self, rows: Rows, thread: ThreadPoolExecutor) -> None:
        """``thread`` has one worker: the model is computed by one at a time."""
        self._rows = rows
        self._thread = thread
        self._waiting: deque[Group] = deque()
        self._seated: dict[Seat, tuple[Run, Choice]] = {}
        self._computing: set[Run] = set()  # for whom the thread computes now
        self._leaving: set[Run] = set()
        self._woken = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._walk())
        self._task.add_done_callback(_ended)

    def stop(self) -> None:
        """Take no further step."""
        self._task.cancel()

    def add(self, groups: Sequence[Group]) -> None:
        """Let ``groups`` wait for rows, behind all that wait already."""
        self._waiting.extend(groups)
        self.wake()

    def wake(self) -> None:
        """There may be something to do."""
        self._woken.set()

    def leave(self, run: Run) -> None:
        """Stop the work of ``run``: now, or when the step ends that computes for it."""
        self._waiting = deque(group for group in self._waiting if group.run is not run)
        if run in self._computing:
            self._leaving.add(run)
        else:
            self._let_go(run)
            run.left()

    async def _walk(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            group, joining = self._next()
            active = [seat for seat, (run, _) in self._seated.items() if not run.paused]
            if not joining and not active:
                self._woken.clear()
                await self._woken.wait()
                continue
            self._computing = {self._seated[seat][0] for seat in active} | ({group.run} if group else set())
            try:
                told = await loop.run_in_executor(self._thread, self._compute, group, joining, active)
            except (RuntimeError, Refused) as wrong:  # torch's, such as memory that is not there
                self._fail(str(wrong).splitlines()[0])
                continue
            if group is not None:
                self._joined(group, joining)
            computed, self._computing = self._computing, set()
            for seat, _, token in told:
                self._hear(seat, token)
            for run in computed:
                if run in self._leaving:
                    self._leaving.discard(run)
                    self._let_go(run)
                    run.left()
                else:
                    run.stepped()

    def _next(self) -> tuple[Group | None, list[Choice]]:
        """The first that waits, and as many of its choices as there are rows free."""
        if not self._waiting or not (free := self._rows.free):
            return None, []
        group = self._waiting[0]
        joining, group.waiting = group.waiting[:free], group.waiting[free:]
        if not group.waiting:
            self._waiting.popleft()
        return group, joining

    def _compute(self, group: Group | None, joining: Sequence[Choice], active: Sequence[Seat]) -> _Told:
        """The thread's half of a step."""
        seats = list(active)
        if group is not None:
            chooses: list[Choose | None] = [choice.choose for choice in joining]
            new = self._rows.join(group.prompt.tokens, chooses, endless=group.endless)
            for choice, seat in zip(joining, new, strict=True):
                choice.seat = seat
            seats += new
        told: _Told = self._rows.step(seats)
        return told

    def _joined(self, group: Group, joining: Sequence[Choice]) -> None:
        if not group.counted:
            group.counted = True
            group.run.answer.prompt += len(group.prompt.tokens)
        for choice in joining:
            assert choice.seat is not None
            self._seated[choice.seat] = (group.run, choice)

    def _hear(self, seat: Seat, token: int | None) -> None:
        """What a row was told by the model."""
        run, choice = self._seated[seat]
        run.answer.completion += 1
        if token is None:
            choice.text.end_blank()
        elif choice.text.token(token):
            self._rows.end_span(seat)
            choice.text.end_blank()
        if seat.row.done or seat.tokens >= choice.budget:
            choice.finish = "stop" if seat.row.done else "length"
            choice.text.end()
            self._free(seat)

    def _let_go(self, run: Run) -> None:
        for seat in [seat for seat, (owner, _) in self._seated.items() if owner is run]:
            self._free(seat)

    def _free(self, seat: Seat) -> None:
        del self._seated[seat]
        self._rows.leave(seat)

    def _fail(self, reason: str) -> None:
        """The rows are in no known state: all of them are lost, and the next step begins with none."""
        log.error("a step failed: %s", reason)
        lost = self._computing | {run for run, _ in self._seated.values()}
        self._computing, self._leaving = set(), set()
        self._seated.clear()
        self._rows.clear()
        self._waiting = deque(group for group in self._waiting if group.run not in lost)
        for run in lost:
            run.failed(EngineFailed(reason))


def _ended(task: asyncio.Task[None]) -> None:
    """A mistake of ours has ended the steps: nobody would be answered any more, so the supervisor starts us anew."""
    if not task.cancelled() and (wrong := task.exception()) is not None:
        log.critical("the scheduler broke", exc_info=wrong)
        os._exit(1)
