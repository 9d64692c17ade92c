"""Calls of GLM-4.5, 4.6 and 4.7: a name, then keys and values in tags.

    <tool_call>get_weather
    <arg_key>city</arg_key>
    <arg_value>Paris</arg_value>
    </tool_call>

4.7 writes the same without the newlines. Strings are raw, other values JSON (``typed.py``). Strings are passed on while
they grow; other values once they are whole. Source: the chat templates ``GLM-4.6.jinja`` and ``GLM-4.7-Flash.jinja`` of
llama.cpp. Thoughts are taken off before (``thinking.py``).
"""

from __future__ import annotations

import re

from openmaas.core.bounds import TOOL_NAME_MAX, TOOL_VALUE_MAX
from openmaas.dialects.tools.parsing import NewId
from openmaas.dialects.tools.pen import SPACE
from openmaas.dialects.tools.steps import Steps
from openmaas.dialects.tools.typed import STRING, Schemas, as_json, inside, kinds, quoted

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_KEY, _KEY_END = "<arg_key>", "</arg_key>"
_VALUE, _VALUE_END = "<arg_value>", "</arg_value>"
_NAME = re.compile(r"[ \t\r\n]*[\w.:/-]*[ \t\r\n]*")


class Glm(Steps):
    """A ``Parser``. ``schemas`` types the arguments; a call of a tool that it does not have is a call all the same."""

    def __init__(self, schemas: Schemas, new_id: NewId) -> None:
        self._schemas = schemas
        super().__init__(new_id)
        self._name = ""
        self._keys: set[str] = set()
        self._key = ""
        self._parts: list[str] = []
        self._size = 0

    def _end(self, rest: str) -> None:
        if self._step == self._begin:
            self._pen.say(_OPEN + rest)
        elif self._step == self._read_string:
            self._pen.argue(inside(rest))
            self._pen.spoil("", "the answer ended inside a call")
        elif self._pen.calling:
            self._pen.spoil("".join(self._parts) + rest, "the answer ended inside a call")
        else:
            self._pen.say(rest)

    # ── each step reads on and is true when the next may read more ────────────────────────────────────────────────
    def _text(self) -> bool:
        words, tag = self._tape.until(_OPEN)
        self._pen.say(words)
        if tag:
            self._step = self._begin
        return bool(tag)

    def _begin(self) -> bool:
        """The name of the tool and the tag after it. Anything else is a sentence that mentions the tag."""
        found = _NAME.match(self._tape.text)
        assert found is not None
        name, rest = found.group().strip(SPACE), self._tape.text[found.end() :]
        if found.end() <= TOOL_NAME_MAX:
            if (name or not rest) and (_KEY.startswith(rest) or _CLOSE.startswith(rest)) and rest not in (_KEY, _CLOSE):
                return False
            if name and rest.startswith((_KEY, _CLOSE)):
                self._tape.text = rest
                self._name, self._keys = name, set()
                self._pen.begin(name)
                self._step = self._next
                return True
        self._pen.say(_OPEN)
        self._step = self._text
        return True

    def _next(self) -> bool:
        """The next argument, or the end. A call that begins ends the one before it: all its arguments are whole."""
        self._tape.text = text = self._tape.text.lstrip(SPACE)
        tags = (_KEY, _CLOSE, _OPEN)
        tag = next((tag for tag in tags if text.startswith(tag)), "")
        if not tag and any(tag.startswith(text) for tag in tags):
            return False
        self._tape.text = text[len(tag) :]
        if tag == _KEY:
            self._parts, self._size = [_KEY], 0
            self._step = self._read_key
        elif tag:
            self._pen.argue("}" if self._keys else "{}")
            self._pen.end()
            self._step = self._text if tag == _CLOSE else self._begin
        else:
            self._spoil("", "between two arguments")
        return True

    def _read_key(self) -> bool:
        words, tag = self._tape.until(_KEY_END, _VALUE, _CLOSE)
        self._hold(words)
        if not tag and self._size <= TOOL_NAME_MAX:
            return False
        self._key = "".join(self._parts[1:]).strip(SPACE)
        if tag != _KEY_END or self._size > TOOL_NAME_MAX or not self._key or self._key in self._keys:
            self._tape.text = tag + self._tape.text
            self._spoil("".join(self._parts), "the name of an argument is broken, too long, or there twice")
        else:
            self._parts.append(tag)
            self._step = self._read_gap
        return True

    def _read_gap(self) -> bool:
        self._tape.text = text = self._tape.text.lstrip(SPACE)
        if not text.startswith(_VALUE):
            if _VALUE.startswith(text):
                return False
            self._spoil("".join(self._parts), "an argument without a value")
            return True
        self._tape.text = text[len(_VALUE) :]
        start = ("{" if not self._keys else ", ") + quoted(self._key) + ": "
        self._keys.add(self._key)
        if self._allowed() == STRING:
            self._pen.argue(start + '"')
            self._step = self._read_string
        else:
            self._pen.argue(start)
            self._parts, self._size = [], 0
            self._step = self._read_value
        return True

    def _read_string(self) -> bool:
        words, tag = self._tape.until(_VALUE_END)
        self._pen.argue(inside(words))
        if tag:
            self._pen.argue('"')
            self._parts = []
            self._step = self._next
        return bool(tag)

    def _read_value(self) -> bool:
        words, tag = self._tape.until(_VALUE_END)
        self._hold(words)
        if self._size > TOOL_VALUE_MAX:
            self._tape.text = tag + self._tape.text
            self._spoil("".join(self._parts), "an argument is too long")
            return True
        if tag:
            self._pen.argue(as_json("".join(self._parts), self._allowed()))
            self._parts = []
            self._step = self._next
        return bool(tag)

    def _spoilt(self) -> bool:
        """All up to the end of a call that is none."""
        words, tag = self._tape.until(_CLOSE, _OPEN)
        self._pen.spoil_more(words)
        if tag == _CLOSE:
            self._pen.spoil_more(tag)
        if tag:
            self._step = self._text if tag == _CLOSE else self._begin
        return bool(tag)

    def _spoil(self, text: str, why: str) -> None:
        self._pen.spoil(text, why)
        self._parts = []
        self._step = self._spoilt

    def _hold(self, words: str) -> None:
        if words:
            self._parts.append(words)
            self._size += len(words)

    def _allowed(self) -> frozenset[str]:
        schema = self._schemas.get(self._name) or {}
        properties = schema.get("properties")
        return kinds(properties.get(self._key), schema) if isinstance(properties, dict) else frozenset()
