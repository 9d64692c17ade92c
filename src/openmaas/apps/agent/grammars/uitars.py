"""UI-TARS's grammar: ``Thought: …`` and ``Action: click(start_box='(x,y)')``.

Source: bytedance/UI-TARS, ``prompt.py`` and ``action_parser.py`` (1.0: thousandths; 1.5: pixels of the picture as
Qwen2.5-VL resizes it). Which of the two a model means cannot be seen from its answer, so it is part of the name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from openmaas.apps.agent.actions import Action, Ask, Finish, Said, Wait
from openmaas.apps.agent.grammars.grammar import Setting, Spaced, named_call, thought_apart
from openmaas.apps.agent.grammars.prompts import UI_TARS_COMPUTER, UI_TARS_PHONE
from openmaas.apps.agent.observing import Sight
from openmaas.apps.drivers.acts import Back, Home, Hover, Key, Launch, Point, Press, Scroll, Swipe, Tap, Type
from openmaas.core.errors import AnswerUnreadable

_ACTION = re.compile(r"^\s*Action\s*[:：]\s*", re.MULTILINE)
_THOUGHT = re.compile(r"^\s*(?:Thought|Reflection|Action_Summary)\s*[:：]\s*", re.MULTILINE)
_NUMBERS = re.compile(r"-?\d+(?:\.\d+)?")
#: Its hotkeys are xdotool's and pyautogui's; ours are the W3C's.
KEYS = {
    "ctrl": "Control",
    "control": "Control",
    "shift": "Shift",
    "alt": "Alt",
    "cmd": "Meta",
    "win": "Meta",
    "meta": "Meta",
    "super": "Meta",
    "command": "Meta",
    "option": "Alt",
    "return": "Enter",
    "enter": "Enter",
    "esc": "Escape",
    "escape": "Escape",
    "tab": "Tab",
    "space": " ",
    "backspace": "Backspace",
    "del": "Delete",
    "delete": "Delete",
    "insert": "Insert",
    "home": "Home",
    "end": "End",
    "pageup": "PageUp",
    "page_up": "PageUp",
    "pagedown": "PageDown",
    "page_down": "PageDown",
    "up": "ArrowUp",
    "down": "ArrowDown",
    "left": "ArrowLeft",
    "right": "ArrowRight",
    "arrowup": "ArrowUp",
    "arrowdown": "ArrowDown",
    "arrowleft": "ArrowLeft",
    "arrowright": "ArrowRight",
}


def key_named(name: str) -> str:
    """A key by the W3C's name from what others call it: ``ctrl``, ``Return``, ``page_down``, ``f5``."""
    low = name.strip().lower() or name
    return KEYS.get(low, low.upper() if re.fullmatch(r"f\d\d?", low) else name.strip())


def keys_named(names: Sequence[str]) -> tuple[str, ...]:
    """Keys by the W3C's names. Raises ``AnswerUnreadable`` for one that has none."""
    found = tuple(key_named(each) for each in names)
    if not found or not all(found):
        raise AnswerUnreadable("it names no key")
    return found


class UITars(Spaced):
    """UI-TARS; the space says which."""

    def system(self, setting: Setting) -> str:
        """See ``Grammar``."""
        prompt = UI_TARS_PHONE if setting.kind == "phone" else UI_TARS_COMPUTER
        return prompt.format(language={"zh": "Chinese", "en": "English"}[setting.language])

    def show(self, sight: Sight, mark: str) -> str:
        """The picture alone, as it was trained."""
        del sight, mark
        return ""

    def asks(self, setting: Setting, sight: Sight) -> Mapping[str, Any]:
        """Its own sampling."""
        del setting, sight
        return {"max_tokens": 1000, "temperature": 0.0}

    def read(self, message: Mapping[str, Any], sight: Sight) -> Said:
        """See ``Grammar``."""
        thought, rest = thought_apart(message)
        found = _ACTION.search(rest)
        if found is None:
            raise AnswerUnreadable("it must end in a line `Action: …`")
        before = _THOUGHT.sub("", rest[: found.start()]).strip()
        name, arguments = named_call(rest[found.end() :].strip())
        return Said(self._action(name, arguments, sight), thought or before)

    def _action(self, name: str, arguments: Mapping[str, Any], sight: Sight) -> Action:
        said = {each: str(value) for each, value in arguments.items()}

        def box(which: str = "start_box") -> Point:
            return self._box(said.get(which, said.get("point", "") if which == "start_box" else ""), sight)

        match name:
            case "click" | "left_single":
                return Tap(box())
            case "left_double":
                return Tap(box(), count=2)
            case "right_single":
                return Tap(box(), button="right")
            case "hover":
                return Hover(box())
            case "long_press":
                return Press(box())
            case "drag" | "swipe":
                return Swipe(box(), box("end_box"))
            case "scroll":
                place = box() if said.get("start_box") else Point(sight.screen.width // 2, sight.screen.height // 2)
                return Scroll(place, said.get("direction", "down"))
            case "type":
                return Type(said.get("content", ""))
            case "hotkey" | "press":
                return Key(keys_named(re.split(r"[\s+]+", said.get("key", "").strip())))
            case "open_app":
                return Launch(said.get("app_name", ""))
            case "press_back":
                return Back()
            case "press_home":
                return Home()
            case "wait":
                return Wait(5.0)  # as its parser has it
            case "call_user":
                return Ask(said.get("content", ""))
            case "finished":
                return Finish(said.get("content", ""))
            case _:
                raise AnswerUnreadable(f"there is no action {name!r}")

    def _box(self, said: str, sight: Sight) -> Point:
        numbers = [float(each) for each in _NUMBERS.findall(said)]
        if len(numbers) == 4:  # a box; its middle is meant
            numbers = [(numbers[0] + numbers[2]) / 2, (numbers[1] + numbers[3]) / 2]
        return self.point(numbers, sight)
