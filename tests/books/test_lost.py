"""A request that an engine ran and that the books do not have is named, whatever became of its journal."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from desk import CLOCK, Desk
from openmaas.core.clock import Clock, made_ms
from openmaas.core.usage import Usage
from openmaas.ledger.posting.receipts import request_ids
from openmaas.ledger.posting.writing_off import write_off
from openmaas.ledger.writing.journal import Journal

COUNT = (3, 0, 5)


@pytest.fixture
def own(tmp_path: Path) -> Desk:
    """A ledger that need not agree at the end."""
    return Desk(tmp_path / "data")


def run(desk: Desk, journal: Journal, *request_ids: str) -> None:
    """Requests that an engine counted and that ended well."""
    meter = desk.meter()
    for request_id in request_ids:
        meter.append(request_id, "m", COUNT, "done")
        desk.run(journal, request_id, Usage(3, 5))
    meter.close()


def in_segments(desk: Desk, monkeypatch: pytest.MonkeyPatch, count: int = 60) -> list[Path]:
    """A relay that ran sixty requests and left; its journal is in many segments."""
    monkeypatch.setattr("openmaas.ledger.writing.journal.JOURNAL_SEGMENT_BYTES", 4_000)
    monkeypatch.setattr("openmaas.ledger.writing.journal.JOURNAL_RESERVE_BYTES", 1_000)
    journal = desk.relay("rly_1")
    run(desk, journal, *(f"req_{number:02}" for number in range(count)))
    journal.end()
    return sorted((desk.layout.journals / "rly_1").glob("*.journal"))


def test_a_counted_request_that_nobody_has_is_named_and_a_probe_is_not(own: Desk) -> None:
    own.meter().append("req_lost", "m", COUNT, "done")
    own.meter().append("probe_1", "m", COUNT, "done")
    assert own.disagreements() == ["an engine counted req_lost, no journal and no receipt has it"]


def test_a_request_that_runs_or_waits_to_be_posted_is_not_lost(own: Desk) -> None:
    journal = own.relay("rly_1")
    own.meter().append("req_open", "m", COUNT, "done")
    journal.open(own.opened("req_open"))
    run(own, journal, "req_waiting")
    assert own.disagreements() == []
    journal.end()
    own.poster.finish()
    assert own.disagreements() == []
    assert own.database.look(request_ids) == ["req_open", "req_waiting"]


@pytest.mark.parametrize("at", [4, 300, 301, 302])
def test_a_bad_byte_before_the_last_segment_is_said_and_keeps_the_journal_open(
    at: int, own: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = in_segments(own, monkeypatch)[0]
    good = first.read_bytes()
    first.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
    with caplog.at_level(logging.ERROR):
        posted = own.poster.finish()
        own.poster.step()
    assert posted < 60
    assert own.journals() == {"rly_1": "open"}
    assert [record.message.split(" at byte ")[0] for record in caplog.records] == [
        f"journal rly_1 cannot be read on in {first}"
    ]
    found = own.disagreements()
    assert any(said.startswith(f"journal rly_1 cannot be read on in {first} at byte ") for said in found)
    assert sum("an engine counted" in said for said in found) >= 60 - posted - 1
    first.write_bytes(good)  # from a copy: it goes on where it stood
    assert posted + own.poster.finish() == 60
    assert own.journals() == {"rly_1": "replayed"}
    assert own.disagreements() == []


def test_a_length_that_became_nothing_is_not_the_end_of_a_segment(own: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    first = in_segments(own, monkeypatch)[0]
    first.write_bytes(bytes(4) + first.read_bytes()[4:])
    assert own.poster.finish() == 0
    assert own.journals() == {"rly_1": "open"}


def test_a_segment_that_is_gone_is_not_passed_over(own: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    second = in_segments(own, monkeypatch)[1]
    kept = second.read_bytes()
    second.unlink()
    posted = own.poster.finish()
    assert 0 < posted < 60
    assert own.journals() == {"rly_1": "open"}
    second.write_bytes(kept)
    assert posted + own.poster.finish() == 60
    assert own.disagreements() == []


def test_a_request_of_the_time_of_a_journal_that_was_written_off_is_on_record_and_an_older_one_is_lost(
    tmp_path: Path,
) -> None:
    now = [1_000_000]
    clock = Clock(wall_ms=lambda: now[0])
    desk = Desk(tmp_path / "data", clock=clock)
    older = clock.new_id("req")
    now[0] += 10_000
    journal, newer = desk.relay("rly_1"), clock.new_id("req")
    for request_id in (older, newer):
        desk.meter().append(request_id, "m", COUNT, "done")
    journal.end()
    shutil.rmtree(desk.layout.journals / "rly_1")
    assert desk.disagreements() == [f"an engine counted {older}, no journal and no receipt has it"]
    desk.database.call(write_off, clock, desk.layout.journals, "rly_1", "the disk broke")
    assert desk.disagreements() == [f"an engine counted {older}, no journal and no receipt has it"]
    now[0] += 10_000
    later = clock.new_id("req")
    desk.meter().append(later, "m", COUNT, "done")
    assert len(desk.disagreements()) == 2


def test_an_id_says_when_it_was_made() -> None:
    assert made_ms(Clock(wall_ms=lambda: 1_795_522_302_123).new_id("req")) == 1_795_522_302_123
    assert abs((made_ms(CLOCK.new_id("rly")) or 0) - CLOCK.wall_ms()) < 10_000
    assert made_ms("req_lost") is None
    assert made_ms("req_" + "U" * 26) is None
