"""Who tests a function, and who has it: two programs, each in a sandbox of its own, that only exchange plain values.

A function that sits beside its tests can end the process, put itself in the place of what the tests call, or answer
with an object that equals everything. Here it can only answer: the judge sends arguments as a line of JSON, and gets a
value back as one. The judge's exit code is the verdict, and no other process can set it.

    judge      prompt, tests ── arguments ──►  candidate   the whole program
               exit code     ◄── value ──────

The same text is both programs (`judging.py judge`, `judging.py answer`); it needs the standard library alone.
"""

from __future__ import annotations

import builtins
import json
import os
import sys
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import Any, TextIO

LINE_LETTERS = 4_000_000  # of an answer; HumanEval's own solutions need a thousandth of it
SILENCE = 3  # the judge's exit code where the function is not there to answer


def told(value: Any) -> Any:
    """A value as JSON: what is a kind of list, mapping or set is told as one. Raises TypeError for anything else."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes | bytearray):
        return {"bytes": value.hex()}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, list | tuple):
        return {"tuple" if isinstance(value, tuple) else "list": [told(each) for each in value]}
    if isinstance(value, Set):
        return {"set": [told(each) for each in value]}
    if isinstance(value, Mapping):
        return {"dict": [[told(key), told(each)] for key, each in value.items()]}
    raise TypeError(f"a {type(value).__name__} is no plain value")


def heard(said: Any) -> Any:
    """The value that was told. Raises an error of its own choice where nobody could have told it so."""
    if not isinstance(said, dict):
        return said
    ((kind, inside),) = said.items()
    if kind == "bytes":
        return bytes.fromhex(inside)
    if kind == "complex":
        return complex(*inside)
    if kind == "dict":
        return {heard(key): heard(each) for key, each in inside}
    return {"list": list, "tuple": tuple, "set": set}[kind](heard(each) for each in inside)


def judge(problem: Mapping[str, str], asks: TextIO, answers: TextIO) -> None:
    """Run the tests of a problem; returns if all passed, raises what they raise if not."""

    def candidate(*arguments: Any) -> Any:
        asks.write(json.dumps(told(arguments)) + "\n")
        asks.flush()
        line = answers.readline(LINE_LETTERS)
        if not line.endswith("\n"):
            raise EOFError("it has ended, or does not come to an end")
        said = json.loads(line)
        if "raised" in said:
            kind = getattr(builtins, str(said["raised"]), None)
            raise kind if isinstance(kind, type) and issubclass(kind, Exception) else RuntimeError
        return heard(said["value"])

    scope: dict[str, Any] = {"__name__": "judge"}
    # The prompt's last function has a docstring for a body, and what stands before it the tests may use.
    exec(problem["prompt"], scope)  # noqa: S102 - in a sandbox; of a file that is known by its digest
    scope[problem["entry_point"]] = candidate
    exec(problem["test"], scope)  # noqa: S102
    scope["check"](candidate)


def answer(code: str, name: str, asked: TextIO, answers: TextIO) -> None:
    """Run a program, then call its function `name` for each line, until no more come."""
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(code, "program.py", "exec"), scope)  # noqa: S102 - in a sandbox
    function: Callable[..., Any] = scope[name]
    for line in asked:
        try:
            said: dict[str, Any] = {"value": told(function(*heard(json.loads(line))))}
        except Exception as error:  # noqa: BLE001 - whatever it raises, the tests are to hear of it
            said = {"raised": type(error).__name__}
        answers.write(json.dumps(said) + "\n")
        answers.flush()


def main() -> None:
    """The part that the command line names. What is printed goes nowhere: the lines have descriptors of their own."""
    problem = json.loads(Path("problem.json").read_text())
    heard_from, said_to = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    if sys.argv[1] == "answer":
        answer(problem["program"], problem["entry_point"], heard_from, said_to)
        return
    try:
        judge(problem, said_to, heard_from)
    except (EOFError, BrokenPipeError):
        os._exit(SILENCE)  # at once: what could not be said stays unsaid


if __name__ == "__main__":
    main()
