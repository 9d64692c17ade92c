"""Agents: what an operator wrote reaches the model, callers fill its places, and pay what the model costs."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from installation import Installation
from official import faults
from vendor import Vendor

PATHS = ("/api/v1/agents", "/api/paas/v4/v1/agents", "/api/paas/v4/agents")
AGENTS = PATHS[0]
TRANSLATION = "general_translation"
HI = [{"role": "user", "content": [{"type": "text", "text": "one two three"}]}]


@pytest.fixture(scope="module")
def vendor() -> Iterator[Vendor]:
    """An engine that remembers what it was asked."""
    with Vendor() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, vendor: Vendor) -> Iterator[Installation]:
    """A house with the agent that is shipped, on the vendor's model, and three of the echo engine."""
    made = Installation(tmp_path_factory.mktemp("agents") / "data")
    made.start()
    made.ready()
    url = f"http://127.0.0.1:{vendor.server_address[1]}/v1"
    for path, body in (
        ("/models", {"name": "polite", "context_tokens": 8192}),
        ("/prices", {"model": "polite", "input": "1", "output": "1"}),
        ("/deployments", {"model": "polite", "kind": "openai_http", "url": url}),
        ("/agents", {"id": TRANSLATION, "model": "polite"}),
        ("/agents", {"id": "slow", "model": "echo", "prompt": "hello", "later": True}),
        ("/agents", {"id": "quick", "model": "echo", "prompt": "hello", "max_tokens": 5}),
        ("/agents", {"id": "long", "model": "echo", "prompt": "hello"}),
    ):
        status, told = made.admin("POST", path, body)
        assert status == 201, told
    made.ready("polite")
    yield made
    made.end()


def post(house: Installation, path: str = AGENTS, *, key: str | None = None, **fields: Any) -> tuple[int, Any, Any]:
    """Status, headers and answer of an invocation."""
    body = {"agent_id": "quick", "messages": HI, **fields}
    status, headers, told = house.ask("POST", path, body, key=key)
    return status, headers, json.loads(told)


def events(house: Installation, path: str = AGENTS, **fields: Any) -> list[Any]:
    """The chunks of a stream."""
    status, _, told = house.ask("POST", path, {"agent_id": "quick", "messages": HI, "stream": True, **fields})
    assert status == 200, told
    *chunks, done, rest = told.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    return [json.loads(each.removeprefix(b"data: ")) for each in chunks]


@pytest.mark.parametrize("path", PATHS)
def test_an_agent_answers_at_each_path_whole_and_in_chunks_and_is_paid_as_its_model(
    house: Installation, path: str
) -> None:
    status, headers, told = post(house, path, request_id="mine", user_id="echo:reasoning=1,tokens=3")
    assert status == 200, told
    assert (told["agent_id"], told["status"], told["request_id"]) == ("quick", "success", "mine")
    (choice,) = told["choices"]
    assert choice["messages"] == [choice["message"]]
    assert choice["message"] == {"role": "assistant", "content": {"type": "text", "text": "tok0 tok1 tok2 "}}
    receipt = house.receipt(headers["x-request-id"], "posted")
    assert receipt["job_id"].startswith("req_")
    assert (receipt["model"], receipt["prompt_tokens"], receipt["completion_tokens"]) == ("echo", 4, 4)
    assert told["usage"]["total_tokens"] == 8
    *chunks, last = events(house, path, user_id="echo:reasoning=1,tokens=3")
    assert [each["choices"][0]["delta"]["content"]["text"] for each in chunks] == ["tok0 ", "tok1 ", "tok2 "]
    assert (last["status"], last["choices"][0]["finish_reason"], last["usage"]["total_tokens"]) == (
        "success",
        "stop",
        8,
    )


def test_what_an_agent_fixes_of_a_chat_is_fixed(house: Installation) -> None:
    assert post(house, user_id="echo:tokens=9")[2]["choices"][0]["finish_reason"] == "length"
    assert events(house, user_id="echo:tokens=9")[-1]["usage"]["completion_tokens"] == 5


def test_a_translator_is_told_what_its_caller_says_and_the_words_of_their_glossary(
    house: Installation, vendor: Vendor
) -> None:
    boundary = "x"
    form = "".join(
        f'--{boundary}\r\ncontent-disposition: form-data; name="{name}"{more}\r\n\r\n{value}\r\n'
        for name, more, value in (("purpose", "", "agent"), ("file", '; filename="g.txt"', "笔:pen {target_lang}"))
    )
    headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
    sent = f"{form}--{boundary}--\r\n".encode()
    file = json.loads(house.ask("POST", "/api/paas/v4/files", sent, headers=headers)[2])
    variables = {
        "source_lang": "zh",
        "target_lang": "en",
        "strategy": "paraphrase",
        "strategy_config": {"general": {"suggestion": "be brief"}},
        "glossary": file["id"],
    }
    assert post(house, agent_id=TRANSLATION, custom_variables=variables)[0] == 200
    asked = vendor.asked["polite"]
    system, question = asked["messages"]
    assert system["role"] == "system"
    for word in ("from zh into en.", "native speaker", "be brief", "笔:pen {target_lang}"):
        assert word in system["content"], word
    assert question["content"] in ("one two three", HI[0]["content"])
    assert asked["temperature"] == 0.2
    assert post(house, agent_id=TRANSLATION, messages=[{"role": "user", "content": HI[0]["content"][0]}])[0] == 200
    plain = vendor.asked["polite"]["messages"][0]["content"]
    assert "the language it is written in into Simplified Chinese" in plain
    assert "{" not in plain


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"agent_id": "nosuch"}, 404, "agent_id"),
        ({"agent_id": None}, 400, "agent_id"),
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "system", "content": "x"}]}, 400, "messages[0].role"),
        ({"custom_variables": {"strategy": "x"}, "agent_id": TRANSLATION}, 400, "custom_variables.strategy"),
        ({"custom_variables": {"source_lang": ["x"]}, "agent_id": TRANSLATION}, 400, "custom_variables.source_lang"),
        ({"custom_variables": {"glossary": "file_x"}, "agent_id": TRANSLATION}, 400, "custom_variables.glossary"),
        ({"custom_variables": 3}, 400, "custom_variables"),
        ({"conversation_id": "resp_x"}, 404, "conversation_id"),
        ({"agent_id": "slow", "stream": True}, 400, "stream"),
        ({"agent_id": "slow", "store": True}, 400, "store"),
    ],
)
def test_a_mistake_is_refused_by_its_field(house: Installation, fields: Any, status: int, param: str) -> None:
    found, _, told = post(house, **fields)
    assert (found, told["error"]["param"]) == (status, param), told


def test_what_the_relay_refuses_is_told_as_it_is_and_what_breaks_off_is_told_in_a_chunk(house: Installation) -> None:
    _, key = house.organisation("0.000000001")
    status, headers, told = post(house, key=key)
    assert (status, told["error"]["code"], headers["x-should-retry"]) == (429, "1113", "false")
    _, narrow = house.organisation("1", models=["polite"])
    status, _, told = post(house, key=narrow)
    assert (status, told["error"]["code"]) == (403, "1220")
    assert post(house, key="a.b")[0] == 401
    *said, last = events(house, user_id="echo:cut_after=2,tokens=5")
    assert len(said) == 2
    assert (last["agent_id"], last["status"], last["error"]["code"]) == ("quick", "failed", "1234")


def test_who_leaves_stops_the_engine(house: Installation) -> None:
    _, key = house.organisation("1")
    for stream in (True, False):
        client = http.client.HTTPConnection("127.0.0.1", house.port)
        body = {"agent_id": "long", "messages": HI, "stream": stream, "user_id": "echo:tokens=900,pace_ms=20"}
        client.request("POST", AGENTS, json.dumps(body), {"authorization": f"Bearer {key}"})
        time.sleep(0.5)
        client.close()
    deadline = time.monotonic() + 20
    while len(rows := json.loads(house.ask("GET", "/v1/receipts", key=key)[2])["data"]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert {row["outcome"] for row in rows} == {"client_closed"}
    assert max(row["completion_tokens"] for row in rows) < 200


def test_an_answer_that_is_fetched_is_pending_then_there_and_billed_once(house: Installation) -> None:
    for cue, wanted in (("echo:tokens=3", "success"), ("echo:status=400", "failed")):
        status, _, told = post(house, agent_id="slow", user_id=cue)
        assert (status, told["status"], told["choices"]) == (200, "pending", []), told
        name = told["async_id"]
        deadline = time.monotonic() + 20
        while told["status"] == "pending":
            assert time.monotonic() < deadline
            time.sleep(0.05)
            body = {"agent_id": "slow", "async_id": name}
            told = json.loads(house.ask("POST", f"{AGENTS}/async-result", body)[2])
        assert (told["status"], told["agent_id"], told["async_id"]) == (wanted, "slow", name), told
        if wanted == "success":
            assert told["choices"][0]["message"]["content"]["text"] == "tok0 tok1 tok2 "
            assert house.receipt(told["id"], "posted")["job_id"] == name
        else:
            assert told["error"]["code"]
    _, stranger = house.organisation("1")
    body = {"agent_id": "slow", "async_id": name}
    assert house.ask("POST", f"{AGENTS}/async-result", body, key=stranger)[0] == 404
    assert house.ask("POST", f"{AGENTS}/async-result", {"agent_id": "slow"})[0] == 400


def test_a_conversation_is_kept_only_when_its_caller_says_so_and_is_deleted_as_a_response(
    house: Installation, vendor: Vendor
) -> None:
    assert "conversation_id" not in post(house)[2]
    first = post(house, agent_id=TRANSLATION, store=True)[2]["conversation_id"]
    second = post(house, agent_id=TRANSLATION, store=True, conversation_id=first)[2]["conversation_id"]
    told = vendor.asked["polite"]["messages"]
    assert [each["role"] for each in told] == ["system", "user", "assistant", "user"]
    assert told[2]["content"].split() == ["word"] * 5
    body = {"agent_id": TRANSLATION, "conversation_id": second}
    status, _, shown = house.ask("POST", f"{AGENTS}/conversation", body)
    (choice,) = json.loads(shown)["choices"]
    assert (status, [each["role"] for each in choice["message"]]) == (200, ["user", "assistant"] * 2)
    assert house.ask("POST", f"{AGENTS}/conversation", {**body, "agent_id": "quick"})[0] == 404
    _, stranger = house.organisation("1")
    assert house.ask("POST", f"{AGENTS}/conversation", body, key=stranger)[0] == 404
    kept = json.loads(house.ask("GET", f"/v1/responses/{second}")[2])
    assert faults("openai", "Response", kept) == []
    assert kept["previous_response_id"] == first
    assert house.ask("DELETE", f"/v1/responses/{first}")[0] == 200
    assert post(house, agent_id=TRANSLATION, conversation_id=second)[0] == 404
    *_, last = events(house, store=True)
    body = {"agent_id": "quick", "conversation_id": last["conversation_id"]}
    (choice,) = json.loads(house.ask("POST", f"{AGENTS}/conversation", body)[2])["choices"]
    assert choice["message"][-1]["content"] == "tok0 tok1 tok2 tok3 tok4 "


def test_an_operator_offers_changes_and_removes_agents_by_command(house: Installation) -> None:
    made = house.command(
        *("agents", "create", "--id", "poet", "--model", "echo", "--prompt", "Rhyme about {what}."),
        *("--variables", "name=what,default=rain", "--temperature", "0.9", "--no-thinking"),
    )
    assert made.returncode == 0, made.stderr
    changed = house.command("agents", "change", "poet", "--model", "polite", "--max-tokens", "7", "--json")
    fixed = {"temperature": 0.9, "thinking": {"type": "disabled"}, "max_tokens": 7}
    assert json.loads(changed.stdout)["chat"] == fixed
    status, listed = house.admin("GET", "/agents?limit=100")
    assert (status, [row["id"] for row in listed["data"]]) == (200, [TRANSLATION, "long", "poet", "quick", "slow"])
    assert all("prompt" not in row for row in listed["data"])
    assert house.admin("GET", "/agents/poet")[1]["variables"] == [{"name": "what", "default": "rain"}]
    assert house.command("agents", "delete", "poet").returncode == 0
    assert post(house, agent_id="poet")[0] == 404
    entries = house.admin("GET", "/audit-log?limit=100")[1]["data"]
    assert {"agent.create", "agent.change", "agent.remove"} <= {entry["action"] for entry in entries}


@pytest.mark.parametrize(
    ("method", "path", "told", "status", "param"),
    [
        ("POST", "", {"model": "echo"}, 400, "prompt"),
        ("POST", "", {"model": "nosuch", "prompt": "x"}, 404, "model"),
        ("POST", "", {"model": "echo", "prompt": "{x}"}, 400, "prompt"),
        ("POST", "", {"model": "echo", "prompt": "", "variables": [{"name": "a", "kind": "choice"}]}, 400, "variables"),
        ("POST", "", {"id": "quick", "model": "echo", "prompt": "x"}, 409, "id"),
        ("PATCH", "/nobody", {"model": "echo"}, 404, "agent_id"),
        ("PATCH", "/quick", {"model": "nosuch"}, 404, "model"),
        ("DELETE", "/nobody", None, 404, "agent_id"),
    ],
)
def test_an_agent_that_no_caller_could_use_is_refused_by_its_field(
    house: Installation, method: str, path: str, told: Any, status: int, param: str
) -> None:
    body = {"id": "new", **told} if method == "POST" else told
    found, answer = house.admin(method, f"/agents{path}", body)
    assert (found, answer["error"]["param"]) == (status, param), answer
