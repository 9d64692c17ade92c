"""Calls without tags of their own: plain JSON, as Llama and small models answer, and the form of GLM-4.

    {"name": "get_weather", "parameters": {"city": "Paris"}}        also a list of them, and in a ``` fence

    get_weather                                                     GLM-4-9B: the name, then the arguments
    {"city": "Paris"}

Nothing but the names of the tools tells such a call from an answer, so only a known name makes one, and only where a
line begins: text before and after passes. What turns out to be no call is text. Sources: the chat templates of
Llama 3.1 and GLM-4-9B.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Collection

from openmaas.core.bounds import TOOL_SPACE_MAX
from openmaas.dialects.tools.hermes import write
from openmaas.dialects.tools.json_call import JsonCall
from openmaas.dialects.tools.parsing import NewId
from openmaas.dialects.tools.pen import SPACE
from openmaas.dialects.tools.steps import Steps

_FENCE, _FENCE_LINE = "```", re.compile(r"```[a-z_]{0,16}[ \t]{0,8}\r?\n")
_FENCE_BEGUN = re.compile(r"`{1,2}|```[a-z_]{0,16}[ \t]{0,8}\r?")


class _Lines(Steps):
    """What both parsers share."""

    def __init__(self, names: Collection[str], new_id: NewId) -> None:
        self._names = frozenset(names)
        super().__init__(new_id)
        self._opened = ""  # what stood before the {
        self._fenced = self._listed = False
        self._start = self._margin = True  # a line begins here; and white space before it does not count
        self._call = JsonCall()

    def _end(self, rest: str) -> None:
        if self._step == self._read and self._pen.calling:
            self._pen.spoil(self._call.raw(), "the answer ended inside a call")
        elif self._step == self._read:
            self._pen.say(self._opened + self._call.raw())
        else:
            self._pen.say(rest)

    @abstractmethod
    def _opening(self, text: str) -> int | None:
        """Where in ``text``, which begins a line, the ``{`` of a call may stand: its place, -1 for nowhere, None while
        that is not known."""

    @abstractmethod
    def _new_call(self) -> JsonCall:
        """What reads the call that begins there."""

    def _text(self) -> bool:
        text = self._tape.text
        if not text:
            return False
        if not self._start:
            end = text.find("\n") + 1
            self._pen.say(text[:end] if end else text)
            self._tape.text = text[end:] if end else ""
            self._start = bool(end)
            return True
        indent = len(text) - len(text.lstrip(SPACE)) if self._margin else 0
        if indent:
            self._pen.say(text[:indent])
            self._tape.text = text[indent:]
            return True
        place = self._opening(text)
        if place is None:
            return False
        self._start = self._margin = False
        if place >= 0:
            self._opened, self._tape.text = text[:place], text[place:]
            self._fenced, self._listed = self._opened.startswith(_FENCE), "[" in self._opened
            self._call, self._step = self._new_call(), self._read
        elif _FENCE_LINE.match(text):  # a fence around something else: what it holds begins a line
            self._start = True
            end = text.index("\n") + 1
            self._pen.say(text[:end])
            self._tape.text = text[end:]
        return True

    def _read(self) -> bool:
        call, text = self._call, self._tape.text
        for place, char in enumerate(text):
            read = call.feed(char)
            if call.done or call.broken:
                self._tape.text = text[place + read :]
                break
        else:
            self._tape.text = ""
        write(self._pen, call)
        if call.done:
            self._pen.end()
            self._step = self._between
        elif call.broken and (self._pen.calling or self._opened[:1] == ","):
            self._pen.spoil(("" if self._pen.calling else self._opened) + call.raw(), call.broken)
            self._step = self._spoilt
        elif call.broken:
            self._pen.say(self._opened + call.raw())
            self._step = self._text
        return call.done or bool(call.broken)

    def _between(self) -> bool:
        """After a call: another one, the end of what was around it, or text."""
        if self._call.doubled:
            self._tape.text = self._tape.text.lstrip(SPACE + "}")
        self._tape.text = text = self._tape.text.lstrip(SPACE)
        if not text:
            return False
        follows = text[1:].lstrip(SPACE)
        if self._listed and text[0] == "]":
            self._listed = False
            self._tape.text = text[1:]
            return True
        if text[0] == ("," if self._listed else ";"):
            if not follows and len(text) <= TOOL_SPACE_MAX:
                return False
            if follows.startswith("{") and len(text) - len(follows) <= TOOL_SPACE_MAX:
                self._opened, self._tape.text = text[: -len(follows)], follows
                self._call, self._step = self._new_call(), self._read
                return True
        if self._fenced and not self._listed:
            if text.startswith(_FENCE):
                self._fenced = False
                self._tape.text = text[len(_FENCE) :]
                return True
            if _FENCE.startswith(text):
                return False
        self._start = self._margin = True
        self._step = self._text
        return True

    def _spoilt(self) -> bool:
        self._pen.spoil_more(self._tape.rest())
        return False


class Plain(_Lines):
    """A ``Parser`` of plain JSON. ``names`` are the tools; without any, nothing is a call."""

    def _new_call(self) -> JsonCall:
        return JsonCall(names=self._names, alone=True)

    def _opening(self, text: str) -> int | None:
        place = 0
        if text[0] == "`":
            line = _FENCE_LINE.match(text)
            if line is None:
                return None if _FENCE_BEGUN.fullmatch(text) else -1
            place = line.end()
        for mark in "[{":
            inner = text[place:].lstrip(SPACE)
            gap = len(text) - place - len(inner)
            if gap > TOOL_SPACE_MAX:
                return -1
            if not inner:
                return None
            if inner[0] == "{":
                return place + gap
            if inner[0] != mark:
                return -1
            place += gap + 1
        return -1


class NamedLine(_Lines):
    """A ``Parser`` of GLM-4's form: the name on a line, the arguments on the next."""

    def _new_call(self) -> JsonCall:
        return JsonCall(name=self._opened.strip(SPACE))

    def _opening(self, text: str) -> int | None:
        name, line, rest = text.partition("\n")
        if not line:
            return (
                None
                if any(known.startswith(name.rstrip(SPACE)) for known in self._names)
                and len(name) <= TOOL_SPACE_MAX + max(map(len, self._names))
                else -1
            )
        inner = rest.lstrip(SPACE)
        if name.rstrip(SPACE) not in self._names or len(text) - len(inner) > 2 * TOOL_SPACE_MAX + len(name):
            return -1
        if not inner:
            return None
        return len(text) - len(inner) if inner[0] == "{" else -1
