"""A journal that is gone for good is written off on record: its leases come back, and nothing is spent twice."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from desk import CLOCK, HOLD, WALLET, Desk
from openmaas.cli.main import main
from openmaas.core.errors import Conflict, FieldInvalid, StoreFailed, ThingUnknown
from openmaas.core.usage import Usage
from openmaas.ledger.book import find_account
from openmaas.ledger.posting.writing_off import WriteOff, write_off
from openmaas.ledger.spending.leasing import Step, lease, open_journal


def write(desk: Desk, journal_id: str, reason: str = "the disk broke") -> WriteOff:
    return desk.database.call(write_off, CLOCK, desk.layout.journals, journal_id, reason)


def lose(desk: Desk, life: str, keep: Path) -> None:
    """Its folder is moved to where nobody looks."""
    shutil.move(desk.layout.journals / life, keep)


def test_the_leases_of_a_lost_journal_come_back_and_what_was_posted_stays(desk: Desk, tmp_path: Path) -> None:
    journal = desk.relay("rly_1")
    desk.run(journal, "req_posted", Usage(3, 5))
    assert desk.poster.step() == 1
    desk.run(journal, "req_lost", Usage(3, 5))
    journal.end()
    cost = desk.price.charge(Usage(3, 5), 1)
    lose(desk, "rly_1", tmp_path / "kept")
    made = write(desk, "rly_1")
    assert made.freed == {WALLET: 100 * HOLD - cost}
    assert write(desk, "rly_1", "again") == made
    assert desk.journals() == {"rly_1": "written_off"}
    account = desk.database.look(find_account, WALLET)
    assert (account.leased_nanos, account.posted_nanos) == (0, 10**15 - cost)
    assert desk.disagreements() == []
    assert desk.poster.step() == 0
    shutil.move(tmp_path / "kept", desk.layout.journals / "rly_1")  # it turns up again: too late, and on record
    assert desk.poster.step() == 0


def test_a_poster_that_was_reading_a_journal_when_it_was_written_off_posts_no_more_of_it(
    desk: Desk, tmp_path: Path
) -> None:
    journal = desk.relay("rly_1")
    desk.run(journal, "req_1", Usage(3, 5))
    assert desk.poster.step() == 1
    lose(desk, "rly_1", tmp_path / "kept")
    write(desk, "rly_1")
    shutil.move(tmp_path / "kept", desk.layout.journals / "rly_1")
    desk.run(journal, "req_2", Usage(3, 5))
    assert desk.poster.step() == 0
    fields = {"least_nanos": 1, "wish_nanos": 1, "share": 1}
    with pytest.raises(StoreFailed, match="written_off"):  # and its relay, if it lives, leases no more
        desk.database.call(lease, CLOCK, WALLET, Step("rly_1", 2), **fields)
    journal.end()


def test_a_journal_that_can_be_posted_is_not_written_off(desk: Desk) -> None:
    journal = desk.relay("rly_1")
    with pytest.raises(Conflict, match="replay"):
        write(desk, "rly_1")
    journal.end()
    with pytest.raises(Conflict, match="replay"):
        write(desk, "rly_1")
    desk.poster.step()
    with pytest.raises(Conflict, match="nothing is lost"):
        write(desk, "rly_1")
    with pytest.raises(ThingUnknown):
        write(desk, "rly_2")
    with pytest.raises(FieldInvalid):
        write(desk, "rly_1", " ")


def test_a_journal_whose_folder_is_gone_keeps_no_other_from_being_posted(
    desk: Desk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    desk.relay("rly_1").end()
    journal = desk.relay("rly_2")
    desk.run(journal, "req_1", Usage(3, 5))
    lose(desk, "rly_1", tmp_path / "kept")
    with caplog.at_level(logging.ERROR):
        assert [desk.poster.step() for _ in range(3)] == [1, 0, 0]
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["the folder of journal rly_1 is gone"]
    desk.run(journal, "req_2", Usage(3, 5))
    journal.end()
    shutil.move(tmp_path / "kept", desk.layout.journals / "rly_1")  # a disk that was mounted late
    assert desk.poster.finish() == 1
    assert set(desk.journals().values()) == {"replayed"}


def test_the_command_and_the_audit_say_what_is_lost(desk: Desk) -> None:
    desk.database.call(open_journal, "rly_far", "another machine", CLOCK.wall_ms())
    fields = {"least_nanos": 2 * HOLD, "wish_nanos": 1, "share": 1}
    desk.database.call(lease, CLOCK, WALLET, Step("rly_far", 1), **fields)

    def command(*words: str) -> tuple[int, str]:
        found = CliRunner().invoke(main, ["ledger", *words, "--data", desk.layout.data])
        return found.exit_code, found.output

    status, said = command("audit")
    assert status == 0, said
    assert "rly_far of another machine is open and not in this folder; its relay leases 2.00 of" in said
    assert command("write-off", "rly_far")[0] == 2  # without a reason
    assert command("write-off", "rly_nobody", "--reason", "x")[0] == 2
    status, said = command("write-off", "rly_far", "--reason", "it burned")
    assert (status, said) == (0, f"written off; free again: 2.00 of {WALLET}\n")
    status, said = command("audit")
    assert status == 0
    assert "journal rly_far was written off on " in said
    assert f"(it burned); its relay leased 2.00 of {WALLET}" in said
