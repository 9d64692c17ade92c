"""The contract of a grammar: how a model is told what it may do, and how its answer is read.

A grammar never guesses. What it cannot read it refuses with ``AnswerUnreadable`` and the reason, which goes back to
the model; peers take such an answer for the task's end (Open-AutoGLM reports "hello" as a success).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from openmaas.apps.agent.actions import Finish, Said
from openmaas.apps.agent.observing import Sight
from openmaas.apps.agent.space import Space
from openmaas.apps.drivers.acts import Act, Point
from openmaas.core.bounds import CALL_ENDS_MAX
from openmaas.core.errors import AnswerUnreadable


class Setting(msgspec.Struct, frozen=True):
    """What a model is told of where it is: the kind of device, what can be done there, its applications, the date, and
    the language of the person."""

    kind: str
    acts: frozenset[type[Act]]
    apps: tuple[str, ...] = ()
    today: str = ""
    language: str = "en"


class Grammar(Protocol):
    """One language of actions, in one coordinate space."""

    @property
    def space(self) -> Space:
        """What its numbers mean, and how large a picture it wants."""

    def system(self, setting: Setting) -> str:
        """The system prompt."""

    def show(self, sight: Sight, mark: str) -> str:
        """The text beside the picture."""

    def asks(self, setting: Setting, sight: Sight) -> Mapping[str, Any]:
        """Members of the chat's body beside model and messages: tools, a response format, sampling."""

    def read(self, message: Mapping[str, Any], sight: Sight) -> Said:
        """An assistant's message as an action. Raises ``AnswerUnreadable``."""


class Spaced:
    """What all grammars share: a space, and points from numbers in it."""

    def __init__(self, space: Space) -> None:
        self._space = space

    @property
    def space(self) -> Space:
        """See ``Grammar``."""
        return self._space

    def point(self, at: object, sight: Sight) -> Point:
        """The pixel that two numbers mean. Raises ``AnswerUnreadable``."""
        if not isinstance(at, (list, tuple)) or len(at) != 2 or not all(_is_number(each) for each in at):
            raise AnswerUnreadable(f"a place is two numbers, not {at!r}")
        try:
            x, y = float(at[0]), float(at[1])
        except OverflowError:
            raise AnswerUnreadable("a place is two numbers on the screen") from None
        return self._space.point(x, y, sight.screen.width, sight.screen.height)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def element_middle(number: object, sight: Sight) -> Point:
    """Where element ``number`` is tapped. Raises ``AnswerUnreadable`` for one that is not on the screen."""
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= len(sight.screen.elements):
        raise AnswerUnreadable(f"there is no element {number!r}; they are numbered 1 to {len(sight.screen.elements)}")
    return sight.screen.elements[number - 1].box.middle


def content_of(message: Mapping[str, Any]) -> str:
    """The text of an assistant's message; parts joined."""
    content = message.get("content") or ""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content)


_THOUGHT = re.compile(r"<think(?:ing)?>(.*?)</think(?:ing)?>", re.DOTALL)


def thought_apart(message: Mapping[str, Any]) -> tuple[str, str]:
    """An answer as what was thought (in tags or as ``reasoning_content``) and the rest."""
    text = content_of(message)
    thoughts = [str(message.get("reasoning_content") or ""), *_THOUGHT.findall(text)]
    return "\n".join(filter(None, (each.strip() for each in thoughts))), _THOUGHT.sub("", text).strip()


def one_call(message: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """The tool call of a message as name and arguments; None without any.

    Raises ``AnswerUnreadable`` for several, of which only the first would see the screen it was meant for.
    """
    calls = message.get("tool_calls") or []
    if not calls:
        return None
    if len(calls) > 1:
        raise AnswerUnreadable("one action at a time: the screen changes after each")
    try:
        function = calls[0]["function"]
        arguments = function["arguments"]
        found = msgspec.json.decode(arguments or "{}") if isinstance(arguments, str) else arguments
        name = str(function["name"])
    except (KeyError, TypeError, msgspec.DecodeError) as error:
        raise AnswerUnreadable(f"the arguments of the call are not JSON ({error})") from None
    if not isinstance(found, dict):
        raise AnswerUnreadable("the arguments of the call are not an object")
    return name, found


def named_call(text: str) -> tuple[str, dict[str, Any]]:
    """The call that ``text`` begins with, as name and named arguments: its shortest beginning that is Python.

    Read as a syntax tree, never executed. Raises ``AnswerUnreadable``.
    """
    for end in [each.end() for each in re.finditer(r"\)", text)][:CALL_ENDS_MAX]:
        for source in (text[:end], text[:end].replace("\n", "\\n")):  # line breaks between arguments, or in a string
            try:
                tree = ast.parse(source.strip(), mode="eval").body
                if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and not tree.args:
                    return tree.func.id, {each.arg: ast.literal_eval(each.value) for each in tree.keywords if each.arg}
            except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
                continue
    raise AnswerUnreadable(f"{text[:80]!r} is not a call with named arguments")


def finished(message: str, succeeded: object = True) -> Finish:
    """The end in the model's words. Raises ``AnswerUnreadable`` when it does not say yes or no."""
    if not isinstance(succeeded, bool):
        raise AnswerUnreadable(f"succeeded is true or false, not {succeeded!r}")
    return Finish(message, succeeded)
