"""What nobody asks for any more is forgotten; what somebody may still need stays."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from desk import CLOCK, Desk
from openmaas.core.bounds import IDEMPOTENT_KEPT_S, JOURNAL_KEPT_S, JOURNAL_STRAY_S, METER_KEPT_S
from openmaas.core.errors import KeyRevoked
from openmaas.core.usage import Usage
from openmaas.engines.meter import Meter, find
from openmaas.identity.book import add_key, add_organisation, add_project, revoke_key
from openmaas.identity.face import Keys
from openmaas.identity.seal import MasterKeys
from openmaas.ledger.law import idempotency as repetitions
from openmaas.ledger.law import journals
from openmaas.ledger.writing import idempotency
from openmaas.ledger.writing.journal import Journal
from openmaas.store import changes
from openmaas.store.changes import EVERYTHING, Follower


def grow_old(path: Path, age_s: float) -> None:
    """As if nobody had touched it for so long."""
    os.utime(path, (time.time() - age_s - 10,) * 2)


def test_a_posted_journal_goes_with_its_row_after_a_week_and_an_open_one_never(desk: Desk) -> None:
    long_ago_ms = CLOCK.wall_ms() - JOURNAL_KEPT_S * 1000 - 10_000
    for life in ("rly_old", "rly_lost"):
        journal = desk.relay(life, long_ago_ms)
        desk.run(journal, f"req_{life}", Usage(3, 5))
        journal.end()
    living = desk.relay("rly_living", long_ago_ms)
    desk.database.call(
        lambda tx: tx.execute(
            journals.insert().values(
                id="rly_off",
                home=desk.layout.home,
                started_ms=1,
                state="written_off",
                cursor_segment=1,
                cursor_offset=0,
                floor_segment=1,
                floor_offset=0,
            )
        )
    )
    assert desk.poster.step() == 2
    desk.poster.step()
    assert desk.journals() == {"rly_living": "open", "rly_off": "written_off"}
    assert [path.name for path in desk.layout.journals.iterdir()] == ["rly_living"]
    living.end()


def test_the_folder_of_a_relay_that_died_before_it_registered_goes(desk: Desk) -> None:
    folder = desk.layout.journals
    Journal(folder / "rly_died").end()
    Journal(folder / "rly_just_died").end()
    starting = Journal(folder / "rly_starting")  # it waits for the database, and lives
    registered = desk.relay("rly_registered")
    registered.end()
    for life in ("rly_died", "rly_starting", "rly_registered"):
        grow_old(folder / life, JOURNAL_STRAY_S)
    desk.poster.step()
    assert {path.name for path in folder.iterdir()} == {"rly_just_died", "rly_starting", "rly_registered"}
    starting.end()


def test_an_old_meter_file_goes_and_the_newest_stays(desk: Desk) -> None:
    meter = desk.meter(bytes_max=200)
    for number in range(9):
        meter.append(f"probe_{number}", "m", (1, 0, 1), "done")
    files = sorted(desk.layout.meters.iterdir())
    assert len(files) > 3
    for path in files[:2] + files[-1:]:
        grow_old(path, METER_KEPT_S)
    desk.poster.step()
    assert sorted(desk.layout.meters.iterdir()) == files[2:]
    meter.append("probe_last", "m", (1, 0, 1), "done")
    again = desk.meter(bytes_max=200)
    again.append("probe_again", "m", (1, 0, 1), "done")
    assert set(find(desk.layout.meters, ["probe_0", "probe_8", "probe_last", "probe_again"])) == {
        "probe_8",
        "probe_last",
        "probe_again",
    }


def test_a_count_that_an_orphan_waits_for_is_not_forgotten(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A house that stood still for a month, with a request that it never finished."""
    old_ms = CLOCK.wall_ms() - 2 * METER_KEPT_S * 1000
    journal = desk.relay("rly_1", old_ms)
    journal.open(desk.opened("req_1", old_ms))
    journal.end()
    meter: Meter = desk.meter(bytes_max=100)
    meter.append("req_1", "m", (7, 0, 9), "cancelled")
    meter.append("probe_2", "m", (1, 0, 1), "done")
    grow_old(Path(desk.layout.meter("dep")), METER_KEPT_S)
    desk.poster.step()  # prunes, while the orphan still has its grace
    monkeypatch.setattr("openmaas.ledger.posting.poster.ORPHAN_GRACE_S", 0)
    desk.poster.step()
    (receipt,) = desk.database.look(lambda tx: tx.execute(sa.text("SELECT * FROM receipts")).all())
    assert (receipt.prompt_tokens, receipt.completion_tokens, receipt.estimated) == (7, 9, 0)


def test_repetitions_that_are_over_go_without_anybody_asking(desk: Desk) -> None:
    def claimed(tx: sa.Connection) -> None:
        for key, age_s in (("old", IDEMPOTENT_KEPT_S + 10), ("new", IDEMPOTENT_KEPT_S - 10)):
            idempotency.claim(tx, CLOCK, idempotency.Claim("k", key, b"", f"req_{key}", "rly_1"))
            row = repetitions.c.idempotency_key == key
            tx.execute(repetitions.update().where(row).values(created_ms=CLOCK.wall_ms() - age_s * 1000))

    desk.database.call(claimed)
    desk.poster.step()
    rows = desk.database.look(lambda tx: tx.execute(sa.select(repetitions.c.idempotency_key)).scalars().all())
    assert rows == ["new"]


def test_a_follower_that_lags_behind_what_is_kept_hears_that_everything_changed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openmaas.store.changes.CHANGES_KEPT", 5)
    heard: dict[str, list[str]] = {"late": [], "in time": []}

    async def follow() -> None:
        followers = {name: Follower(desk.database, CLOCK) for name in heard}
        for name, follower in followers.items():
            follower.on("key", heard[name].append)
            await follower.start()
        for number in range(9):
            desk.database.call(changes.note, "key", f"key_{number}")
            if number < 6:
                await followers["in time"].step()
        desk.poster.step()
        for follower in followers.values():
            await follower.step()
            await follower.step()

    asyncio.run(follow())
    assert heard["in time"] == [f"key_{number}" for number in range(9)]
    assert heard["late"] == [EVERYTHING, *(f"key_{number}" for number in range(4, 9))]


def test_a_key_that_was_revoked_behind_what_is_kept_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openmaas.store.changes.CHANGES_KEPT", 1)
    master = MasterKeys(desk.layout.master_keys)
    project = desk.database.call(lambda tx: add_project(tx, CLOCK, add_organisation(tx, CLOCK, "o"), "p"))
    key_id, text = desk.database.call(add_key, CLOCK, master, project, "k", scopes=["inference"])

    async def play() -> None:
        follower = Follower(desk.database, CLOCK)
        keys = Keys(desk.database, follower, CLOCK, master)
        await follower.start()
        assert (await keys.recognise(f"Bearer {text}".encode())).key_id == key_id
        desk.database.call(revoke_key, CLOCK, key_id)
        desk.database.call(changes.note, "catalog", "m")
        desk.poster.step()
        await follower.step()
        with pytest.raises(KeyRevoked):
            await keys.recognise(f"Bearer {text}".encode())

    asyncio.run(play())
