"""A batch: every line of a file asked once, its answer in another file, at the price of batches.

Read ``Run.run``. What was answered is on disk before the next is asked (``parts.py``), so a run that is cut off is
gone on with by the next claim. Lines are asked few at a time (``seats``, shared by all batches of a worker), so that
batches never crowd who waits for an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
import sqlalchemy as sa

from openmaas.core.bounds import (
    FUNDS_PAUSE_S,
    FUNDS_TRIES_MAX,
    LINE_PAUSE_S,
    LINE_PAUSE_S_MAX,
    LINE_TRIES_MAX,
)
from openmaas.core.clock import Clock
from openmaas.core.errors import ThingUnknown
from openmaas.core.money import AMOUNT_NANOS_MAX
from openmaas.files.book import File, add_file, known, remove_file
from openmaas.files.face import Files, Owner
from openmaas.jobs.forms import SHAPES, UNASKED
from openmaas.jobs.lease import Ended, Lease, Waits
from openmaas.jobs.lines import Line, read_lines, request_of
from openmaas.jobs.parts import COMPLETED, UNDONE, Parts
from openmaas.work.asking import Relays, Told, Verdict, error_of, judge
from openmaas.work.wanted import MESSAGE_OUTPUT, TARGETS, BatchProgress, BatchWanted, Mistake, text

PRICE_CLASS = "batch"


class Batches:
    """The kind of job that is a batch."""

    def __init__(self, files: Files, relays: Relays, clock: Clock, lines_max: int) -> None:
        self.files = files
        self.relays = relays
        self.clock = clock
        self.lines_max = lines_max  # asked at once, by all batches of this worker together
        self.seats = asyncio.Semaphore(lines_max)
        self.lines: dict[str, int] = {}  # how lines went, since this worker began

    async def work(self, lease: Lease) -> Ended | Waits:
        """Ask what is not answered yet. Part of ``Kind``."""
        wanted = msgspec.json.decode(lease.job.wanted, type=BatchWanted)
        try:
            _, path = await self.files.path(wanted.input_file_id, lease.job.project_id)
            file = path.open("rb")
        except (ThingUnknown, FileNotFoundError):
            return self.give_up(lease, "input_file_missing", f"the file {wanted.input_file_id} was deleted")
        try:
            return await Run(self, lease, wanted, path, file).run()
        finally:
            file.close()

    def give_up(self, lease: Lease, code: str, message: str) -> Ended:
        """Nothing of it can be asked. Part of ``Kind``."""
        progress = msgspec.json.decode(lease.progress, type=BatchProgress)
        progress.mistakes = [Mistake(code, message)]
        lease.progress = text(progress)
        return Ended("failed", after=lambda: self.files.depot.drop_parts(lease.job.id))


class Run:
    """One claim's work on a batch."""

    _parts: Parts

    def __init__(self, kind: Batches, lease: Lease, wanted: BatchWanted, path: Path, file: BinaryIO) -> None:
        self._kind = kind
        self._lease = lease
        self._wanted = wanted
        self._path = path
        self._file = file
        self._shapes = SHAPES[wanted.form]
        self._progress = msgspec.json.decode(lease.progress, type=BatchProgress)
        self._wait_s: float | None = None  # what the whole batch waits for
        self._broke: Told | None = None  # what was said when the money had gone
        self._stopped: Mistake | None = None  # why nothing may be asked any more

    async def run(self) -> Ended | Waits:
        """Validate, ask, write down what was never asked, and make the files."""
        lines, mistakes = await asyncio.to_thread(read_lines, self._path, self._wanted)
        progress, lease = self._progress, self._lease
        if mistakes:
            progress.mistakes = mistakes
            lease.progress = text(progress)
            return Ended("failed")
        progress.total = len(lines)
        progress.begun_ms = progress.begun_ms or self._kind.clock.wall_ms()
        folder = self._kind.files.depot.parts(lease.job.id)
        self._parts = await asyncio.to_thread(Parts, folder, lease.job.turn)
        try:
            self._count()
            await lease.save()
            await self._ask_all(lines)
            state = self._state(lines)
            if state is None:
                return Waits(self._wait_s or 0.0)
            progress.finalizing_ms = self._kind.clock.wall_ms()
            self._note()
            await lease.save()
            return await self._finalize(state)
        finally:
            self._parts.close()

    async def _ask_all(self, lines: list[Line]) -> None:
        """Ask for each line that has no answer, until there is none or a reason not to."""
        pending = iter([line for line in lines if line.custom_id not in self._parts.done])
        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._kind.lines_max, len(lines))):
                group.create_task(self._ask_some(pending))

    async def _ask_some(self, pending: Iterator[Line]) -> None:
        for line in pending:
            await self._ask(line)
            if self._over():
                return

    async def _ask(self, line: Line) -> None:
        """One line, asked until its answer is final."""
        body = request_of(self._file, line)
        target, once = TARGETS[self._wanted.endpoint], f"{self._lease.job.id}:{line.number}"
        failures = shortages = tries = 0
        while not self._over():
            async with self._kind.seats:
                if self._over():
                    return
                told = await self._kind.relays.post(target, self._lease.token(PRICE_CLASS), once, body)
            verdict, wait_s = judge(told)
            if verdict is Verdict.STOP and await self._lease.key_lives():
                verdict = Verdict.AGAIN
            failures += verdict is Verdict.AGAIN
            shortages += verdict is Verdict.BROKE
            tries += 1
            if verdict in (Verdict.DONE, Verdict.FAILED) or failures == LINE_TRIES_MAX:
                self._answer(line, told)
                return
            if verdict is Verdict.STOP:
                self._stopped = Mistake(*error_of(told))
            elif shortages == FUNDS_TRIES_MAX:
                self._broke = told
            elif verdict is Verdict.WAIT and wait_s > LINE_PAUSE_S_MAX:
                self._wait_s = max(wait_s, self._wait_s or 0.0)
            else:
                pause_s = min(LINE_PAUSE_S * 2.0 ** min(tries, 10), LINE_PAUSE_S_MAX)
                await self._lease.pause(max(wait_s, FUNDS_PAUSE_S if verdict is Verdict.BROKE else pause_s))

    def _over(self) -> bool:
        halted = self._wait_s is not None or self._broke is not None or self._stopped is not None
        return halted or self._lease.over

    def _answer(self, line: Line, told: Told) -> None:
        how = "completed" if told.status == 200 else "failed"
        self._write(how, line, self._shapes.answered(self._lease.job.id, line, told))
        self._note()

    def _state(self, lines: list[Line]) -> str | None:
        """What the batch ends in; None when it is to be gone on with. Lines without an answer get a line that says
        why, so that every name stands in what the customer gets."""
        rest = [line for line in lines if line.custom_id not in self._parts.done]
        if self._broke is not None:
            for line in rest:
                self._answer(line, self._broke)
            return "done"
        if self._stopped is not None:
            self._progress.mistakes = [self._stopped]
            self._give_up(rest, "failed", self._stopped.code, self._stopped.message)
            return "failed"
        if self._lease.cancelled:
            self._give_up(rest, "cancelled", *UNASKED["cancelled"])
            return "cancelled"
        if not rest:
            return "done"
        if self._lease.expired:
            self._give_up(rest, "expired", *UNASKED["expired"])
            return "expired"
        return None

    def _give_up(self, rest: list[Line], why: str, code: str, message: str) -> None:
        for line in rest:
            self._write(why, line, self._shapes.unasked(self._lease.job.id, line, why, code, message))

    async def _finalize(self, state: str) -> Ended:
        """The files that the customer gets, noted together with the end of the batch."""
        made: list[File] = []
        outputs = {"output": (COMPLETED,), "error": UNDONE} if self._shapes.splits else {"output": (COMPLETED, *UNDONE)}
        for name, hows in outputs.items():
            if self._parts.count(*hows):
                made.append(await asyncio.to_thread(self._merge, name, hows))
                setattr(self._progress, f"{name}_file_id", made[-1].id)
        self._note()
        files, job, wanted = self._kind.files, self._lease.job, self._wanted
        gone: list[File] = []

        def also(tx: sa.Connection) -> None:
            for file in made:
                add_file(tx, file, project_bytes_max=AMOUNT_NANOS_MAX)  # what was paid for has room
            gone.clear()
            wasted = wanted.deletes_input and (state == "done" or wanted.form == "anthropic")
            if wasted and known(tx, [wanted.input_file_id]):
                gone.append(remove_file(tx, wanted.input_file_id, job.project_id))

        def after() -> None:
            files.depot.remove(gone)
            files.depot.drop_parts(job.id)

        return Ended(state, also, after)

    def _merge(self, name: str, hows: tuple[str, ...]) -> File:
        files, job = self._kind.files, self._lease.job
        draft = files.depot.draft()
        self._parts.merge(hows, draft)
        draft.close()
        purpose = MESSAGE_OUTPUT if self._wanted.form == "anthropic" else "batch_output"
        named = {"purpose": purpose, "filename": f"{job.id}_{name}.jsonl"}
        owner = Owner(job.organisation_id, job.project_id)
        file = files.new(draft, owner, expires_s=self._wanted.output_expires_s, **named)
        files.depot.keep(draft, file)
        return file

    def _count(self) -> None:
        """What the claims before have answered."""
        for how in (COMPLETED, *UNDONE):
            setattr(self._progress, how, self._parts.count(how))
        self._note()

    def _write(self, how: str, line: Line, written: bytes) -> None:
        self._parts.write(how, line.custom_id, written)
        setattr(self._progress, how, getattr(self._progress, how) + 1)
        self._kind.lines[how] = self._kind.lines.get(how, 0) + 1

    def _note(self) -> None:
        self._lease.progress = text(self._progress)
