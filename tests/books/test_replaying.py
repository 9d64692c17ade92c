"""`openmaas ledger replay`, and a journal whose last segment lost something: what stands behind is not given up."""

from __future__ import annotations

import itertools
import json
import logging
from pathlib import Path

import pytest
from click.testing import CliRunner

from desk import Desk
from openmaas.cli.main import main
from openmaas.core.errors import StoreFailed
from openmaas.core.usage import Usage
from openmaas.ledger.posting.poster import Poster
from openmaas.ledger.posting.receipts import request_ids
from openmaas.ledger.writing.journal import Position, broken, read_on
from openmaas.ledger.writing.records import Progress, frame, has_record
from openmaas.store.audit_log import list_entries

ONE = Usage(3, 5)
NAMES = [f"req_{number}" for number in range(6)]


@pytest.fixture
def own(tmp_path: Path) -> Desk:
    """A ledger that need not agree at the end."""
    return Desk(tmp_path / "data")


def died(desk: Desk) -> tuple[Path, list[int]]:
    """A relay that ran six requests, noted one and is gone: its only segment, and where each record begins."""
    journal = desk.relay("rly_1")
    for name in NAMES:
        desk.meter().append(name, "m", (3, 0, 5), "done")
        desk.run(journal, name, ONE)
    journal.progress(Progress("req_6", ONE))
    journal.end()
    at, starts = Position(1, 0), []
    while records := read_on(desk.layout.journals / "rly_1", at):
        starts += [offset for _, (_, offset) in records]
    return desk.layout.journals / "rly_1" / "00000001.journal", [*starts, at.offset]


def replay(desk: Desk) -> tuple[int, dict[str, object], str]:
    done = CliRunner().invoke(main, ["ledger", "replay", "--data", str(desk.layout.journals.parent), "--json"])
    return done.exit_code, json.loads(done.stdout), done.stderr


def entries(desk: Desk) -> list[tuple[str, dict[str, object]]]:
    found = desk.database.look(list_entries, after=0, limit=9)
    return [(entry.action, json.loads(bytes(entry.detail))) for entry, _ in found]


def test_a_replay_is_recorded_when_it_begins_and_with_what_came_of_it(own: Desk) -> None:
    died(own)
    assert replay(own) == (0, {"posted": 6, "broken": []}, "")
    assert entries(own) == [
        ("ledger.replay.begin", {}),
        ("ledger.replay.end", {"outcome": "done", "posted": 6, "broken": []}),
    ]


def test_a_replay_that_fails_is_recorded_as_failed(own: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    died(own)

    def breaks(_poster: Poster) -> int:
        raise StoreFailed("on cue")

    monkeypatch.setattr(Poster, "finish", breaks)
    assert CliRunner().invoke(main, ["ledger", "replay", "--data", str(own.layout.journals.parent)]).exit_code != 0
    assert entries(own) == [("ledger.replay.begin", {}), ("ledger.replay.end", {"outcome": "failed"})]


@pytest.mark.parametrize("record", [0, 3, 11])
@pytest.mark.parametrize("byte", [0, 3, 4, 8, 40])
def test_a_flipped_byte_before_good_records_is_said_by_replay_and_audit_with_file_and_offset(
    own: Desk, record: int, byte: int
) -> None:
    path, starts = died(own)
    good = path.read_bytes()
    at = starts[record] + byte
    path.write_bytes(good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1 :])
    said = f"journal rly_1 cannot be read on in {path} at byte {starts[record]}: put the file back from a copy"
    code, told, errors = replay(own)
    assert (code, told["posted"]) == (1, record // 2)
    assert errors.startswith(said)
    assert entries(own)[-1][1]["outcome"] == "broken"
    assert own.journals() == {"rly_1": "open"}
    found = own.disagreements()
    assert found[0].startswith(said)
    path.write_bytes(good)
    assert replay(own)[:2] == (0, {"posted": 6 - record // 2, "broken": []})
    assert own.database.look(request_ids) == NAMES
    assert own.disagreements() == []


def test_a_page_that_never_reached_the_disk_is_not_the_end_when_a_later_one_did(own: Desk) -> None:
    path, starts = died(own)
    good = path.read_bytes()
    path.write_bytes(good[: starts[4]] + bytes(starts[8] - starts[4]) + good[starts[8] :])
    code, told, _ = replay(own)
    assert (code, told["posted"]) == (1, 2)
    assert f"{path} at byte {starts[4]}" in own.disagreements()[0]


def test_what_a_relay_was_writing_when_it_died_is_the_end_at_whatever_byte_it_stopped(own: Desk) -> None:
    path, starts = died(own)
    good, begin, end = path.read_bytes(), starts[-2], starts[-1]
    for stopped in range(begin, end):
        path.write_bytes(good[:stopped] + bytes(len(good) - stopped))
        assert broken(path.parent, Position(1, begin)) is None
        path.write_bytes(good[:stopped])
        assert broken(path.parent, Position(1, begin)) is None
    path.write_bytes(good[: end - 1] + b"\xff" + good[end:])  # nothing behind says that it was whole
    assert replay(own)[:2] == (0, {"posted": 6, "broken": []})
    assert own.journals() == {"rly_1": "replayed"}


def test_beside_a_writer_that_waits_nothing_is_broken_and_what_it_spoiled_is_said_at_once(
    own: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    journal = own.relay("rly_1")
    path = own.layout.journals / "rly_1" / "00000001.journal"
    own.run(journal, "req_0", ONE)
    assert own.poster.step() == 1
    spot = len(path.read_bytes().rstrip(b"\0"))
    own.run(journal, "req_1", ONE)
    with path.open("r+b") as file:
        file.seek(spot + 20)
        file.write(b"\xff")
    with caplog.at_level(logging.ERROR):
        assert own.poster.step() == 0
        assert own.poster.step() == 0
    assert len(caplog.records) == 1
    assert str(path) in caplog.text
    journal.end()


def test_every_kind_of_record_is_found_wherever_it_stands(own: Desk) -> None:
    path, starts = died(own)
    good = path.read_bytes()
    for begin, end in itertools.pairwise(starts):
        assert has_record(b"\x01" + good[begin:end])
        assert not has_record(b"\x01" + good[begin : end - 1])
    assert not has_record(frame(Progress("req_1", ONE))[:-1] + b"\xff" * 100)
