"""A file of examples, in OpenAI's shapes, as rows that a model learns from.

One JSON object a line. For ``supervised`` a conversation (``messages``, ``tools``): each answer of the assistant is a
lesson of its own, read from the beginning. For ``dpo`` a conversation and two answers to it, the better and the worse.
A row reads everything and learns the answers alone. It knows templates and tokens, and neither batches nor models:
``lessons.py`` puts the rows in order.

https://platform.openai.com/docs/api-reference/fine-tuning/chat-input · …/preference-input
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from openglm.bounds import EXAMPLE_MISTAKES_MAX
from openglm.chat.render import Family, Piece, lessons
from openglm.data.rows import Row
from openglm.data.tokenizer import Tokenizer
from openglm.errors import Refused

Method = Literal["supervised", "dpo"]
#: What other ways to write a role are called here.
ROLES = {"developer": "system", "function": "tool"}


@dataclass(frozen=True)
class Reader:
    """How examples are read: by which template, with which tokens, up to how many (``length_max``)."""

    tokenizer: Tokenizer
    family: Family
    length_max: int

    def rows(self, path: Path, method: Method) -> list[Row]:
        """The rows of a file; for ``dpo`` two for each line, the better one first.

        Raises:
            Refused: lines that are no examples, or too long for the model; the first few are named by number.
        """
        found: list[Row] = []
        mistakes: list[str] = []
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    found += [self._row(lesson, method) for lesson in self._lessons(line, method)]
                except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
                    mistakes.append(f"line {number}: {_said(error)}")
                if len(mistakes) == EXAMPLE_MISTAKES_MAX:
                    break
        if mistakes:
            raise Refused(f"{path.name}: {'; '.join(mistakes)}", hint="Mend or leave out these lines.")
        if not found:
            raise Refused(f"{path.name} has no examples", hint="It needs a JSON object a line.")
        return found

    def texts(self, path: Path, method: Method) -> Iterator[tuple[str, ...]]:
        """What ``rows`` are made of, for trainers with tokenizers of their own: a prompt and an answer, for ``dpo`` a
        prompt, a better and a worse answer. The file is one that ``rows`` has read."""
        with path.open("rb") as file:
            for line in filter(bytes.strip, file):
                told = [[piece.text for piece in lesson] for lesson in self._lessons(line, method)]
                if method == "supervised":
                    yield from map(tuple, told)
                    continue
                (before, better), (other, worse) = told
                same = _same(before, other)
                yield same, before[len(same) :] + better, other[len(same) :] + worse

    def _lessons(self, line: bytes, method: Method) -> Iterator[list[Piece]]:
        told = json.loads(line)
        if method == "supervised":
            yield from lessons(_messages(told["messages"]), self.family, _tools(told))
            return
        before = [{**message, "weight": 0} for message in _messages(told["input"]["messages"])]
        for name in ("preferred_output", "non_preferred_output"):
            (answer,) = _one(told[name], name)
            yield from lessons([*before, answer], self.family, _tools(told["input"]))

    def _row(self, lesson: list[Piece], task: str) -> Row:
        tokens: list[int] = []
        learned: list[bool] = []
        for piece in lesson:  # apart, as at the time of answering: nothing is merged across the place where it begins
            ids = self.tokenizer.encode(piece.text, marks=True)
            tokens += ids
            learned += [piece.learned] * len(ids)
        if len(tokens) > self.length_max:
            raise ValueError(f"it has {len(tokens)} tokens, and the model reads {self.length_max}")
        whole = np.array(tokens, np.int64)
        return Row(
            tokens=whole[:-1],
            targets=whole[1:],
            positions=np.arange(len(tokens) - 1, dtype=np.int64),
            weights=np.array(learned[1:], np.float32),
            task=task,
        )


def thinks(path: Path) -> bool:
    """Whether any answer of a file has a thought: a model that learns from none is not to be asked for one."""
    with path.open("rb") as file:
        return any(b'"reasoning_content"' in line or b"</think>" in line for line in file)


def _messages(told: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages as templates take them: roles of the family, arguments of calls as mappings."""
    return [_message(message) for message in told]


def _message(told: Mapping[str, Any]) -> dict[str, Any]:
    message = dict(told)
    message["role"] = ROLES.get(message["role"], message["role"])
    if message.get("content") is None:
        message["content"] = ""
    calls = message.get("tool_calls") or ()
    if function := message.pop("function_call", None):  # as calls were written before there were several
        calls = ({"function": function},)
    if calls:
        message["tool_calls"] = [{**call, "function": _function(call["function"])} for call in calls]
    return message


def _function(told: Mapping[str, Any]) -> dict[str, Any]:
    arguments = told.get("arguments") or "{}"
    found = json.loads(arguments) if isinstance(arguments, str) else arguments
    if not isinstance(found, dict):
        raise ValueError(f"the arguments of {told['name']} are no JSON object")
    return {**told, "arguments": found}


def _tools(told: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return told.get("tools") or []


def _same(one: str, other: str) -> str:
    """What two prompts begin with, up to a mark's end: an answer that thinks and one that does not part in the last."""
    shorter = min(len(one), len(other))
    parted = next((at for at in range(shorter) if one[at] != other[at]), shorter)
    return one[: one.rfind(">", 0, parted) + 1]


def _one(told: list[Mapping[str, Any]], name: str) -> list[dict[str, Any]]:
    answers = _messages(told)
    if len(answers) != 1 or answers[0]["role"] != "assistant":
        raise ValueError(f"{name} must be one message of the assistant")
    return answers


_WORDS: dict[type[Exception], Callable[[Exception], str]] = {
    KeyError: lambda error: f"it has no {error.args[0]}",
    json.JSONDecodeError: lambda error: f"it is no JSON: {error}",
}


def _said(error: Exception) -> str:
    return _WORDS.get(type(error), str)(error)
