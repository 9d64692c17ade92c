"""AutoGLM's grammar: ``<think>…</think><answer>do(action="Tap", element=[x,y])</answer>`` or ``finish(message="…")``.

Source: zai-org/Open-AutoGLM, ``phone_agent/config/prompts_zh.py`` and ``actions/handler.py``; served models are
``autoglm-phone-9b``, ``autoglm-phone`` and ``autoglm-phone-multilingual``. The answer is parsed as Python's syntax
tree and never executed; upstream cuts strings at fixed places and loses text with quotes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from openmaas.apps.agent.actions import Action, Ask, Finish, Note, Recall, Said, TakeOver, Wait
from openmaas.apps.agent.grammars.grammar import Setting, Spaced, named_call, thought_apart
from openmaas.apps.agent.grammars.prompts import AUTOGLM
from openmaas.apps.agent.observing import Sight
from openmaas.apps.agent.space import THOUSANDTHS
from openmaas.apps.drivers.acts import Back, Home, Launch, Press, Swipe, Tap, Type
from openmaas.core.bounds import WAIT_S_MAX
from openmaas.core.errors import AnswerUnreadable

_ANSWER = re.compile(r"<answer>(.*?)(?:</answer>|$)", re.DOTALL)
_CALL = re.compile(r"\b(?:do|finish)\s*\(")
_SECONDS = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:s|sec|seconds?|x seconds|秒)?\s*\Z", re.IGNORECASE)


class AutoGLM(Spaced):
    """Open-AutoGLM's ``do()`` and ``finish()``, coordinates 0 to 999."""

    def __init__(self) -> None:
        super().__init__(THOUSANDTHS)

    def system(self, setting: Setting) -> str:
        """See ``Grammar``."""
        return AUTOGLM[setting.language].format(today=setting.today)

    def show(self, sight: Sight, mark: str) -> str:
        """What upstream sends beside a picture, and what the screen says when there is no picture to see it by."""
        del mark  # the model knows no marks; what the screen says stands in the picture alone
        return f"** Screen Info **\n\n{json.dumps({'current_app': sight.screen.app}, ensure_ascii=False)}"

    def asks(self, setting: Setting, sight: Sight) -> Mapping[str, Any]:
        """Upstream's sampling."""
        del setting, sight
        return {"max_tokens": 3000, "temperature": 0.0, "top_p": 0.85, "frequency_penalty": 0.2}

    def read(self, message: Mapping[str, Any], sight: Sight) -> Said:
        """See ``Grammar``."""
        thinking, rest = thought_apart(message)
        wrapped = _ANSWER.search(rest)
        body = wrapped[1] if wrapped else rest
        begin = _CALL.search(body)
        if begin is None:
            raise AnswerUnreadable("it must end in one do(action=…) or finish(message=…)")
        before = thinking or body[: begin.start()].strip() or (rest[: wrapped.start()].strip() if wrapped else "")
        name, arguments = named_call(body[begin.start() :])
        if name == "finish":
            return Said(Finish(_text(arguments, "message")), before)
        return Said(
            self._action(arguments, sight), before, str(arguments.get("message") or "") if _warns(arguments) else ""
        )

    def _action(self, said: Mapping[str, Any], sight: Sight) -> Action:
        def place(name: str) -> Any:
            return self.point(said.get(name), sight)

        match said.get("action"):
            case "Launch":
                return Launch(_text(said, "app"))
            case "Tap":
                return Tap(place("element"))
            case "Double Tap":
                return Tap(place("element"), count=2)
            case "Long Press":
                return Press(place("element"))
            case "Type" | "Type_Name":
                return Type(_text(said, "text"), clear=True)  # as upstream, which clears the field first
            case "Swipe":
                return Swipe(place("start"), place("end"))
            case "Back":
                return Back()
            case "Home":
                return Home()
            case "Wait":
                return Wait(_seconds(said.get("duration", "1 seconds")))
            case "Note":
                return Note("" if said.get("message") in ("True", True, None) else str(said["message"]))
            case "Call_API":
                return Recall(_text(said, "instruction"))
            case "Interact":
                return Ask(str(said.get("message") or ""))
            case "Take_over":
                return TakeOver(str(said.get("message") or ""))
            case unknown:
                raise AnswerUnreadable(f"there is no action {unknown!r}")


def _warns(said: Mapping[str, Any]) -> bool:
    return said.get("action") in ("Tap", "Long Press", "Double Tap") and bool(said.get("message"))


def _text(said: Mapping[str, Any], name: str) -> str:
    if not isinstance(said.get(name), str):
        raise AnswerUnreadable(f"{name} must be a text")
    return str(said[name])


def _seconds(said: object) -> float:
    found = _SECONDS.match(str(said))
    if found is None:
        raise AnswerUnreadable(f'a duration is such as "2 seconds", not {said!r}')
    return min(float(found[1]), WAIT_S_MAX)
