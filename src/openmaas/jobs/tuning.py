"""Fine-tuning: a model is made of another one, by a process of its own, and offered to who paid for it.

    1 count     the files' lines, read by the trainer    → how many tokens it will be
    2 hold      the most it can cost                     → a pledge          ledger
    3 train     step by step, from the last checkpoint   → points            training
    4 settle    tokens that were trained                 → a receipt, and the model in the catalogue

A worker or a trainer that is killed leaves nothing to mend: the next claim finds what is held and goes on from the last
checkpoint; what is charged is charged once, in the transaction that ends the job. Who cancels pays for what was
trained; what fails costs nothing.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from openmaas.catalog.book import OWN_TRAINER, Model, add_model, find_model
from openmaas.catalog.deployments import Deployment, add_deployment, list_deployments, new_deployment
from openmaas.core.bounds import RECALL_POLL_S, RECALL_WAIT_S, TUNING_POINTS_MAX, TUNING_SLOTS
from openmaas.core.clock import Clock
from openmaas.core.errors import InsufficientFunds, KeyUnknown, ModelUnknown, ThingUnknown
from openmaas.core.usage import Usage
from openmaas.files.face import Files
from openmaas.jobs.lease import Ended, Lease, Waits
from openmaas.jobs.training import Counted, Line, Log, made, train
from openmaas.ledger.legs import Leg
from openmaas.ledger.posting.pledges import pledge, release, settle
from openmaas.ledger.prices import price_as, price_book
from openmaas.ledger.spending.funds import Use, funding
from openmaas.ledger.spending.holds import Source
from openmaas.ledger.spending.leasing import leased_elsewhere, recall
from openmaas.ledger.writing.records import Opened
from openmaas.store.database import Database
from openmaas.work.book import Job
from openmaas.work.tuned import Held, Point, Trainer, TuningProgress
from openmaas.work.wanted import Mistake, TuningWanted, text

_TUNED = "ft:"
_STRANGE = re.compile(r"[^A-Za-z0-9._-]+")


class Tunings:
    """The kind of job that tunes a model. ``folder`` has a folder for each; ``rank`` is of adapters, 0 for none;
    ``commands`` start trainers of somebody else's, by their names in the catalogue."""

    def __init__(
        self,
        database: Database,
        files: Files,
        clock: Clock,
        folder: Path,
        currency: str,
        rank: int,
        commands: Mapping[str, tuple[str, ...]],
    ) -> None:
        self._database = database
        self._files = files
        self._clock = clock
        self._folder = folder
        self._currency = currency
        self._rank = rank
        self._commands = commands

    async def work(self, lease: Lease) -> Ended | Waits:
        """Go on with it, from wherever it is. Part of ``Kind``."""
        wanted = msgspec.json.decode(lease.job.wanted, type=TuningWanted)
        progress = msgspec.json.decode(lease.progress, type=TuningProgress)
        folder = self._folder / lease.job.id
        try:
            base = await self._database.read(find_model, wanted.model)
            progress.rank = self._rank if progress.rank is None else progress.rank
            progress.trainer = progress.trainer or await self._trainer(base)
            order = await self._order(lease.job, wanted, base, folder)
            order |= {"rank": progress.rank, **self._told(progress.trainer)}
            watch = Watch(lease, progress, folder, self._clock)
            failure = await train(order, folder, watch.over, partial(self._hold, lease, wanted, progress))
        except InsufficientFunds as error:
            said = f"{error.detail}; top up, and create the job again"
            return _failed(lease, progress, Mistake(error.code, said))
        except (ThingUnknown, ModelUnknown, KeyUnknown) as error:
            return _failed(lease, progress, Mistake(error.code, error.message, error.field))
        if failure is not None:
            return _failed(lease, progress, Mistake("invalid_training", failure.message, failure.field))
        if not _over(lease):
            return self._made(lease, wanted, progress, base, folder)
        return self._unfinished(lease, wanted, progress)

    def give_up(self, lease: Lease, code: str, message: str) -> Ended:
        """Part of ``Kind``."""
        return _failed(lease, msgspec.json.decode(lease.progress, type=TuningProgress), Mistake(code, message))

    async def _order(self, job: Job, wanted: TuningWanted, base: Model, folder: Path) -> dict[str, Any]:
        """The order as ``openglm/tune/order.py`` reads it. Raises ``ThingUnknown`` for a file that is gone."""
        paths = {}
        for name in ("training", "validation"):
            if file_id := getattr(wanted, f"{name}_file"):
                try:
                    paths[name] = str((await self._files.path(file_id, job.project_id))[1])
                except ThingUnknown as error:
                    raise ThingUnknown(error.detail, field=f"{name}_file") from None
        return {
            "base": base.checkpoint,
            "into": str(folder),
            "method": wanted.method,
            "seed": wanted.seed,
            "name": name_of(job, wanted),
            **paths,
            **wanted.hyperparameters,
        }

    async def _trainer(self, base: Model) -> Trainer:
        """What trains. Of another trainer's work a GGUF is made where the base is run by one."""
        like = await self._database.read(_like, base)
        own = base.trainer == OWN_TRAINER
        return Trainer(base.trainer, base.trainer_arguments, base.trainer_processes, gguf=own or like is not None)

    def _told(self, trainer: Trainer) -> dict[str, Any]:
        """The order's members for it."""
        if trainer.name == OWN_TRAINER:
            return {}
        told = {"trainer": trainer.name, "arguments": trainer.arguments, "processes": trainer.processes}
        return {**told, "gguf": trainer.gguf, "command": self._commands[trainer.name]}

    async def _hold(self, lease: Lease, wanted: TuningWanted, progress: TuningProgress, counted: Counted) -> None:
        """Set the most it can cost aside, together with the note of it, unless that was done. Raises
        ``InsufficientFunds``, ``KeyUnknown``, ``ModelUnknown``."""
        if progress.held is not None:
            return
        if not await lease.key_lives():
            raise KeyUnknown("the key of this job is revoked; create the job again under another")
        progress.tokens, progress.steps = counted.tokens, counted.steps
        progress.n_epochs, progress.batch_size = counted.n_epochs, counted.batch_size
        job, now_ms = lease.job, self._clock.wall_ms()
        who = job.organisation_id, job.project_id, job.key_id
        use = Use(wanted.model, "", *who, 0, 0, now_ms, units=(("training", progress.tokens),))
        funds = await self._database.read(funding, job.organisation_id, now_ms, self._currency)
        prices = await self._database.read(price_book)
        source = funds.wallet(use, prices)
        if "training" not in prices.version(source.price_version).terms.units:  # it had one when the job was created
            raise ModelUnknown(f"{wanted.model!r} has no price for training any more", field="model")

        def book(tx: sa.Connection) -> None:
            leg = pledge(tx, self._clock, job.id, source)
            progress.held = Held(leg.accounts, leg.currency, leg.price_version, leg.hold_nanos, now_ms)
            lease.progress = text(progress)

        deadline_s = self._clock.mono_s() + RECALL_WAIT_S
        while True:
            try:
                await lease.save(book)
                return
            except InsufficientFunds:
                if self._clock.mono_s() >= deadline_s or not await self._recalled(source, job.id):
                    raise
                await asyncio.sleep(RECALL_POLL_S)

    async def _recalled(self, source: Source, job_id: str) -> bool:
        """Ask relays for what they lease and do not use; False when there is nothing of it."""
        found = False
        for account_id in source.account_ids:
            try:
                leased = (await self._database.read(leased_elsewhere, account_id, job_id))[1]
            except ThingUnknown:  # a wallet that never had anything, or a window that nobody met yet
                continue
            if leased:
                found = True
                await self._database.run(recall, account_id, job_id)
        return found

    def _made(self, lease: Lease, wanted: TuningWanted, progress: TuningProgress, base: Model, folder: Path) -> Ended:
        """It is trained: the model, a deployment, its prices and the charge, in one transaction."""
        job, clock = lease.job, self._clock
        progress.model, progress.trained_tokens = name_of(job, wanted), progress.tokens
        lease.progress = text(progress)
        runs = progress.trainer is None or progress.trainer.gguf
        model = msgspec.structs.replace(
            base,
            name=progress.model,
            description=f"{base.name}, tuned by {job.id}",
            created_ms=clock.wall_ms(),
            owner=job.organisation_id,
            checkpoint=str(folder / ("model" if runs or not progress.rank else "adapter")),
        )

        def book(tx: sa.Connection) -> None:
            add_model(tx, model)
            price_as(tx, model.name, base.name, job.organisation_id, clock.wall_ms())
            if runs:  # what else came of it, an operator attaches to an engine of theirs
                add_deployment(tx, new_deployment(clock, model.name, "llama", **_deployed(tx, base, folder)))
            self._settle(tx, job, wanted, progress, "done")

        return Ended("done", book)

    def _unfinished(self, lease: Lease, wanted: TuningWanted, progress: TuningProgress) -> Ended | Waits:
        lease.progress = text(progress)
        job = lease.job
        if lease.cancelled:
            return Ended("cancelled", lambda tx: self._settle(tx, job, wanted, progress, "client_closed"))
        if lease.expired:
            return _failed(lease, progress, Mistake("tuning_expired", "nobody could train it in time"), "expired")
        return Waits()

    def _settle(
        self, tx: sa.Connection, job: Job, wanted: TuningWanted, progress: TuningProgress, outcome: str
    ) -> None:
        held = progress.held
        if held is None or not progress.trained_tokens:
            release(tx, job.id)
            return
        leg = Leg(held.accounts, held.currency, held.price_version, held.nanos)
        who = job.key_id, job.project_id, job.organisation_id
        opened = Opened(receipt_of(job), held.at_ms, *who, wanted.model, "", (leg,), False, job.id)
        settle(tx, self._clock, opened, Usage(units=(("training", progress.trained_tokens),)), outcome)


class Watch:
    """Looks at a run while it runs: notes its progress, and says when it is to be stopped."""

    def __init__(self, lease: Lease, progress: TuningProgress, folder: Path, clock: Clock) -> None:
        self._lease = lease
        self._progress = progress
        self._clock = clock
        self._log = Log(folder / "run" / "log.jsonl")
        self._checkpoints = folder / "run" / "checkpoints"

    def over(self) -> bool:
        """Read what is new; True when nothing more is to be done."""
        news = self._log.news()
        for line in news:
            self._hear(line)
        kept = sorted(int(path.name.partition("-")[2]) for path in self._checkpoints.glob("step-????????"))
        if news or kept != self._progress.checkpoints:  # the last one is kept after the last line
            self._progress.checkpoints = kept
            self._lease.progress = text(self._progress)
        return _over(self._lease)

    def _hear(self, line: Line) -> None:
        """Of steps that are taken again nothing is new."""
        progress, points = self._progress, self._progress.points
        if line.event == "held_out" and points and points[-1].step <= line.step:
            valid = {"valid_loss": line.loss, "valid_accuracy": line.accuracy}
            points[-1] = msgspec.structs.replace(points[-1], **valid)
        if line.event or line.step <= progress.step:
            return
        progress.step, progress.trained_tokens = line.step, line.trained_tokens
        progress.steps = line.steps or progress.steps
        every = max(1, -(-progress.steps // TUNING_POINTS_MAX))
        if line.step == 1 or line.step % every == 0 or line.step == progress.steps:
            told = line.loss, line.accuracy, line.lr, line.trained_tokens
            points.append(Point(line.step, self._clock.wall_ms(), *told))


def _deployed(tx: sa.Connection, base: Model, folder: Path) -> dict[str, Any]:
    """How the model is run: as an adapter in the engines of its base, where those run here; else by an engine of
    its own, with all weights."""
    found = made(folder)
    like = _like(tx, base)
    if like is None:
        return {"weights": str(folder / found.gguf), "slots": TUNING_SLOTS}
    if found.over_base and not like.over and like.wanted == "running":
        return {"weights": str(folder / found.over_base), "slots": like.slots, "options": {"over": base.name}}
    options = {name: value for name, value in like.options.items() if name != "over"}
    return {"weights": str(folder / found.gguf), "slots": like.slots, "options": options}


def _like(tx: sa.Connection, base: Model) -> Deployment | None:
    """How the embedded engine runs a model, if it does."""
    return next((each for each in list_deployments(tx) if each.model == base.name and each.kind == "llama"), None)


def name_of(job: Job, wanted: TuningWanted) -> str:
    """What the model is called: ``ft:<base>:<organisation>:<suffix>:<end of the job's id>``, also when its base was
    tuned before."""
    suffix, base = _STRANGE.sub("-", wanted.suffix or ""), wanted.model
    if base.startswith(_TUNED):
        base = base.removeprefix(_TUNED).rsplit(":", 3)[0]
    return f"{_TUNED}{base}:{job.organisation_id}:{suffix}:{job.id[-8:].lower()}"


def receipt_of(job: Job) -> str:
    """The receipt of a job: it has one, of the same moment."""
    return f"req_{job.id.partition('_')[2]}"


def _over(lease: Lease) -> bool:
    """Not when others wait: whoever begins a training again repeats a part of it."""
    return lease.cancelled or lease.expired or lease.stopping


def _failed(lease: Lease, progress: TuningProgress, mistake: Mistake, state: str = "failed") -> Ended:
    progress.mistake = mistake
    lease.progress = text(progress)
    job_id = lease.job.id
    return Ended(state, lambda tx: release(tx, job_id))
