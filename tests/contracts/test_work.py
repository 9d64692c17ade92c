"""What the book of jobs promises on each database: one worker at a time, nothing forgotten, no ghost writes."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from openmaas.core.bounds import JOB_ATTEMPTS_MAX, JOB_LEASE_S
from openmaas.core.clock import Clock
from openmaas.core.errors import LeaseLost, ThingUnknown
from openmaas.store.changes import latest, since
from openmaas.store.database import Database
from openmaas.work import book
from openmaas.work.book import Asker, Job
from servers import STORES, new_database

KINDS = ("batch", "task")
ASKER = Asker("org_1", "prj_1", "key_1")


class Office:
    """A book of jobs and a clock that the test moves."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now_ms = 1_800_000_000_000
        self.clock = Clock(wall_ms=lambda: self.now_ms)

    def add(self, kind: str = "batch", organisation: str = "org_1", place: str = "", lives_s: int = 3_600) -> Job:
        self.now_ms += 1
        asker = msgspec.structs.replace(ASKER, organisation_id=organisation)
        fields = {"wanted": "{}", "progress": "{}", "lives_s": lives_s, "place": place}
        return self.database.call(book.add_job, self.clock, kind, asker, **fields)

    def claim(self, worker: str = "home/one", kinds: tuple[str, ...] = KINDS, place: str = "") -> Job | None:
        return self.database.call(book.claim, self.clock, worker, kinds, place)

    def sure(self, worker: str = "home/one") -> Job:
        found = self.claim(worker)
        assert found is not None
        return found

    def call(self, work: Any, job: Job, *args: Any, **kwargs: Any) -> Any:
        return self.database.call(work, self.clock, job, *args, **kwargs)


@pytest.fixture(params=STORES)
def office(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    made = Office(new_database(request.param, tmp_path))
    yield made
    made.database.close()


def test_workers_that_ask_at_once_get_each_job_once(office: Office) -> None:
    wanted = {office.add().id for _ in range(24)}
    got: list[str] = []

    def work(name: str) -> None:
        while (job := office.claim(name)) is not None:
            got.append(job.id)

    threads = [threading.Thread(target=work, args=(f"home/{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(wanted)


def test_a_job_whose_worker_is_silent_goes_to_the_next_and_the_first_can_write_no_more(office: Office) -> None:
    office.add()
    first = office.sure()
    assert office.claim("home/two") is None
    office.now_ms += int(JOB_LEASE_S * 1000)
    second = office.sure("home/two")
    assert (second.id, second.turn, second.attempts) == (first.id, 2, 2)
    for late in (
        lambda: office.call(book.beat, first, "{}"),
        lambda: office.call(book.give_back, first, "{}"),
        lambda: office.call(book.end, first, "done", "{}"),
    ):
        with pytest.raises(LeaseLost):
            late()
    assert office.call(book.end, second, "done", '{"x":1}').progress == '{"x":1}'
    with pytest.raises(LeaseLost):
        office.call(book.beat, second, "{}")


def test_a_worker_that_is_heard_keeps_its_job_for_as_long_as_it_takes(office: Office) -> None:
    office.add()
    job = office.sure()
    for number in range(5):
        office.now_ms += int(JOB_LEASE_S * 900)
        job = office.call(book.beat, job, f'{{"done":{number}}}')
        assert office.claim("home/two") is None
    assert job.progress == '{"done":4}'


def test_a_job_that_was_given_back_waits_until_it_is_due(office: Office) -> None:
    job = office.add()
    office.call(book.give_back, office.sure(), "{}", 30.0)
    assert office.claim() is None
    assert office.database.look(book.next_due_ms, KINDS, "") == office.now_ms + 30_000
    office.now_ms += 30_000
    again = office.sure()
    assert (again.id, again.attempts) == (job.id, 1)  # that was no failure


def test_the_successor_of_a_worker_need_not_wait_for_its_lease(office: Office) -> None:
    office.add()
    office.add()
    office.sure("home/one")
    elsewhere = office.sure("home_2/one")
    assert office.claim("home/two") is None
    assert office.database.call(book.take_over, "home") == 1
    assert office.sure("home/two").id != elsewhere.id
    assert office.claim("home/two") is None


def test_an_organisation_with_nothing_under_way_goes_first(office: Office) -> None:
    for _ in range(3):
        office.add(organisation="org_1")
    late = office.add(organisation="org_2")
    office.sure()
    assert office.sure().id == late.id


def test_a_job_is_cancelled_once_and_its_worker_hears_of_it(office: Office) -> None:
    job = office.add()
    before = office.database.look(latest)
    office.sure()
    for _ in range(2):
        found = office.database.call(book.cancel, office.clock, job.id, "prj_1")
        office.now_ms += 5
    assert found.cancel_ms == office.now_ms - 10
    assert [(change.kind, change.subject) for change in office.database.look(since, before)] == [("jobs", job.id)]
    with pytest.raises(ThingUnknown):
        office.database.call(book.cancel, office.clock, job.id, "prj_2")


def test_a_job_is_only_for_who_can_reach_its_bytes(office: Office) -> None:
    job = office.add(place="here")
    assert office.claim(place="there") is None
    assert office.database.look(book.next_due_ms, KINDS, "there") is None
    found = office.claim(place="here")
    assert found is not None
    assert found.id == job.id


def test_a_job_that_never_goes_on_is_worn_out_and_one_that_does_is_not(office: Office) -> None:
    office.add()
    for number in range(JOB_ATTEMPTS_MAX + 1):
        job = office.sure()
        assert book.worn_out(job) is (number == JOB_ATTEMPTS_MAX)
        office.now_ms += int(JOB_LEASE_S * 1000)
    job = office.call(book.beat, office.sure(), '{"done":1}')
    assert job.attempts == 1


def test_lists_are_newest_first_by_project_and_page_on(office: Office) -> None:
    made = [office.add(kind).id for kind in ("batch", "task", "batch", "batch")]
    rows = office.database.look(book.list_jobs, project_id="prj_1", kind="batch", limit=2)
    assert [row.id for row in rows] == [made[3], made[2]]
    rows = office.database.look(book.list_jobs, project_id="prj_1", kind="batch", after=made[2], limit=2)
    assert [row.id for row in rows] == [made[0]]
    assert office.database.look(book.list_jobs, project_id="prj_2", limit=2) == []
    assert office.database.look(book.count_open, office.now_ms) == {("batch", "waiting"): 3, ("task", "waiting"): 1}


def test_what_ended_is_forgotten_after_its_time_and_what_is_open_never(office: Office) -> None:
    task, other = office.add("task"), office.add("task")
    office.call(book.end, office.sure(), "failed", "{}")
    office.now_ms += 25 * 3_600_000
    assert office.database.look(book.still_open, [task.id, other.id]) == {other.id}
    assert office.database.call(book.prune, office.now_ms) == 1
    assert [row.id for row in office.database.look(book.list_jobs, limit=9)] == [other.id]


def test_a_patient_job_that_nobody_has_begun_has_ended_when_it_is_cancelled(office: Office) -> None:
    job = office.add("ftjob")
    assert office.claim() is None  # a worker that does not train
    office.now_ms += 5
    ended = office.database.call(book.cancel, office.clock, job.id, "prj_1")
    assert (ended.state, ended.ended_ms, ended.turn) == ("cancelled", office.now_ms, 0)
    assert office.database.call(book.cancel, office.clock, job.id) == ended
