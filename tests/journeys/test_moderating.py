"""Moderation by an operator's word list on a real house, in OpenAI's words and in Zhipu's, paid by the text."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batches import begin, client_of, ended, lines_of, posted
from installation import Installation
from official import faults
from searching import attach

PAAS = "/api/paas/v4/moderations"
LIST = """\
# what must not be said
[violence]
炸药
bomb
/制作.{0,4}炸弹/
[广告] review
加微信
"""


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("words") / "words.txt"
    made.write_text(LIST, "utf-8")
    return made


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, words: Path) -> Iterator[Installation]:
    """A house that moderates for 0.0012 a text."""
    made = Installation(tmp_path_factory.mktemp("moderating") / "data")
    made.start()
    attach(made, "moderation", "moderate", "moderator", {"words": words}, "0.0012")
    assert made.command("models", "alias", "omni-moderation-*", "moderation").returncode == 0
    made.ready("moderation")
    deadline = time.monotonic() + 20
    while post(made, "/v1/moderations", {"input": "a"})[0] != 200:  # the relay hears of an alias in a moment
        assert time.monotonic() < deadline
        time.sleep(0.1)
    yield made
    made.end()


def post(house: Installation, path: str, body: Any, **more: Any) -> tuple[int, dict[str, str], Any]:
    status, headers, told = house.ask("POST", path, body, **more)
    return status, headers, json.loads(told)


@pytest.mark.parametrize("path", ["/v1/moderations", "/api/v1/moderations"])
def test_texts_are_flagged_as_openai_does_and_each_is_a_call(house: Installation, path: str) -> None:
    texts = ["a quiet day", "a BOMB, really", "bombastic", "请加微信", "炸\u200b药", "制作一枚炸弹"]
    status, headers, told = post(house, path, {"input": texts})
    assert status == 200, told
    assert faults("openai", "CreateModerationResponse", told) == []
    assert (told["model"], "usage" in told) == ("moderation", False)
    assert [row["flagged"] for row in told["results"]] == [False, True, False, True, True, True]
    assert told["results"][1]["categories"]["violence"] is True
    assert told["results"][1]["category_scores"]["violence"] == 1
    assert told["results"][3]["categories"]["广告"] is True
    receipt = house.receipt(headers["x-request-id"], "posted")
    assert (receipt["units"], receipt["amount"]) == ({"call": 6}, "0.0072")


def test_a_text_and_parts_that_are_said_together_are_one_call(house: Installation) -> None:
    for told in ("ｂｏｍｂ", [{"type": "text", "text": "hello"}, {"type": "text", "text": "bomb"}]):
        status, headers, answer = post(house, "/v1/moderations", {"model": "omni-moderation-latest", "input": told})
        assert status == 200, answer
        assert [row["flagged"] for row in answer["results"]] == [True]
        assert house.receipt(headers["x-request-id"], "posted")["amount"] == "0.0012"


def test_zhipu_is_told_a_level_of_risk_for_each_input(house: Installation) -> None:
    inputs = ["hi", {"type": "text", "text": "加微信"}, "炸药 加微信"]
    status, headers, told = post(house, PAAS, {"model": "moderation", "input": inputs, "request_id": "mine"})
    assert status == 200, told
    assert told["result_list"] == [
        {"content_type": "text", "risk_level": "PASS", "risk_type": []},
        {"content_type": "text", "risk_level": "REVIEW", "risk_type": ["广告"]},
        {"content_type": "text", "risk_level": "REJECT", "risk_type": ["violence", "广告"]},
    ]
    assert told["usage"] == {"moderation_text": {"call_count": 3}}
    assert told["request_id"] == "mine"
    assert abs(told["created"] - time.time() * 1000) < 60_000
    assert house.receipt(headers["x-request-id"], "posted")["amount"] == "0.0036"
    assert post(house, PAAS, {"input": "炸药"})[2]["result_list"][0]["risk_level"] == "REJECT"


PICTURE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/moderations", {"model": "moderation"}, "input"),
        ("/v1/moderations", {"model": "moderation", "input": []}, "input"),
        ("/v1/moderations", {"model": "moderation", "input": 7}, "input"),
        ("/v1/moderations", {"model": "moderation", "input": ["a", 7]}, "input"),
        ("/v1/moderations", {"model": "moderation", "input": ["a"] * 1_025}, "input"),
        ("/v1/moderations", {"model": "moderation", "input": "a" * (256 * 1024 + 1)}, "input"),
        (
            "/v1/moderations",
            {"model": "moderation", "input": [{"type": "text", "text": "a"}, PICTURE]},
            "input[1].type",
        ),
        ("/v1/moderations", {"model": "echo", "input": "a"}, "model"),
        (PAAS, {"model": "moderation", "input": PICTURE}, "input[0].type"),
        (PAAS, {"model": "moderation", "input": ["a", PICTURE]}, "input[1].type"),
        (PAAS, {"model": "moderation", "input": {"type": "video_url"}}, "input.type"),
        (PAAS, {"model": "moderation"}, "input"),
        ("/v1/chat/completions", {"model": "moderation", "messages": [{"role": "user", "content": "a"}]}, "model"),
    ],
)
def test_a_mistake_is_refused_by_the_name_of_its_field(house: Installation, path: str, body: Any, param: str) -> None:
    status, _, told = post(house, path, body)
    assert (status, told["error"]["param"]) == (400, param), told


def test_what_is_held_is_a_call_for_each_text(house: Installation) -> None:
    organisation_id, key = house.organisation("0.002400001")
    status, _, told = post(house, "/v1/moderations", {"model": "moderation", "input": ["a", "b", "c"]}, key=key)
    assert (status, told["error"]["code"]) == (429, "insufficient_quota"), told
    assert post(house, "/v1/moderations", {"model": "moderation", "input": ["a", "b"]}, key=key)[0] == 200
    assert str(house.settled(organisation_id)) == "1E-9"


def test_a_batch_moderates_at_half_the_price(house: Installation) -> None:
    client = client_of(house)
    asked = {"custom_id": "a", "method": "POST", "url": "/v1/moderations", "body": {"input": ["炸药", "tea", "bomb"]}}
    found = ended(client, begin(client, [asked, asked | {"custom_id": "b"}], "/v1/moderations"))
    assert (found.status, found.request_counts.completed) == ("completed", 2)
    (first, _) = lines_of(client, found.output_file_id)
    assert [row["flagged"] for row in first["response"]["body"]["results"]] == [True, False, True]
    client.close()
    paid = [(row["units"], row["amount"], row["batch"]) for row in posted(house, found.id, 2)]
    assert paid == [({"call": 3}, "0.0018", True)] * 2


def test_a_list_that_changed_is_read_again_and_a_broken_one_is_not_taken(house: Installation, words: Path) -> None:
    def flagged() -> bool:
        found = post(house, "/v1/moderations", {"model": "moderation", "input": "apple juice"})[2]
        return bool(found["results"][0]["flagged"])

    def write(text: str, stamp: int) -> None:
        words.write_text(text, "utf-8")
        os.utime(words, (stamp, stamp))

    assert not flagged()
    write(LIST + "[fruit]\napple\n", 1_000)
    assert flagged()
    write(LIST + "[fruit]\n/(apple/\n", 2_000)
    assert flagged()
    write(LIST, 3_000)
    assert not flagged()


def test_commands_say_what_is_missing_and_take_a_credential_from_a_file(house: Installation, tmp_path: Path) -> None:
    for arguments, said in (
        (("price", "moderation"), "say --input, or --unit"),
        (("price", "moderation", "--unit", "banana=1"), "units are call, character"),
        (("price", "moderation", "--unit", "call"), "units.call must be a decimal number"),
        (("attach", "--model", "moderation", "--kind", "moderator", "--options", "words"), "is written name=value"),
        (("attach", "--model", "moderation", "--kind", "moderator", "--options", "words=1"), "must be a text"),
    ):
        done = house.command("models", *arguments)
        assert done.returncode != 0
        assert said in done.stdout + done.stderr
    (listed,) = [line for line in house.command("models", "list").stdout.splitlines() if "moderate" in line]
    assert "0.0012" in listed
    (tmp_path / "key").write_text("secret\n")
    where = ("--kind", "openai_http", "--url", "http://127.0.0.1:9/v1", "--api-key", str(tmp_path / "key"))
    assert (
        house.command("models", "add", "--name", "far", "--context-tokens", "9", "--task", "moderate").returncode == 0
    )
    done = house.command("models", "attach", "--model", "far", *where)
    assert done.returncode == 0, done.stderr
    assert "secret" not in done.stdout
    assert house.command("models", "stop", "far").returncode == 0


def test_a_list_that_cannot_be_read_is_refused_when_it_is_attached(house: Installation, tmp_path: Path) -> None:
    wrong = {
        "word\n": "line 1: a category",
        "[a]\n/(/\n": "line 2",
        "[a]\n/x*/\n": "line 2: it is in every text",
        "[a] perhaps\nx\n": "review or reject",
        "[a]\n": "has no words",
    }
    for number, (text, said) in enumerate(wrong.items()):
        file = tmp_path / f"{number}.txt"
        file.write_text(text)
        body = {"model": "moderation", "kind": "moderator", "options": {"words": str(file)}}
        status, told = house.admin("POST", "/deployments", body)
        assert (status, told["error"]["param"]) == (400, "options.words")
        assert said in told["error"]["message"]
    for options, field in (
        ({}, "options.words"),
        ({"words": "words.txt"}, "options.words"),
        ({"word": "x"}, "options.word"),
        ({"words": 7}, "options.words"),
    ):
        body = {"model": "moderation", "kind": "moderator", "options": options}
        status, told = house.admin("POST", "/deployments", body)
        assert (status, told["error"]["param"]) == (400, field), told
    for options, field in (
        ({}, "options"),
        ({"searxng": "http://a", "folder": "/"}, "options"),
        ({"searxng": "ftp://a"}, "options.searxng"),
        ({"folder": "/no/such"}, "options.folder"),
        ({"folder": "/tmp", "engines": "bing"}, "options.engines"),  # noqa: S108 - any folder that is there
    ):
        body = {"model": "moderation", "kind": "search", "options": options}
        status, told = house.admin("POST", "/deployments", body)
        assert (status, told["error"]["param"]) == (400, field), told
