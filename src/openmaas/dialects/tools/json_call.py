"""One call as a JSON object, read character by character: ``{"name": "f", "arguments": {…}}``.

``parameters`` means ``arguments`` (Llama); arguments may be a string that holds JSON (OpenAI's own form); braces may be
doubled at the beginning, as some templates show them. Arguments are given out as they grow, once the name is known, and
are checked when they are whole. A tool for itself: a parser feeds it and decides what becomes of the text.
"""

from __future__ import annotations

from collections.abc import Collection, Generator

import msgspec

from openmaas.core.bounds import TOOL_VALUE_MAX
from openmaas.dialects.tools.pen import SPACE
from openmaas.dialects.tools.typed import is_object

_ARGUMENTS = ("arguments", "parameters")
_BESIDE = ("type", "id")  # said beside a call by some models, and read past; anything else makes it none
_Read = Generator[None, str, str]


class _NoCallError(Exception):
    """The text is no call; why."""


class JsonCall:
    """What is known of a call. ``begun``: its name and where its arguments begin; ``done``: it is whole; ``broken``:
    why it is none. ``names``: the tools it may be, None for any. ``alone``: it
    stands in plain text, so that it must have arguments. ``name``: it is known already, and the
    text is the arguments only."""

    def __init__(self, *, names: Collection[str] | None = None, alone: bool = False, name: str = "") -> None:
        self.name = name
        self.begun = self.done = self.doubled = self.opened = False
        self.broken = ""
        self._names = names
        self._alone = alone
        self._fresh: list[str] = []  # of the arguments, not taken yet
        self._arguments: list[str] = []
        self._raw: list[str] = []
        self._size = 0
        self._reading = self._only_arguments() if name else self._object()
        next(self._reading)

    def feed(self, char: str) -> bool:
        """The next character; false when it was not read, because the text is no call before it."""
        assert not self.done
        assert not self.broken
        self._size += 1
        begun, kept = self.begun, len(self._arguments)
        try:
            if self._size > TOOL_VALUE_MAX:
                raise _NoCallError("a call is too long")
            self._reading.send(char)
        except StopIteration:
            self.done = True
        except _NoCallError as error:
            self.broken = str(error)
            if len(self._arguments) == kept:
                return False
        if self.begun and not begun:
            self._raw.clear()
        elif not begun or len(self._arguments) == kept:
            self._raw.append(char)
        return True

    def taken(self) -> str:
        """The arguments since the last time; empty until the call has begun."""
        if not self.begun:
            return ""
        text = "".join(self._fresh)
        self._fresh.clear()
        return text

    def raw(self) -> str:
        """What was read and is not told by the name and the arguments: all of it, until the call has begun."""
        return "".join(self._raw)

    # ── the grammar; each part is sent characters and returns the first that is not its own ───────────────────────
    def _only_arguments(self) -> _Read:
        char = yield from self._space()
        self._opened(char)
        self.begun = True
        yield from self._kept(char)
        self._check("".join(self._arguments))
        return ""

    def _object(self) -> _Read:
        char = yield from self._space()
        self._opened(char)
        char = yield from self._space()
        if char == "{":
            self.doubled = True
            char = yield from self._space()
        seen: set[str] = set()
        while True:
            if char != '"':
                raise _NoCallError("no key")
            key = yield from self._string()
            key = "arguments" if key in _ARGUMENTS else key
            if key in seen or key not in ("name", "arguments", *_BESIDE):
                raise _NoCallError(f"a call has no {key}, or not twice")
            seen.add(key)
            if (yield from self._space()) != ":":
                raise _NoCallError("no value")
            char = yield from self._member(key, (yield from self._space()))
            if char == "}":
                break
            if char != ",":
                raise _NoCallError("no comma")
            char = yield from self._space()
        if "name" not in seen or (self._alone and "arguments" not in seen):
            raise _NoCallError("a call without a name or arguments")
        if "arguments" not in seen:
            self._keep("{}")
        self.begun = True
        return ""

    def _member(self, key: str, char: str) -> _Read:
        if key == "name":
            if char != '"':
                raise _NoCallError("the name is no string")
            self.name = yield from self._string()
            if not self.name or (self._names is not None and self.name not in self._names):
                raise _NoCallError(f"no tool is called {self.name!r}")
            self.begun = bool(self._arguments)
            return (yield from self._space())
        if key == "arguments":
            return (yield from self._read_arguments(char))
        if char != '"':
            raise _NoCallError(f"{key} is no string")
        yield from self._string()
        return (yield from self._space())

    def _read_arguments(self, char: str) -> _Read:
        if char == "{":
            self.begun = bool(self.name)
            yield from self._kept(char)
            self._check("".join(self._arguments))
            return (yield from self._space())
        if char == '"':
            text = yield from self._string()
            self._check(text)
            self._keep(text)
            self.begun = bool(self.name)
            return (yield from self._space())
        if char == "n" and not self._alone:
            for wanted in "ull":
                if (yield) != wanted:
                    break
            else:
                self._keep("{}")
                self.begun = bool(self.name)
                return (yield from self._space())
        raise _NoCallError("the arguments are no object")

    def _opened(self, char: str) -> None:
        if char != "{":
            raise _NoCallError("no object")
        self.opened = True

    def _keep(self, text: str) -> None:
        self._fresh.append(text)
        self._arguments.append(text)

    def _check(self, text: str) -> None:
        if not is_object(text):
            raise _NoCallError("the arguments are not JSON")

    def _space(self) -> _Read:
        while True:
            char = yield
            if char not in SPACE:
                return char

    def _string(self) -> _Read:
        """The rest of a JSON string, decoded."""
        parts, escaped = ['"'], False
        while True:
            char = yield
            parts.append(char)
            if not escaped and char == '"':
                break
            if char < " ":
                raise _NoCallError("a string that is not JSON")
            escaped = not escaped and char == "\\"
        try:
            return msgspec.json.decode("".join(parts), type=str)
        except ValueError:  # of which msgspec's errors and those of lone surrogates are kinds
            raise _NoCallError("a string that is not JSON") from None

    def _kept(self, char: str) -> Generator[None, str, None]:
        """The object of the arguments, from its first bracket to its last."""
        open_brackets: list[str] = []
        quoted = escaped = False
        while True:
            self._keep(char)
            if quoted:
                quoted = escaped or char != '"'
                escaped = not escaped and char == "\\"
            elif char == '"':
                quoted = True
            elif char in "{[":
                open_brackets.append(char)
            elif char in "}]" and open_brackets.pop() != ("{" if char == "}" else "["):
                raise _NoCallError("brackets that do not fit")
            if not open_brackets:
                return
            char = yield
