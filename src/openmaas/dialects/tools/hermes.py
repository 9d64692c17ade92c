"""Calls of Hermes and Qwen: a JSON object in tags, as many as the model likes.

    <tool_call>
    {"name": "get_weather", "arguments": {"city": "Paris"}}
    </tool_call>

The closing tag may be missing, and one pair of tags may hold several objects. Source: the chat templates of
NousResearch/Hermes-2-Pro and Qwen2.5.
"""

from __future__ import annotations

from openmaas.dialects.tools.json_call import JsonCall
from openmaas.dialects.tools.parsing import NewId
from openmaas.dialects.tools.pen import SPACE, Pen
from openmaas.dialects.tools.steps import Steps

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"


class Hermes(Steps):
    """A ``Parser``. A call of an unknown tool is a call all the same."""

    def __init__(self, new_id: NewId) -> None:
        super().__init__(new_id)
        self._call = JsonCall()

    def _end(self, rest: str) -> None:
        if self._step == self._read:
            if self._call.opened:
                self._pen.spoil(self._unsaid(), "the answer ended inside a call")
            else:
                self._pen.say(self._unsaid())
        else:
            self._pen.say(rest)

    def _text(self) -> bool:
        words, tag = self._tape.until(_OPEN)
        self._pen.say(words)
        if tag:
            self._call, self._step = JsonCall(), self._read
        return bool(tag)

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
        if call.broken:
            if call.opened:
                self._pen.spoil(self._unsaid(), call.broken)
                self._step = self._spoilt
            else:  # a sentence that mentions the tag
                self._pen.say(self._unsaid())
                self._step = self._text
        elif call.done:
            self._pen.end()
            self._step = self._between
        return call.done or bool(call.broken)

    def _between(self) -> bool:
        """After an object: the end of the tag, another object, or text that forgot the tag."""
        self._tape.text = text = self._tape.text.lstrip(SPACE + "}" if self._call.doubled else SPACE)
        if text.startswith("{"):
            self._call, self._step = JsonCall(), self._read
        elif text.startswith(_CLOSE) or not _CLOSE.startswith(text):
            self._tape.text = text.removeprefix(_CLOSE)
            self._step = self._text
        else:
            return False
        return True

    def _spoilt(self) -> bool:
        words, tag = self._tape.until(_CLOSE, _OPEN)
        self._pen.spoil_more(words)
        if tag == _CLOSE:
            self._pen.spoil_more(tag)
            self._step = self._text
        elif tag:
            self._call, self._step = JsonCall(), self._read
        return bool(tag)

    def _unsaid(self) -> str:
        return ("" if self._pen.calling else _OPEN) + self._call.raw()


def write(pen: Pen, call: JsonCall) -> None:
    """Write down what ``call`` knows now and did not before."""
    if call.begun and not pen.calling:
        pen.begin(call.name)
    if call.begun:
        pen.argue(call.taken())
