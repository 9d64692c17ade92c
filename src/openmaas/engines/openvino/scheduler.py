"""Which requests are computed: all that are there, one step after the other (continuous batching).

A step computes the next token of every request, or the next part of its prompt, in a thread that alone has the
pipeline; between two steps requests come, go, and are told of. So who leaves stops its work within a step, and is told
a count in which that step is. OpenVINO keeps Python's lock for as long as a step takes (2026.4): between two of them
the event loop gets its turns, or a request would wait one step for each of them.

It knows runs and the pipeline, nothing of bytes. ``engine.py`` gives it runs.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from openmaas.core.bounds import LOOP_TURNS_PER_STEP
from openmaas.core.errors import EngineFailed, OpenmaasError
from openmaas.engines.openvino.pipeline import Heard, Pipeline
from openmaas.engines.openvino.proving import Proving
from openmaas.engines.openvino.run import Choice, Group, Run

log = logging.getLogger(__name__)
_Told = list[tuple[Choice, Heard | OpenmaasError]]


class Scheduler:
    """Shares one pipeline among runs, ``slots`` choices at a time."""

    def __init__(self, pipeline: Pipeline, proving: Proving, thread: ThreadPoolExecutor, slots: int) -> None:
        """``thread`` has one worker: the pipeline is one's at a time."""
        self._pipeline = pipeline
        self._proving = proving
        self._thread = thread
        self._slots = slots
        self._waiting: deque[Group] = deque()
        self._running: dict[Choice, None] = {}
        self._gone: list[Choice] = []  # cancelled before the next step
        self._computing = False
        self._leaving: set[Run] = set()
        self._woken = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._walk())
        self._task.add_done_callback(_ended)

    def stop(self) -> None:
        """Take no further step."""
        self._task.cancel()

    def add(self, groups: Sequence[Group]) -> None:
        """Let ``groups`` wait for a slot, behind all that wait already."""
        self._waiting.extend(groups)
        self._woken.set()

    def leave(self, run: Run) -> None:
        """Stop the work of ``run``: now, or when the step ends that computes for it."""
        self._waiting = deque(group for group in self._waiting if group.run is not run)
        if self._computing:
            self._leaving.add(run)
        else:
            self._let_go(run)
            run.left()

    async def _walk(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            for _ in range(LOOP_TURNS_PER_STEP):
                await asyncio.sleep(0)
            joining, gone = self._next(), self._gone
            if not joining and not gone and not self._running:
                self._woken.clear()
                await self._woken.wait()
                continue
            self._gone = []
            self._running |= dict.fromkeys(joining)
            self._computing = True
            try:
                told = await loop.run_in_executor(self._thread, self._compute, joining, list(self._running), gone)
            except EngineFailed as wrong:
                await self._fail(wrong)
                continue
            self._computing = False
            self._tell(told)

    def _next(self) -> list[Choice]:
        """The choices that get a slot now, the longest waiting first. Of a prompt one goes before, until it is read."""
        joining: list[Choice] = []
        free = self._slots - len(self._running)
        for group in self._waiting:
            while group.waiting and (group.read or not group.joined) and len(joining) < free:
                joining.append(group.waiting.pop(0))
                group.joined = True
        self._waiting = deque(group for group in self._waiting if group.waiting)
        return joining

    def _compute(self, joining: Sequence[Choice], running: Sequence[Choice], gone: Sequence[Choice]) -> _Told:
        """The thread's half of a step. Raises ``EngineFailed``: all that run are lost then."""
        told: _Told = []
        for choice in gone:
            self._pipeline.cancel(choice.request)
        for choice in joining:
            try:
                self._begin(choice)
            except OpenmaasError as error:
                told.append((choice, error))
        self._pipeline.step()
        for choice in running:
            if choice.request is not None:
                try:
                    told.append((choice, self._pipeline.read(choice.request)))
                except OpenmaasError as error:
                    told.append((choice, error))
        return told

    def _begin(self, choice: Choice) -> None:
        group, first = choice.group, not choice.group.read
        if group.grammar and first:
            self._proving.prove(group.grammar)
        cached = self._pipeline.prefixes.cached(group.prompt)
        choice.request = self._pipeline.add(group.prompt, group.budget, group.grammar, choice.sampling)
        if first:
            group.run.answer.prompt += len(group.prompt)
            group.run.answer.cached += cached

    def _tell(self, told: _Told) -> None:
        """What came of a step, to the runs of its choices."""
        runs: dict[Run, OpenmaasError | None] = {}
        for choice, heard in told:
            run = choice.group.run
            if isinstance(heard, OpenmaasError):
                runs[run] = heard
                continue
            if heard.tokens and not choice.group.read:
                choice.group.read = True
                self._pipeline.prefixes.computed(choice.group.prompt)
            runs.setdefault(run, None)
            if run.heard(choice, heard):
                self._pipeline.prefixes.computed([*choice.group.prompt, *choice.tokens])
                self._end(choice, over=bool(heard.finish))
        leaving, self._leaving = self._leaving, set()
        for run, error in runs.items():
            if error is not None:
                self._let_go(run)
                run.failed(error)
            elif run not in leaving:
                run.stepped()
        for run in leaving:
            self._let_go(run)
            run.left()

    def _let_go(self, run: Run) -> None:
        self._waiting = deque(group for group in self._waiting if group.run is not run)
        for choice in [each for each in self._running if each.group.run is run]:
            self._end(choice, over=False)

    def _end(self, choice: Choice, *, over: bool) -> None:
        """Its slot is free. Unless the pipeline itself is ``over`` with it, that one is told before the next step."""
        del self._running[choice]
        if not over and choice.request is not None:
            self._gone.append(choice)
            self._woken.set()

    async def _fail(self, wrong: EngineFailed) -> None:
        """The pipeline is in no known state: whatever ran is lost, and the next step begins with another one."""
        log.error("a step failed: %s", wrong.message)
        lost = {choice.group.run: None for choice in self._running} | dict.fromkeys(self._leaving)
        self._running.clear()
        self._gone, self._leaving = [], set()
        self._waiting = deque(group for group in self._waiting if group.run not in lost)
        for run in lost:
            run.failed(wrong)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._pipeline.renew)
        self._computing = False


def _ended(task: asyncio.Task[None]) -> None:
    """A mistake of ours has ended the steps: nobody would be answered any more, so the supervisor starts us anew."""
    if not task.cancelled() and (wrong := task.exception()) is not None:
        log.critical("the scheduler broke", exc_info=wrong)
        os._exit(1)
