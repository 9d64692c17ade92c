"""Responses: kept only when asked, gone on from at any relay, gone when deleted; what a client is told in trouble."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from installation import Installation
from official import faults
from openmaas.store.database import Database
from responses import event_faults, events, read
from vendor import Vendor

EVENTS = {"accept": "text/event-stream"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    made = Installation(tmp_path_factory.mktemp("responses") / "data", relays="2")
    made.start()
    made.ready()
    yield made
    made.end()


@pytest.fixture(scope="module")
def troubled(house: Installation) -> Iterator[Installation]:
    """The same with a vendor that breaks off in its ways."""
    vendor = Vendor()
    threading.Thread(target=vendor.serve_forever, daemon=True).start()
    ways = ("breaks_off", "counts_and_breaks_off", "frames_wrongly", "errs_with_200")
    for name in ways:
        url = f"http://127.0.0.1:{vendor.server_address[1]}/v1"
        for path, body in (
            ("/models", {"name": name, "context_tokens": 8192}),
            ("/prices", {"model": name, "input": "1", "output": "2"}),
            ("/deployments", {"model": name, "kind": "openai_http", "url": url}),
        ):
            assert house.admin("POST", path, body)[0] == 201
    for _ in range(20):  # either relay has heard of them
        house.ready(*ways)
    yield house
    vendor.shutdown()
    vendor.server_close()


def ask(house: Installation, told: Any = "one two three", **fields: Any) -> tuple[int, dict[str, Any]]:
    key = fields.pop("key", None)
    body = {"model": "echo", "input": told, **fields}
    status, _, answer = house.ask("POST", fields.pop("path", "/v1/responses"), body, key=key)
    return status, json.loads(answer)


def kept(house: Installation, **fields: Any) -> dict[str, Any]:
    status, answer = ask(house, store=True, **fields)
    assert (status, answer["store"]) == (200, True), answer
    return answer


def text(response: dict[str, Any]) -> str:
    return "".join(part["text"] for item in response["output"] for part in item.get("content", ()))


def get(house: Installation, response_id: str, rest: str = "", *, key: str | None = None, verb: str = "GET") -> Any:
    status, _, body = house.ask(verb, f"/v1/responses/{response_id}{rest}", key=key)
    return status, json.loads(body)


@pytest.mark.parametrize("path", ["/v1/responses", "/api/v1/responses"])
def test_an_answer_is_billed_and_is_not_kept_unless_that_is_asked(house: Installation, path: str) -> None:
    status, headers, body = house.ask("POST", path, {"model": "echo", "input": "one two three"})
    answer = json.loads(body)
    assert (status, answer["status"], answer["store"]) == (200, "completed", False)
    assert not faults("openai", "Response", answer)
    receipt = house.receipt(headers["x-request-id"], "posted")
    assert answer["usage"]["output_tokens"] == receipt["completion_tokens"]
    assert answer["usage"]["input_tokens"] == receipt["prompt_tokens"]
    assert get(house, answer["id"])[0] == 404


def test_a_stream_is_in_order_and_as_documented_and_is_what_is_kept(house: Installation) -> None:
    body = {"model": "echo", "input": "one two three", "stream": True, "store": True}
    status, headers, stream = house.ask("POST", "/v1/responses", body)
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    response = read(stream)
    for event in events(stream):
        assert not event_faults(event), event
    assert get(house, response["id"]) == (200, response)


def test_a_conversation_goes_on_at_any_relay(house: Installation) -> None:
    first = kept(house)
    second = kept(house, told="and four", previous_response_id=first["id"], instructions="be brief")
    third = ask(house, "and five", previous_response_id=second["id"])[1]
    assert third["previous_response_id"] == second["id"]
    tokens = [each["usage"]["input_tokens"] for each in (first, second, third)]
    assert tokens == sorted(set(tokens))
    for _ in range(8):  # connections go to either relay
        status, again = ask(house, "and five", previous_response_id=second["id"])
        assert (status, text(again)) == (200, text(third))


def test_a_whole_conversation_is_counted(house: Installation) -> None:
    first = kept(house)
    fields = {"model": "echo", "input": "and four", "previous_response_id": first["id"]}
    status, _, body = house.ask("POST", "/v1/responses/input_tokens", fields)
    count = json.loads(body)
    assert (status, count["object"]) == (200, "response.input_tokens")
    assert count["input_tokens"] == ask(house, "and four", previous_response_id=first["id"])[1]["usage"]["input_tokens"]


def test_what_is_deleted_is_gone_from_every_conversation(house: Installation) -> None:
    first = kept(house)
    second = kept(house, previous_response_id=first["id"])
    assert get(house, first["id"], verb="DELETE") == (200, {"id": first["id"], "object": "response", "deleted": True})
    assert get(house, first["id"])[0] == get(house, first["id"], verb="DELETE")[0] == 404
    assert get(house, second["id"])[0] == 200
    status, told = ask(house, previous_response_id=second["id"])
    assert (status, told["error"]["code"]) == (400, "previous_response_not_found")
    assert first["id"] in told["error"]["message"]
    count = sa.text("SELECT count(*) FROM responses WHERE id = :id").bindparams(id=first["id"])
    assert Database(house.address).look(lambda tx: tx.execute(count).scalar_one()) == 0


def test_another_project_sees_nothing_of_it(house: Installation) -> None:
    _, stranger = house.organisation("1")
    answer = kept(house)
    for rest, verb in (("", "GET"), ("", "DELETE"), ("/input_items", "GET"), ("/cancel", "POST")):
        assert get(house, answer["id"], rest, key=stranger, verb=verb)[0] == 404
    assert ask(house, previous_response_id=answer["id"], key=stranger)[0] == 400
    assert get(house, answer["id"])[0] == 200


def test_input_is_listed_page_by_page(house: Installation) -> None:
    told = [{"role": "user", "content": f"line {at}"} for at in range(5)]
    answer = kept(house, told=told)
    _, page = get(house, answer["id"], "/input_items?limit=2&order=asc")
    assert not faults("openai", "ResponseItemList", page)
    seen = page["data"]
    while page["has_more"]:
        _, page = get(house, answer["id"], f"/input_items?limit=2&order=asc&after={page['last_id']}")
        seen += page["data"]
    assert [item["content"][0]["text"] for item in seen] == [item["content"] for item in told]
    assert get(house, answer["id"], "/input_items")[1]["data"] == seen[::-1]
    assert get(house, answer["id"], "/input_items?after=msg_9")[0] == 400


def test_only_what_runs_in_the_background_can_be_cancelled_or_followed(house: Installation) -> None:
    answer = kept(house)
    assert get(house, answer["id"], "/cancel", verb="POST")[0] == 400
    assert get(house, answer["id"], "?stream=true")[0] == 400
    assert ask(house, background=True)[1]["error"]["param"] == "background"


def test_a_project_keeps_as_long_as_it_says(house: Installation) -> None:
    owner, key = house.organisation("1")
    (project,) = [
        each for each in house.admin("GET", "/projects?limit=100")[1]["data"] if each["organisation_id"] == owner
    ]
    place = f"/projects/{project['id']}/retention"
    assert house.admin("GET", place)[1] == {"project_id": project["id"], "responses_days": None, "days_kept": 30}
    answer = kept(house, key=key)
    status, told = house.admin("PUT", place, {"responses_days": 0})
    assert (status, told["days_kept"]) == (200, 0)
    assert get(house, answer["id"], key=key)[0] == 404  # its day has come
    status, silent = ask(house, store=True, key=key)
    assert (status, silent["store"]) == (200, False)
    assert house.admin("PUT", place, {"responses_days": None})[1]["days_kept"] == 30
    kept(house, key=key)
    assert house.admin("PUT", "/projects/prj_none/retention", {"responses_days": 1})[0] == 404


def test_an_answer_that_cannot_be_written_leaves_and_is_written_later(house: Installation) -> None:
    database = Database(house.address)
    database.call(lambda tx: tx.execute(sa.text("ALTER TABLE responses RENAME TO away")))
    try:
        answer = kept(house)
    finally:
        database.call(lambda tx: tx.execute(sa.text("ALTER TABLE away RENAME TO responses")))
    assert text(answer)
    deadline = time.monotonic() + 10
    while get(house, answer["id"]) != (200, answer):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_an_operator_can_keep_nothing_at_all(tmp_path_factory: pytest.TempPathFactory) -> None:
    house = Installation(tmp_path_factory.mktemp("forgetful") / "data", responses_days="0")
    house.start()
    house.ready()
    status, answer = ask(house, store=True)
    assert (status, answer["store"]) == (200, False)
    status, told = ask(house, previous_response_id=answer["id"])
    assert (status, told["error"]["code"]) == (400, "previous_response_not_found")
    house.end()


@pytest.mark.parametrize("model", ["breaks_off", "counts_and_breaks_off", "frames_wrongly", "errs_with_200"])
def test_a_stream_that_breaks_off_says_so_with_its_numbers_in_order(troubled: Installation, model: str) -> None:
    body = {"model": model, "input": "x", "stream": True, "store": True}
    status, headers, stream = troubled.ask("POST", "/v1/responses", body)
    if status == 200:
        response = read(stream)
        assert (response["status"], response["error"]["code"]) == ("failed", "server_error")
        assert {item["status"] for item in response["output"]} <= {"incomplete"}
        for event in events(stream):
            assert not event_faults(event), event
    else:
        assert (model, status) == ("errs_with_200", 502)
    assert get(troubled, headers["x-request-id"].replace("req_", "resp_"))[0] == 404  # half an answer is not kept


def test_who_takes_events_alone_is_told_in_events(house: Installation) -> None:
    """codex does: of a status it shows nothing that its user could act on."""
    _, poor = house.organisation("0.000001")
    body = {"model": "echo", "input": "x", "stream": True, "metadata": {"a": "b"}}
    status, headers, stream = house.ask("POST", "/v1/responses", body, key=poor, headers=EVENTS)
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert read(stream)["error"]["code"] == "insufficient_quota"
    failed = read(stream)
    assert abs(failed["created_at"] - time.time()) < 600
    assert (failed["model"], failed["metadata"]) == ("echo", {"a": "b"})
    status, headers, told = house.ask("POST", "/v1/responses", body, key=poor)
    assert (status, headers["x-should-retry"]) == (429, "false")
    assert json.loads(told)["error"]["code"] == "insufficient_quota"
    status, _, told = house.ask("POST", "/v1/responses", {**body, "model": "nope"}, headers=EVENTS)
    assert (status, json.loads(told)["error"]["code"]) == (404, "model_not_found")


def test_compacting_says_that_it_is_not_offered_and_what_to_do(house: Installation) -> None:
    for base in ("/v1", "/api/v1"):
        status, _, body = house.ask("POST", f"{base}/responses/compact", {"model": "echo", "input": "x"})
        error = json.loads(body)["error"]
        assert (status, error["code"]) == (404, "unknown_path")
        assert "compact" in error["message"]
        assert "fewer items" in error["message"]


@pytest.mark.parametrize("path", ["/v1/images/generations", "/v1/audio/speech", "/v1/videos", "/v1/realtime"])
def test_media_say_that_there_is_no_such_model_here(house: Installation, path: str) -> None:
    status, _, body = house.ask("POST", path, {"model": "gpt-image-1", "prompt": "x"})
    assert (status, json.loads(body)["error"]["code"]) == (404, "model_not_found")


def test_a_method_that_a_path_does_not_take_is_answered_with_those_that_it_takes(house: Installation) -> None:
    status, headers, _ = house.ask("PUT", "/v1/orders")
    assert (status, headers["allow"]) == (405, "GET, POST")
    status, headers, _ = house.ask("PUT", "/v1/responses/resp_1")
    assert (status, headers["allow"]) == (405, "DELETE, GET")
