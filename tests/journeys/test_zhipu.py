"""Zhipu's base URLs on a real house: what a caller sees, in which words they are refused, and what they pay."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from installation import Installation
from official import faults
from tokens import token

PAAS, CODING = "/api/paas/v4", "/api/coding/paas/v4"
HI = [{"role": "user", "content": "one two three"}]
CHAT = f"{PAAS}/chat/completions"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A house with a price in credits, too."""
    made = Installation(tmp_path_factory.mktemp("zhipu") / "data")
    made.start()
    made.ready()
    price = {"model": "echo", "currency": "credits", "input": "100000", "output": "200000"}
    assert made.admin("POST", "/prices", price)[0] == 201
    yield made
    made.end()


def post(house: Installation, path: str, body: Any, **more: Any) -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON of an answer."""
    status, headers, told = house.ask("POST", path, body, **more)
    return status, headers, json.loads(told)


def events(house: Installation, **fields: Any) -> list[Any]:
    """The events of a stream."""
    body = {"model": "echo", "messages": HI, "stream": True, **fields}
    status, _, told = house.ask("POST", CHAT, body)
    assert status == 200, told
    found = [event.removeprefix(b"data: ") for event in told.removesuffix(b"\n\n").split(b"\n\n")]
    assert found.pop() == b"[DONE]"
    return [json.loads(each) for each in found]


def test_an_answer_is_zhipu_s_and_openai_s_at_once_and_is_paid(house: Installation) -> None:
    body = {"model": "ECHO", "messages": HI, "request_id": "mine-123", "user_id": "echo:tokens=4,reasoning=2"}
    status, headers, told = post(house, CHAT, body)
    assert status == 200, told
    assert faults("openai", "CreateChatCompletionResponse", told) == []
    assert told["request_id"] == "mine-123"
    (choice,) = told["choices"]
    assert choice["message"]["reasoning_content"].split() == ["think0", "think1"]
    assert (choice["logprobs"], choice["message"]["refusal"]) == (None, None)
    assert told["usage"]["completion_tokens_details"] == {"reasoning_tokens": 2}
    receipt = house.receipt(headers["x-request-id"], "posted")
    assert (receipt["prompt_tokens"], receipt["completion_tokens"]) == (3, 6)


def test_trap_1_a_key_is_recognised_in_every_form_and_every_refusal_has_its_code(house: Installation) -> None:
    right, body = house.key, {"model": "echo", "messages": HI}
    tokens = [token(right), token(right, unit=1)]
    forms = [{"authorization": f"{word}{each}"} for each in (right, *tokens) for word in ("Bearer ", "")]
    forms += [{"authorization": "", "x-api-key": right}, {"authorization": "", "x-api-key": tokens[0]}]
    forms += [{"authorization": "", "x-bigmodel-authorization": f"Bearer {each}"} for each in (right, tokens[0])]
    for form in forms:
        assert post(house, CHAT, body, headers=form)[0] == 200, form
        for path in (f"{PAAS}/models", f"{PAAS}/files"):
            assert house.ask("GET", path, headers=form)[0] == 200, (path, form)
    wrong = {
        "1001": [""],
        "1002": ["Bearer nonsense", "Bearer a.b.c", f"Bearer {token(right, seconds=10**6)}"],
        "1003": [f"Bearer {token(right, seconds=-1)}"],
        "1000": ["Bearer no.such", f"Bearer {token(right + 'x')}"],
    }
    for code, sent in wrong.items():
        for each in sent:
            for path in (CHAT, f"{CODING}/chat/completions", f"{PAAS}/embeddings", f"{PAAS}/files"):
                method, what = ("GET", None) if path.endswith("files") else ("POST", body)
                status, headers, told = house.ask(method, path, what, headers={"authorization": each})
                assert (status, json.loads(told)["error"]["code"]) == (401, code), (path, each, told)
                assert headers["x-should-retry"] == "false"


def test_trap_3_codes_are_texts_an_empty_wallet_is_429_and_the_language_is_the_caller_s(house: Installation) -> None:
    _, key = house.organisation("0.000000001")
    body = {"model": "echo", "messages": HI}
    status, headers, told = post(house, CHAT, body, key=key)
    assert (status, told["error"]["code"], headers["x-should-retry"]) == (429, "1113", "false")
    assert "余额不足" in told["error"]["message"]
    english = post(house, CHAT, body, key=key, headers={"accept-language": "en-US,en"})[2]["error"]
    assert english["message"].startswith("Insufficient balance")
    assert {"code", "message", "type", "param"} == {*english}


def test_a_window_that_is_too_small_names_no_time_at_which_it_would_be_larger(house: Installation) -> None:
    _, key = house.subscriber("0.001")
    body = {"model": "echo", "messages": HI}
    for language, said, timed in (("zh", "使用上限。", "重置"), ("en", "limit reached for this window. The", "reset")):
        wanted = {"accept-language": language}
        status, _, told = post(house, f"{CODING}/chat/completions", body, key=key, headers=wanted)
        assert (status, told["error"]["code"]) == (429, "1308")
        assert said in told["error"]["message"]
        assert timed not in told["error"]["message"]


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({"model": "nosuch", "messages": HI}, 400, "1211", "model"),
        ({"model": "echo"}, 400, "1213", "messages"),
        ({"model": "echo", "messages": HI, "thinking": {"type": "maybe"}}, 400, "1214", "thinking.type"),
        ({"model": "echo", "messages": HI, "tools": [{"type": "mcp", "mcp": {}}]}, 400, "1214", None),
        (b"{", 400, "1210", None),
    ],
)
def test_a_mistake_has_zhipu_s_code(house: Installation, body: Any, status: int, code: str, param: str | None) -> None:
    found, _, told = post(house, CHAT, body)
    assert (found, told["error"]["code"]) == (status, code), told
    assert param in (None, told["error"]["param"])


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("batches", {"endpoint": "/v4/chat/completions"}, "input_file_id"),
        ("batches", {"input_file_id": "file_x"}, "endpoint"),
        ("embeddings", {"model": "echo"}, "input"),
        ("embeddings", {"model": "echo", "input": None}, "input"),
        ("embeddings", {"input": "x"}, "model"),
        ("rerank", {"query": "x", "documents": ["y"]}, "model"),
        ("chat/completions", {"messages": HI}, "model"),
        ("fine_tuning/jobs", {"model": "echo"}, "training_file"),
    ],
)
def test_what_is_missing_is_told_as_missing_wherever_it_is_missed(
    house: Installation, path: str, body: Any, param: str
) -> None:
    status, _, told = post(house, f"{PAAS}/{path}", body)
    assert (status, told["error"]["code"], told["error"]["param"]) == (400, "1213", param), told
    assert told["error"]["message"].startswith(f"未正常接收到 `{param}` 参数。")


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("files/file_x/content", "file_id"),
        ("batches/batch_x", "id"),
        ("async-result/task_x", "id"),
        ("knowledge/know_x", "knowledge_id"),
    ],
)
def test_a_record_that_is_not_there_is_no_path_that_is_not_there(house: Installation, path: str, param: str) -> None:
    for language, said in (("zh", "不存在"), ("en", "no such record")):
        status, _, answer = house.ask("GET", f"{PAAS}/{path}", headers={"accept-language": language})
        told = json.loads(answer)["error"]
        assert (status, told["code"], told["param"]) == (404, "1214", param), told
        assert said in told["message"]
        assert "API" not in told["message"]


def test_paths_that_are_not_there_are_refused_in_zhipu_s_words(house: Installation) -> None:
    for path in (f"{PAAS}/nosuch", f"{CODING}/nosuch", "/api/monitor/nosuch"):
        status, _, told = house.ask("GET", path)
        assert (status, json.loads(told)["error"]["code"]) == (404, "1222"), told
    for path in ("images/generations", "videos/generations", "audio/speech", "async/images/generations"):
        status, _, told = post(house, f"{PAAS}/{path}", {"model": "cogview-4", "prompt": "x"})
        assert (status, told["error"]["code"]) == (400, "1211"), (path, told)
    status, _, told = post(house, "/v1/images/generations", {"model": "x", "prompt": "x"})
    assert (status, told["error"]["code"]) == (404, "model_not_found")


def test_trap_5_usage_is_told_once_in_the_last_chunk_or_in_one_of_its_own(house: Installation) -> None:
    for options, extra in ((None, False), ({"include_usage": True}, True)):
        found = events(house, stream_options=options)
        assert [bool(each.get("usage")) for each in found] == [False] * (len(found) - 1) + [True]
        assert (found[-1]["choices"] == []) == extra
        for each in found[:-1]:
            assert faults("openai", "CreateChatCompletionStreamResponse", each) == []


def test_trap_12_what_is_hopeless_says_so_and_what_is_not_does_not(house: Installation) -> None:
    _, key = house.organisation("1")
    body = {"model": "echo", "messages": HI}
    status, headers, told = post(house, f"{CODING}/chat/completions", body, key=key)
    assert (status, told["error"]["code"], headers["x-should-retry"]) == (429, "1311", "false")
    status, headers, told = post(house, CHAT, {**body, "user_id": "echo:status=500"})
    assert (status, told["error"]["code"]) == (500, "1234")
    assert "x-should-retry" not in headers


def test_a_plan_that_is_used_up_says_when_it_begins_anew(house: Installation) -> None:
    _, key = house.subscriber("63")  # a request of theirs can cost 61.4
    body, path = {"model": "echo", "messages": HI, "max_tokens": 4}, f"{CODING}/chat/completions"
    deadline = time.monotonic() + 20
    while "重置" not in json.dumps(answer := post(house, path, body, key=key)[2], ensure_ascii=False):
        assert time.monotonic() < deadline, answer
    status, headers, answer = post(house, path, body, key=key)
    assert (status, answer["error"]["code"], headers["x-should-retry"]) == (429, "1308", "false"), answer
    assert 4 * 3600 < int(headers["retry-after"]) <= 5 * 3600


def test_a_stream_that_breaks_off_ends_as_zhipu_ends_it_and_raises_everywhere(house: Installation) -> None:
    *said, last = events(house, user_id="echo:cut_after=3,tokens=9")
    assert len(said) == 3
    assert last["choices"][0]["finish_reason"] == "network_error"
    assert last["error"]["code"] == "1234"


def test_trap_8_embeddings_are_floats_or_base64_and_tokens_are_taken(house: Installation) -> None:
    for path in (f"{PAAS}/embeddings", "/v1/embeddings", "/api/v1/embeddings"):
        plain = post(house, path, {"model": "echo", "input": ["a", "b"]})[2]
        assert [len(row["embedding"]) for row in plain["data"]] == [8, 8]
        packed = post(house, path, {"model": "echo", "input": "a", "encoding_format": "base64", "user": None})[2]
        assert isinstance(packed["data"][0]["embedding"], str)
        assert post(house, path, {"model": "echo", "input": [[1, 2], [3]]})[0] == 200
        assert faults("openai", "CreateEmbeddingResponse", plain) == []
    assert post(house, f"{PAAS}/embeddings", {"model": "echo", "input": "a"})[2]["usage"]["completion_tokens"] == 0
    status, _, told = post(house, f"{PAAS}/embeddings", {"model": "echo", "input": ["a"] * 65})
    assert (status, told["error"]["code"], told["error"]["param"]) == (400, "1214", "input")


def test_documents_are_ranked_by_how_near_they_are(house: Installation) -> None:
    body = {"model": "echo", "query": "b", "documents": ["a", "b", "c"], "top_n": 2, "return_documents": True}
    status, headers, told = post(house, f"{PAAS}/rerank", body)
    assert status == 200, told
    first, second = told["results"]
    assert (first["index"], first["document"]) == (1, "b")
    assert first["relevance_score"] == pytest.approx(1)
    assert first["relevance_score"] > second["relevance_score"]
    assert house.receipt(headers["x-request-id"], "posted")["prompt_tokens"] == told["usage"]["prompt_tokens"] == 4
    for field, wrong in (("documents", []), ("top_n", -1)):
        status, _, told = post(house, f"{PAAS}/rerank", {**body, field: wrong})
        assert (status, told["error"]["param"]) == (400, field)
    assert post(house, f"{PAAS}/rerank", {**body, "model": "rerank"})[0] == 400
    assert house.command("models", "alias", "rerank", "echo").returncode == 0
    house.settle_in("/v1/models/rerank")
    assert post(house, f"{PAAS}/rerank", {**body, "model": "rerank"})[0] == 200


def test_a_prompt_is_counted_without_being_paid(house: Installation) -> None:
    status, _, told = post(house, f"{PAAS}/tokenizer", {"model": "echo", "messages": HI})
    assert (status, told["usage"]) == (200, {"prompt_tokens": 3, "total_tokens": 3}), told


def test_trap_19_a_model_is_found_in_any_case_and_listed_on_every_base(house: Installation) -> None:
    assert post(house, CHAT, {"model": "Echo", "messages": HI})[0] == 200
    for base in ("/v1", "/api/v1", PAAS, CODING):
        status, _, told = house.ask("GET", f"{base}/models")
        assert (status, [each["id"] for each in json.loads(told)["data"]]) == (200, ["echo"])
