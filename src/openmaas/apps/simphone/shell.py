"""The simulated phone's shell: words, quotes, and commands one after the other. No pipes, no variables, no files.

What is not simulated fails as in a shell that lacks it, and never does nothing silently.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from playwright.async_api import Error

from openmaas.apps.simphone.commands import COMMANDS, Outcome
from openmaas.apps.simphone.system import System

#: A word with its quotes, or what stands between two commands.
_TOKEN = re.compile(
    r"""\s*(?:(?P<word>(?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|[^\s;&|'"\\])+)|(?P<mark>&&|\|\||[;&|]))""", re.DOTALL
)
#: What a real shell takes as it stands; what is left beside it must not be expanded or redirected.
_LITERAL = re.compile(r"""'[^']*'|\\.|"(?:\\.|[^"\\$`])*\"""", re.DOTALL)
_UNSIMULATED = re.compile(r"[<>$`()]")
_SYNTAX, _ABSENT = 2, 127


async def run(system: System, line: str) -> Outcome:
    """Run a line, and give all that it wrote with the exit code of what ran last."""
    out, err, code = b"", b"", 0
    try:
        sequence = list(_sequence(line))
    except ValueError as error:
        return Outcome(_SYNTAX, b"", f"sh: {error}\n".encode())
    for mark, words in sequence:
        if (mark == "&&" and code != 0) or (mark == "||" and code == 0):
            continue
        command = COMMANDS.get(words[0])
        if command is None:
            outcome = Outcome(_ABSENT, b"", f"sh: {words[0]}: not found (SimPhone is not Android)\n".encode())
        else:
            try:
                outcome = await command(system, words[1:])
            except Error as error:  # the page crashed, or did not come
                outcome = Outcome(1, b"", f"{words[0]}: {error.message}\n".encode())
        out, err, code = out + outcome.out, err + outcome.err, outcome.code
    return Outcome(code, out, err)


def _sequence(line: str) -> Iterator[tuple[str, list[str]]]:
    """Commands, each with the mark before it."""
    mark, words, place = ";", list[str](), 0
    while place < len(line.rstrip()):
        token = _TOKEN.match(line, place)
        if token is None:
            raise ValueError("no closing quote")
        place = token.end()
        if word := token["word"]:
            if _UNSIMULATED.search(_LITERAL.sub("", word)):
                raise ValueError(f"{word}: expansions and redirections are not simulated")
            words += shlex.split(word)
            continue
        if token["mark"] in ("|", "&") or not words:
            raise ValueError(f"syntax error at {token['mark']!r}")
        yield mark, words
        mark, words = token["mark"], []
    if words:
        yield mark, words
    elif mark != ";":
        raise ValueError("syntax error at the end")
