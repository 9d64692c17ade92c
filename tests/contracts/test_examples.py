"""What is an example to tune a model by, and what is said of a line that is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from openmaas.core.bounds import EXAMPLE_BYTES_MAX, EXAMPLE_MISTAKES_MAX
from openmaas.work.examples import read_examples
from openmaas.work.wanted import Method

USER = {"role": "user", "content": "hello"}
ANSWER = {"role": "assistant", "content": "hi"}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
GOOD: list[tuple[Method, Any]] = [
    ("supervised", {"messages": [USER, ANSWER]}),
    ("supervised", {"messages": [{"role": "system", "content": "be kind"}, USER, {**ANSWER, "weight": 1}]}),
    ("supervised", {"messages": [USER, {**ANSWER, "weight": 0}, USER, ANSWER]}),
    ("supervised", {"messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}, ANSWER]}),
    (
        "supervised",
        {
            "messages": [
                USER,
                {"role": "assistant", "tool_calls": [CALL]},
                {"role": "tool", "content": "", "tool_call_id": "c"},
            ],
            "tools": [TOOL],
            "parallel_tool_calls": False,
        },
    ),
    ("dpo", {"input": {"messages": [USER]}, "preferred_output": [ANSWER], "non_preferred_output": [ANSWER]}),
]
BAD: list[tuple[Method, Any, str]] = [
    ("supervised", {"prompt": "a", "completion": "b"}, "missing required field `messages`"),
    ("supervised", [USER, ANSWER], "Expected `object`"),
    ("supervised", {"messages": []}, "no answer of the assistant"),
    ("supervised", {"messages": [USER]}, "no answer of the assistant"),
    ("supervised", {"messages": [USER, {**ANSWER, "weight": 0}]}, "no answer of the assistant"),
    ("supervised", {"messages": [USER, {**ANSWER, "weight": 2}]}, "$.messages[1].weight"),
    ("supervised", {"messages": [{"role": "robot", "content": "x"}, ANSWER]}, "'robot'"),
    ("supervised", {"messages": [{"role": "user"}, ANSWER]}, "messages[0] has no content"),
    ("supervised", {"messages": [USER, {"role": "assistant"}]}, "messages[1] has no content"),
    ("supervised", {"messages": [{**USER, "tool_calls": [CALL]}, ANSWER]}, "messages[0] calls a tool"),
    ("dpo", {"messages": [USER, ANSWER]}, "missing required field `input`"),
    ("dpo", {"input": {"messages": []}, "preferred_output": [ANSWER], "non_preferred_output": [ANSWER]}, "is empty"),
    (
        "dpo",
        {"input": {"messages": [USER]}, "preferred_output": [], "non_preferred_output": [ANSWER]},
        "preferred_output",
    ),
    (
        "dpo",
        {"input": {"messages": [USER]}, "preferred_output": [ANSWER], "non_preferred_output": [USER]},
        "non_preferred_output must be messages of the assistant",
    ),
]


def read(folder: Path, method: Method, content: bytes) -> tuple[int, list[tuple[int | None, str]]]:
    path = folder / "examples.jsonl"
    path.write_bytes(content)
    count, mistakes = read_examples(path, method)
    return count, [(each.line, each.message) for each in mistakes]


@pytest.mark.parametrize(("method", "line"), GOOD)
def test_an_example_is_counted(tmp_path: Path, method: Method, line: Any) -> None:
    assert read(tmp_path, method, b"\n\n%b\n" % json.dumps(line).encode()) == (1, [])


@pytest.mark.parametrize(("method", "line", "said"), BAD)
def test_a_line_that_is_none_is_named_with_its_reason(tmp_path: Path, method: Method, line: Any, said: str) -> None:
    good = next(each for kind, each in GOOD if kind == method)
    count, ((number, message),) = read(
        tmp_path, method, b"\n".join(json.dumps(each).encode() for each in (good, line, good))
    )
    assert (count, number) == (2, 2)
    assert said in message


@pytest.mark.parametrize("line", [b"{", b"\xff\xfe", b'{"messages": ' + b"[" * 100_000, b"null"])
def test_what_is_no_json_is_named_too(tmp_path: Path, line: bytes) -> None:
    assert [number for number, _ in read(tmp_path, "supervised", line)[1]] == [1]


def test_the_first_mistakes_are_told_and_an_empty_file_is_one(tmp_path: Path) -> None:
    count, mistakes = read(tmp_path, "supervised", b"{}\n" * 50)
    assert (count, [number for number, _ in mistakes]) == (0, list(range(1, EXAMPLE_MISTAKES_MAX + 1)))
    assert read(tmp_path, "supervised", b"\n \n") == (0, [(None, "the file has no examples")])


def test_a_line_that_never_ends_is_not_held(tmp_path: Path) -> None:
    good = json.dumps(GOOD[0][1]).encode()
    count, ((number, message),) = read(tmp_path, "supervised", good + b"\n" + b" " * EXAMPLE_BYTES_MAX + b"x" * 100)
    assert (count, number) == (1, 2)
    assert str(EXAMPLE_BYTES_MAX) in message
