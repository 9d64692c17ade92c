"""The engine of kind ``moderator``: looks for an operator's words in texts, and says so as OpenAI's moderations do.

It is a list, not a classifier: it knows no context, no irony and no picture. A score is 1 or 0. Each result says its
``risk_level`` beside, which the wire does not have and Zhipu's dialect shows. A list that changed on disk is read
again; one that cannot be read leaves the one before in force. https://platform.openai.com/docs/api-reference/moderations
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import msgspec

from openmaas.core.bounds import MODERATED_LENGTH_MAX, MODERATED_MAX
from openmaas.core.errors import FieldInvalid
from openmaas.engines.answer import Answer, attend
from openmaas.engines.body import decode
from openmaas.engines.meter import Meter
from openmaas.engines.spec import EngineSpec, check_options
from openmaas.engines.wire import Exchange
from openmaas.engines.words import Words, read_words

log = logging.getLogger(__name__)

PATH = "/v1/moderations"
#: What clients of OpenAI look for in every result; a category of the list that has such a name fills it.
_USUAL = (
    *("harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent"),
    *("self-harm", "self-harm/intent", "self-harm/instructions", "sexual", "sexual/minors", "violence"),
    "violence/graphic",
)


class _Part(msgspec.Struct):
    type: str
    text: str | None = None


class _Ask(msgspec.Struct):
    input: str | list[str | _Part]


_decoder = msgspec.json.Decoder(_Ask)


class Moderator:
    """The engine of kind ``moderator``."""

    def __init__(self, spec: EngineSpec, meter: Meter) -> None:
        check_options("moderator", spec.options)
        self.model = spec.model
        self.ready = False
        self._path = Path(str(spec.options.get("words", "")))
        self._meter = meter
        self._stamp = 0
        self._words: Words

    async def start(self) -> None:
        """Read the list. Raises ``FieldInvalid``."""
        self._stamp = _stamp(self._path)
        self._words = read_words(self._path)
        self.ready = True

    def stop(self) -> None:
        """There is nothing to give back."""

    def post(self, exchange: Exchange) -> None:
        """Answer one request."""
        attend(exchange, self._meter, self.model, self._work)

    def _work(self, answer: Answer, exchange: Exchange) -> None:
        if exchange.path != PATH:
            raise FieldInvalid(f"this model moderates; use {PATH}", field="model")
        texts = _texts(decode(_decoder, exchange.body).input)
        self._renew()
        results = [self._result(text) for text in texts]
        answer.units = (("call", len(texts)),)
        head = {"id": f"modr-{exchange.request_id}", "model": self.model, "results": results}
        answer.finish_plain(msgspec.json.encode(head))

    def _result(self, text: str) -> dict[str, Any]:
        words = self._words
        found = words.found(text)
        names = dict.fromkeys((*_USUAL, *words.levels))
        refused = any(words.levels[name] == "reject" for name in found)
        return {
            "flagged": bool(found),
            "categories": {name: name in found for name in names},
            "category_scores": {name: float(name in found) for name in names},
            "category_applied_input_types": {name: ["text"] for name in names},
            "risk_level": "REJECT" if refused else "REVIEW" if found else "PASS",
        }

    def _renew(self) -> None:
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._words = read_words(self._path)
        except FieldInvalid as error:
            log.error("the list of before stays in force: %s", error)


def _texts(told: str | list[str | _Part]) -> list[str]:
    """What is to be looked at, each for itself; parts are one thing said together. Raises ``FieldInvalid``."""
    if isinstance(told, str):
        texts = [told]
    elif any(isinstance(each, _Part) for each in told):
        texts = ["\n".join(_text(each, at) for at, each in enumerate(told))]
    else:
        texts = [each for each in told if isinstance(each, str)]
    if not 1 <= len(texts) <= MODERATED_MAX:
        raise FieldInvalid(f"input must be 1 to {MODERATED_MAX} texts", field="input")
    if sum(map(len, texts)) > MODERATED_LENGTH_MAX:
        raise FieldInvalid(f"input may have {MODERATED_LENGTH_MAX} characters in all", field="input")
    return texts


def _text(part: str | _Part, at: int) -> str:
    if isinstance(part, str) or part.type != "text" or part.text is None:
        raise FieldInvalid(f"input[{at}]: this model reads parts of type text only", field=f"input[{at}].type")
    return part.text


def _stamp(path: Path) -> int:
    """Changes with the file; 0 while there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
