"""The jobs program: batches, tasks, documents to embed, until told to stop; what is over is removed."""

from __future__ import annotations

import asyncio
import logging
import shlex
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from openmaas.catalog.book import list_models
from openmaas.core.bounds import JOB_CHORES_S, JOB_LANE_MAX, KNOWLEDGE_JOBS_MAX
from openmaas.core.clock import Clock
from openmaas.core.errors import Conflict, StoreFailed
from openmaas.files.face import Files
from openmaas.house.files import open_files
from openmaas.house.layout import Layout
from openmaas.house.orders import follow_orders, say_ready, told_to_stop
from openmaas.house.settings import Settings
from openmaas.identity.seal import MasterKeys
from openmaas.jobs.batch import Batches
from openmaas.jobs.embedding import Embeddings
from openmaas.jobs.task import Tasks
from openmaas.jobs.training import can_train
from openmaas.jobs.tuning import Tunings
from openmaas.jobs.worker import Kind, Lane, Worker
from openmaas.store.changes import Follower
from openmaas.store.database import Database
from openmaas.store.files import lock
from openmaas.work.asking import Relays
from openmaas.work.book import count_open, known_jobs, prune, still_open
from openmaas.work.counts import Counts
from openmaas.work.wanted import AGENT, BATCH, EMBEDDING, MESSAGE_BATCH, TASK, TUNING

log = logging.getLogger(__name__)


async def tidy(database: Database, files: Files, clock: Clock, tuned: Path) -> None:
    """Remove files that expired, jobs that ended long ago, and what those left behind; ``tuned`` has the folders of
    tuned models."""
    await files.tidy()
    await database.run(prune, clock.wall_ms())
    with_parts = await asyncio.to_thread(files.depot.part_names)
    for job_id in set(with_parts) - await database.read(still_open, with_parts):
        await asyncio.to_thread(files.depot.drop_parts, job_id)
    folders = {path.name: path for path in tuned.iterdir()}
    offered = {Path(model.checkpoint).parent.name for model in await database.read(list_models)}
    for job_id in folders.keys() - offered - await database.read(known_jobs, list(folders)):
        await asyncio.to_thread(shutil.rmtree, folders[job_id], ignore_errors=True)


async def _tidy_on(database: Database, files: Files, clock: Clock, tuned: Path) -> None:
    while True:
        try:
            await tidy(database, files, clock, tuned)
        except StoreFailed as error:
            log.warning("what is over is not removed yet: %s", error)
        await asyncio.sleep(JOB_CHORES_S)


async def _tell(path: str, count: Callable[[], Awaitable[Counts]]) -> asyncio.Server:
    """Tell whoever connects the counts, as JSON."""

    async def tell(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(msgspec.json.encode(await count()))
        finally:
            writer.close()

    Path(path).unlink(missing_ok=True)  # of a worker that was killed
    return await asyncio.start_unix_server(tell, path)


async def _run(settings: Settings) -> None:
    layout, clock = Layout(settings.data, settings.database_url), Clock()
    if lock(layout.jobs_lock) is None:
        raise Conflict("another worker of this folder has not left yet")
    database = Database(layout.database)
    follower = Follower(database, clock)
    files = open_files(settings, layout, clock, database)
    relays = Relays(layout.insides(settings.relays))
    batches = Batches(files, relays, clock, settings.batch_concurrency)
    tasks = Tasks(relays, settings.task_concurrency)
    kinds: dict[str, Kind] = {
        BATCH: batches,
        MESSAGE_BATCH: batches,
        TASK: tasks,
        AGENT: tasks,
        EMBEDDING: Embeddings(database, files, relays, KNOWLEDGE_JOBS_MAX),
    }
    lanes = [
        Lane((BATCH, MESSAGE_BATCH), JOB_LANE_MAX),
        Lane((TASK, AGENT), settings.task_concurrency),
        Lane((EMBEDDING,), KNOWLEDGE_JOBS_MAX),
    ]
    if settings.tuning_concurrency and can_train():
        commands = {"ms-swift": settings.tuning_ms_swift, "llama-factory": settings.tuning_llama_factory}
        trainers = {name: tuple(shlex.split(command)) for name, command in commands.items()}
        where = layout.tuned, settings.currency, settings.tuning_rank
        kinds[TUNING] = Tunings(database, files, clock, *where, trainers)
        lanes.append(Lane((TUNING,), settings.tuning_concurrency))
    worker = Worker(
        database,
        follower,
        clock,
        MasterKeys(layout.master_keys),
        kinds,
        lanes,
        home=layout.home,
        place=files.depot.place,
    )

    async def count() -> Counts:
        standing = await database.read(count_open, clock.wall_ms())
        ended = [(*name, number) for name, number in worker.ended.items()]
        return Counts([(*name, number) for name, number in standing.items()], ended, batches.lines)

    await follower.start()
    told = await _tell(layout.socket("jobs"), count)
    tidying = _tidy_on(database, files, clock, layout.tuned)
    loops = [asyncio.ensure_future(loop) for loop in (follower.run(), worker.run(), tidying)]
    say_ready()
    stop = asyncio.ensure_future(told_to_stop())
    await asyncio.wait([stop, *loops], return_when=asyncio.FIRST_COMPLETED)
    await worker.stop()
    told.close()
    for loop in loops:
        loop.cancel()
    await asyncio.gather(*loops, return_exceptions=True)
    database.close()


def main() -> None:
    """Run as the supervisor's child."""
    follow_orders("jobs", lambda orders: asyncio.run(_run(orders.settings)))


if __name__ == "__main__":
    main()
