"""An answer that is looked at: what passes, what waits, and how it ends, however its bytes are cut."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmaas.core.errors import EngineFailed
from openmaas.dialects.zhipu.sensitive import Stream, Whole, rejected


def chunk(index: int, words: str, reason: str | None = None, **more: Any) -> bytes:
    """An event of a stream."""
    choice = {"index": index, "delta": {"content": words} if words else {}, "finish_reason": reason}
    return b"data: %b\n\n" % json.dumps({"id": "1", "choices": [choice], **more}).encode()


def heard(said: bytes) -> list[Any]:
    """The chunks; the end is there."""
    *events, done, rest = said.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    return [json.loads(each.removeprefix(b"data: ")) for each in events]


SAID = [
    chunk(0, "a"),
    chunk(1, "x"),
    chunk(0, "b"),
    chunk(1, "", "stop"),
    chunk(0, "c"),
    chunk(0, "", "length", usage={"total_tokens": 4}),
    b"data: [DONE]\n\n",
]


@given(st.lists(st.integers(0, 900), max_size=6), st.tuples(st.booleans(), st.booleans()))
def test_what_is_said_before_an_end_passes_and_the_rest_waits_for_a_verdict(
    at: list[int], stopped: tuple[bool, bool]
) -> None:
    told = b"".join(SAID)
    cuts = [0, *sorted(min(each, len(told)) for each in at), len(told)]
    stream = Stream()
    passed = b"".join(stream.feed(told[begin:end]) for begin, end in itertools.pairwise(cuts))
    assert passed.count(b"data: ") == 3
    assert stream.texts == ["abc", "x"]
    chunks = heard(passed + stream.end(list(stopped)))
    ends = {each["index"]: each["finish_reason"] for one in chunks for each in one["choices"] if each["finish_reason"]}
    assert ends == {0: "sensitive" if stopped[0] else "length", 1: "sensitive" if stopped[1] else "stop"}
    words = "".join(each["delta"].get("content", "") for one in chunks for each in one["choices"] if not each["index"])
    assert words == ("ab" if stopped[0] else "abc")
    assert [one["usage"] for one in chunks if "usage" in one] == [{"total_tokens": 4}]
    if not any(stopped):
        assert chunks == heard(told)


def test_a_stream_of_which_nobody_could_say_ends_as_a_broken_one() -> None:
    stream = Stream()
    chunks = heard(stream.feed(b"".join(SAID)) + stream.broken({"code": "1234", "message": "gone"}))
    ends = [each["finish_reason"] for one in chunks for each in one["choices"] if each["finish_reason"]]
    assert ends == ["network_error", "network_error"]
    assert chunks[-1]["error"]["code"] == "1234"


def test_thoughts_and_calls_are_looked_at_and_go_with_the_words_that_may_not_be_said() -> None:
    call = {"function": {"name": "f", "arguments": '{"a":"bad"}'}}
    message = {"role": "assistant", "content": "hi", "reasoning_content": "hm", "tool_calls": [call]}
    body = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}).encode()
    answer = Whole(body)
    assert answer.texts == ['hmhi{"a":"bad"}']
    assert json.loads(answer.say([False])) == json.loads(body)
    (choice,) = json.loads(Whole(body).say([True]))["choices"]
    assert choice["message"] == {"role": "assistant", "content": "", "refusal": None}


@pytest.mark.parametrize("body", [b"{}", b'{"result_list":[]}', b'{"result_list":[{"risk_level":"PASS"}]}'], ids=str)
def test_a_verdict_that_lacks_texts_is_none(body: bytes) -> None:
    with pytest.raises(EngineFailed):
        rejected(body, 2)
