"""Files and batches as a customer of OpenAI's own SDK sees them, and what the ledger says after."""

from __future__ import annotations

import json
import time
from collections import Counter
from decimal import Decimal
from typing import Any

import openai
import pytest
import sqlalchemy as sa

from batches import begin, client_of, ended, line, lines_of, receipts_of, upload
from installation import Installation
from openmaas.core.clock import Clock
from openmaas.files.law import files
from openmaas.store.database import Database
from openmaas.work.asking import Told, Verdict, judge
from openmaas.work.book import Asker, add_job, find_job
from openmaas.work.wanted import BATCH, BatchProgress, BatchWanted, text


@pytest.fixture
def client(echo: Installation) -> Any:
    with client_of(echo) as made:
        yield made


def test_the_other_base_url_of_openai_has_files_batches_tuning_and_completions_too(echo: Installation) -> None:
    with openai.OpenAI(base_url=f"http://127.0.0.1:{echo.port}/api/v1", api_key=echo.key, max_retries=0) as client:
        file_id = upload(client, [line("a")])
        assert client.files.content(file_id).text.startswith('{"custom_id"')
        made = client.batches.create(input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h")
        batch = ended(client, made.id)
        assert (batch.status, len(lines_of(client, batch.output_file_id))) == ("completed", 1)
        assert client.fine_tuning.jobs.list().data is not None
        assert client.completions.create(model="echo", prompt="Once", max_tokens=3).usage.completion_tokens == 3  # type: ignore[union-attr]


def test_a_batch_is_answered_once_a_line_at_half_the_price(echo: Installation) -> None:
    _, key = echo.organisation("1")
    with client_of(echo, key) as client:
        names = [f"line {number}" for number in range(20)]
        batch_id = begin(client, [line(name) for name in names])
        batch = ended(client, batch_id)
        assert batch.status == "completed"
        assert batch.request_counts is not None
        assert batch.request_counts.model_dump() == {"total": 20, "completed": 20, "failed": 0}
        assert (
            batch.created_at <= (batch.in_progress_at or 0) <= (batch.finalizing_at or 0) <= (batch.completed_at or 0)
        )
        assert batch.error_file_id is None
        answers = lines_of(client, batch.output_file_id)
        assert Counter(row["custom_id"] for row in answers) == Counter(names)
        for row in answers:
            assert row["error"] is None
            assert row["response"]["status_code"] == 200
            assert row["response"]["body"]["usage"]["completion_tokens"] == 5
            receipt = echo.receipt(row["response"]["request_id"], "posted", key=key)
            assert receipt["job_id"] == batch_id
        _, headers, _ = echo.ask("POST", "/v1/chat/completions", line("line 1")["body"], key=key)
        whole = Decimal(echo.receipt(headers["x-request-id"], "posted", key=key)["amount"])
        billed = receipts_of(echo, batch_id, key)
        assert len(billed) == 20
        assert all(row["batch"] for row in billed)
        one = next(row for row in answers if row["custom_id"] == "line 1")["response"]["request_id"]
        assert next(Decimal(row["amount"]) for row in billed if row["request_id"] == one) * 2 == whole
        (output,) = [file for file in client.files.list() if file.id == batch.output_file_id]
        assert output.purpose == "batch_output"


def test_a_line_that_is_refused_has_its_error_and_the_others_their_answers(client: openai.OpenAI) -> None:
    batch_id = begin(client, [line("good"), line("bad", model="nosuch"), line("worse", messages=[])])
    batch = ended(client, batch_id)
    assert batch.status == "completed"
    assert batch.request_counts is not None
    assert (batch.request_counts.completed, batch.request_counts.failed) == (1, 2)
    assert [row["custom_id"] for row in lines_of(client, batch.output_file_id)] == ["good"]
    errors = {row["custom_id"]: row["response"] for row in lines_of(client, batch.error_file_id)}
    assert errors["bad"]["status_code"] == 404
    assert errors["bad"]["body"]["error"]["code"] == "model_not_found"
    assert errors["worse"]["status_code"] == 400


def test_completions_too_and_metadata_comes_back(client: openai.OpenAI) -> None:
    asked = {"model": "echo", "prompt": "one two", "max_tokens": 3}
    text = {"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": asked}
    file_id = upload(client, [text])
    batch = client.batches.create(
        input_file_id=file_id,
        endpoint="/v1/completions",
        completion_window="24h",
        metadata={"who": "me"},
        output_expires_after={"anchor": "created_at", "seconds": 3_600},
    )
    found = ended(client, batch.id)
    assert found.metadata == {"who": "me"}
    (row,) = lines_of(client, found.output_file_id)
    assert row["response"]["body"]["choices"][0]["text"].startswith("tok0")
    file = client.files.retrieve(found.output_file_id or "")
    assert file.expires_at is not None
    assert file.expires_at - file.created_at == 3_600


def test_responses_can_be_asked_in_a_batch_and_kept(client: openai.OpenAI) -> None:
    asked = {"model": "echo", "input": "one two three", "store": True}
    told = {"custom_id": "a", "method": "POST", "url": "/v1/responses", "body": asked}
    (row,) = lines_of(client, ended(client, begin(client, [told], "/v1/responses")).output_file_id)
    answer = row["response"]["body"]
    assert (answer["object"], answer["status"]) == ("response", "completed")
    assert client.responses.retrieve(answer["id"]).output_text


def test_an_input_with_mistakes_fails_and_names_the_lines(client: openai.OpenAI) -> None:
    wrong = [
        line("one"),
        "{not json",
        line("one"),
        {**line("three"), "url": "/v1/embeddings"},
        {**line("four"), "method": "GET"},
        line("five", stream=True),
        {"custom_id": "six", "method": "POST", "url": "/v1/chat/completions"},
        {**line("x"), "custom_id": ""},
    ]
    batch = ended(client, begin(client, wrong))
    assert batch.status == "failed"
    assert batch.errors is not None
    assert [(each.line, each.code) for each in batch.errors.data or []] == [
        (2, "invalid_json_line"),
        (3, "duplicate_custom_id"),
        (4, "invalid_url"),
        (5, "invalid_method"),
        (6, "stream_unsupported"),
        (7, "invalid_body"),
        (8, "invalid_custom_id"),
    ]
    assert batch.failed_at is not None
    empty = ended(client, begin(client, ["", ""]))
    assert empty.errors is not None
    assert [each.code for each in empty.errors.data or []] == ["empty_file"]


def test_what_cannot_be_a_batch_is_refused_at_once(client: openai.OpenAI) -> None:
    good, other = upload(client, [line("a")]), upload(client, [line("a")], "user_data")
    for fields in (
        {"input_file_id": "file_nosuch"},
        {"input_file_id": other},
        {"endpoint": "/v1/images/generations"},
        {"completion_window": "24 years"},
    ):
        with pytest.raises(openai.APIStatusError) as refused:
            client.batches.create(
                **{
                    "input_file_id": good,
                    "endpoint": "/v1/chat/completions",
                    "completion_window": "24h",
                    **fields,
                }  # type: ignore[arg-type]
            )
        assert refused.value.status_code in (400, 404)


@pytest.mark.parametrize(
    "wrong", [{"input_file_id": "\ud800"}, {"input_file_id": "\x00"}, {"metadata": {"a": "\ud800"}}]
)
def test_a_text_that_no_database_takes_is_refused_by_its_field(echo: Installation, wrong: dict[str, Any]) -> None:
    good = upload(client_of(echo), [line("a")])
    body = {"input_file_id": good, "endpoint": "/v1/chat/completions", **wrong}
    status, _, answer = echo.ask("POST", "/v1/batches", body)
    assert (status, json.loads(answer)["error"]["param"].partition(".")[0]) == (400, next(iter(wrong)))


def test_a_batch_is_cancelled_and_every_line_says_so(client: openai.OpenAI) -> None:
    batch_id = begin(client, [line(str(number), cue="tokens=5,pace_ms=60") for number in range(50)])
    deadline = time.monotonic() + 20
    while not (found := client.batches.retrieve(batch_id)).request_counts or not found.request_counts.completed:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert client.batches.cancel(batch_id).status == "cancelling"
    batch = ended(client, batch_id, 5)
    assert batch.status == "cancelled"
    assert batch.cancelled_at is not None
    answers, errors = lines_of(client, batch.output_file_id), lines_of(client, batch.error_file_id)
    assert Counter(row["custom_id"] for row in answers + errors) == Counter(map(str, range(50)))
    assert 0 < len(answers) < 50
    assert {row["error"]["code"] for row in errors} == {"batch_cancelled"}
    assert client.batches.cancel(batch_id).status == "cancelled"  # again: nothing


def test_batches_and_files_page_on_and_belong_to_their_project(echo: Installation, client: openai.OpenAI) -> None:
    _, key = echo.organisation("1")
    with client_of(echo, key) as other:
        file_ids = [upload(other, [line("a")]) for _ in range(5)]
        batch_ids = [
            other.batches.create(input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h").id
            for file_id in file_ids
        ]
        assert [batch.id for batch in other.batches.list(limit=2)] == batch_ids[::-1]
        assert [file.id for file in other.files.list(limit=2, purpose="batch", order="asc")] == file_ids
        for refused in (lambda: client.batches.retrieve(batch_ids[0]), lambda: client.files.delete(file_ids[0])):
            with pytest.raises(openai.NotFoundError):
                refused()
        for batch_id in batch_ids:
            ended(other, batch_id)
        assert other.files.delete(file_ids[0]).deleted
        with pytest.raises(openai.NotFoundError):
            other.files.content(file_ids[0])


def test_an_empty_wallet_fails_the_rest_of_the_lines(echo: Installation) -> None:
    organisation, key = echo.organisation("0.00004")  # a line holds more than it costs
    with client_of(echo, key) as client:
        batch = ended(client, begin(client, [line(str(number)) for number in range(30)]))
        assert batch.status == "completed"
        answers, errors = lines_of(client, batch.output_file_id), lines_of(client, batch.error_file_id)
        assert Counter(row["custom_id"] for row in answers + errors) == Counter(map(str, range(30)))
        assert errors
        assert {row["response"]["body"]["error"]["code"] for row in errors} == {"insufficient_quota"}
    assert echo.settled(organisation) >= 0


def test_a_page_behind_something_that_never_was_is_refused_and_behind_a_deleted_file_goes_on(
    echo: Installation,
) -> None:
    _, key = echo.organisation("1")
    with client_of(echo, key) as client:
        file_ids = [upload(client, [line("a")]) for _ in range(3)]
        for listing in (client.files, client.batches, client.fine_tuning.jobs):
            with pytest.raises(openai.BadRequestError) as wrong:
                listing.list(after="nope")  # type: ignore[attr-defined]
            assert wrong.value.param == "after"
        client.files.delete(file_ids[1])  # as who removes them page by page does
        assert [file.id for file in client.files.list(after=file_ids[1], order="asc")] == file_ids[2:]


def test_a_rate_limit_makes_a_batch_wait_and_not_fail(echo: Installation) -> None:
    organisation, key = echo.organisation("1")
    limit = {"subject_id": organisation, "kind": "concurrency", "amount": 1}
    assert echo.admin("PUT", "/limits", limit)[0] in (200, 201)
    with client_of(echo, key) as client:
        cue = "tokens=3,pace_ms=20"
        batch = ended(client, begin(client, [line(str(number), cue=cue) for number in range(10)]))
        assert batch.request_counts is not None
        assert batch.request_counts.completed == 10


def test_a_revoked_key_fails_its_batches_clearly(echo: Installation, client: openai.OpenAI) -> None:
    organisation, key = echo.organisation("1")
    with client_of(echo, key) as theirs:
        batch_id = begin(theirs, [line(str(number), cue="tokens=5,pace_ms=60") for number in range(100)])
    echo.admin("DELETE", f"/keys/{key.partition('.')[0]}")
    project = echo.admin("GET", f"/keys?organisation_id={organisation}")[1]["data"][0]["project_id"]
    _, again = echo.admin("POST", "/keys", {"project_id": project})
    with client_of(echo, again["key"]) as theirs:
        batch = ended(theirs, batch_id)
        assert batch.status == "failed"
        assert batch.errors is not None
        assert [each.code for each in batch.errors.data or []] == ["revoked_api_key"]
        names = [
            row["custom_id"] for row in lines_of(theirs, batch.output_file_id) + lines_of(theirs, batch.error_file_id)
        ]
        assert Counter(names) == Counter(map(str, range(100)))


def test_a_batch_that_must_wait_long_is_put_aside_and_can_still_be_cancelled(echo: Installation) -> None:
    organisation, key = echo.organisation("1")
    limit = {"subject_id": organisation, "kind": "rpm", "amount": 3}
    assert echo.admin("PUT", "/limits", limit)[0] in (200, 201)
    with client_of(echo, key) as client:
        lines = [
            line(str(number), cue="tokens=2,pace_ms=50") for number in range(100)
        ]  # more than run before it is heard
        batch_id = begin(client, lines)
        deadline = time.monotonic() + 60
        database = Database(echo.address)
        while (job := database.look(find_job, batch_id)).due_ms < time.time() * 1000 + 6_000:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        database.close()
        assert job.lease_until_ms == 0  # nobody's: another batch may run
        waiting = client.batches.retrieve(batch_id)
        assert waiting.status == "in_progress"
        assert waiting.request_counts is not None
        assert 3 <= waiting.request_counts.completed < 100
        client.batches.cancel(batch_id)
        assert ended(client, batch_id, 5).status == "cancelled"


@pytest.mark.parametrize("left_s", [-3_600, 1])
def test_a_batch_whose_window_has_passed_ends_with_what_it_has(echo: Installation, left_s: int) -> None:
    """It was begun almost a day ago, by its book's clock."""
    _, key = echo.organisation("1")
    with client_of(echo, key) as client:
        lines = [line(str(number), cue="tokens=5,pace_ms=30") for number in range(60)]
        file = client.files.retrieve(upload(client, lines))
        database = Database(echo.address)
        place, who = database.look(_place_and_asker, file.id, key)
        begun = Clock(wall_ms=lambda: time.time_ns() // 1_000_000 - (86_400 - left_s) * 1000)
        wanted = text(BatchWanted("openai", "/v1/chat/completions", file.id))
        fields = {"wanted": wanted, "progress": text(BatchProgress()), "place": place, "lives_s": 86_400}
        job = database.call(add_job, begun, BATCH, who, **fields)
        database.close()
        batch = ended(client, job.id)
        assert batch.status == "expired"
        assert batch.expired_at is not None
        answers, errors = lines_of(client, batch.output_file_id), lines_of(client, batch.error_file_id)
        assert Counter(row["custom_id"] for row in answers + errors) == Counter(map(str, range(60)))
        assert bool(answers) is (left_s > 0)
        assert {row["error"]["code"] for row in errors} == {"batch_expired"}


def _place_and_asker(tx: Any, file_id: str, key: str) -> tuple[str, Asker]:
    found = tx.execute(sa.select(files).where(files.c.id == file_id)).one()
    return found.place, Asker(found.organisation_id, found.project_id, key.partition(".")[0])


@pytest.mark.parametrize(
    ("status", "code", "headers", "verdict"),
    [
        (200, "", {}, (Verdict.DONE, 0)),
        (0, "", {}, (Verdict.LATER, 0)),
        (400, "invalid_field", {}, (Verdict.FAILED, 0)),
        (401, "revoked_api_key", {}, (Verdict.STOP, 0)),
        (401, "expired_token", {}, (Verdict.LATER, 0)),
        (403, "model_not_allowed", {}, (Verdict.FAILED, 0)),
        (403, "missing_scope", {}, (Verdict.STOP, 0)),
        (409, "idempotency_outcome", {}, (Verdict.FAILED, 0)),
        (429, "rate_limit_exceeded", {b"retry-after": b"2", b"retry-after-ms": b"1500"}, (Verdict.WAIT, 1.5)),
        (429, "plan_exhausted", {b"retry-after": b"7200"}, (Verdict.WAIT, 7200)),
        (429, "insufficient_quota", {}, (Verdict.BROKE, 0)),
        (429, "budget_exceeded", {}, (Verdict.BROKE, 0)),
        (429, "request_over_limit", {}, (Verdict.FAILED, 0)),
        (429, "1113", {}, (Verdict.BROKE, 0)),
        (429, "1302", {}, (Verdict.WAIT, 0)),
        (402, "billing_error", {}, (Verdict.BROKE, 0)),
        (529, "overloaded_error", {}, (Verdict.LATER, 0)),
        (502, "engine_failed", {}, (Verdict.AGAIN, 0)),
        (503, "overloaded", {b"retry-after": b"5"}, (Verdict.LATER, 5)),
        (502, "", {}, (Verdict.AGAIN, 0)),
    ],
)
def test_what_an_answer_means_for_a_job(
    status: int, code: str, headers: dict[bytes, bytes], verdict: tuple[Verdict, float]
) -> None:
    body = json.dumps({"error": {"code": code}}).encode() if code else b"<html>"
    assert judge(Told(status, headers, body)) == verdict
