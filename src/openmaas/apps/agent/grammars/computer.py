"""The computer-use tools of OpenAI and Anthropic, each as one function ``computer`` with the published members.

Sources: OpenAI's guide "Computer use" (actions ``click``, ``double_click``, ``drag``, ``keypress``, ``move``,
``screenshot``, ``scroll``, ``type``, ``wait``) and Anthropic's "Computer use tool" (``computer_20250124``: ``key``,
``type``, ``left_click``, …). The vendors also offer them as tool types of their own servers; here they are functions,
which every engine that calls tools can be asked for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from openmaas.apps.agent.actions import Action, Finish, Said, Wait
from openmaas.apps.agent.grammars.grammar import Setting, Spaced, one_call, thought_apart
from openmaas.apps.agent.grammars.prompts import PLAIN, RULES
from openmaas.apps.agent.grammars.uitars import keys_named
from openmaas.apps.agent.observing import Sight
from openmaas.apps.drivers.acts import Back, Hover, Key, Point, Scroll, Swipe, Tap, Type
from openmaas.core.bounds import WAIT_S_MAX
from openmaas.core.errors import AnswerUnreadable

_OPENAI = {
    "type": "object",
    "properties": {
        "type": {"enum": ["click", "double_click", "drag", "keypress", "move", "screenshot", "scroll", "type", "wait"]},
        "x": {"type": "integer"},
        "y": {"type": "integer"},
        "button": {"enum": ["left", "right", "wheel", "back", "forward"]},
        "path": {"type": "array", "items": {"type": "object"}},
        "keys": {"type": "array", "items": {"type": "string"}},
        "scroll_x": {"type": "integer"},
        "scroll_y": {"type": "integer"},
        "text": {"type": "string"},
    },
    "required": ["type"],
}
_ANTHROPIC = {
    "type": "object",
    "properties": {
        "action": {
            "enum": [
                "key",
                "type",
                "mouse_move",
                "left_click",
                "left_click_drag",
                "right_click",
                "middle_click",
                "double_click",
                "triple_click",
                "screenshot",
                "cursor_position",
                "left_mouse_down",
                "left_mouse_up",
                "scroll",
                "hold_key",
                "wait",
            ]
        },
        "coordinate": {"type": "array", "items": {"type": "integer"}},
        "start_coordinate": {"type": "array", "items": {"type": "integer"}},
        "text": {"type": "string"},
        "scroll_direction": {"enum": ["up", "down", "left", "right"]},
        "scroll_amount": {"type": "integer"},
        "duration": {"type": "number"},
    },
    "required": ["action"],
}
#: A notch of ``Scroll`` is a tenth of the screen; OpenAI's numbers are pixels, Anthropic's clicks of a wheel.
_NOTCH_SHARE = 10


class _Computer(Spaced, ABC):
    """One function; an answer without a call is the end, as both vendors have it."""

    schema: Mapping[str, Any]

    def system(self, setting: Setting) -> str:
        """See ``Grammar``."""
        words = PLAIN[setting.language]
        return f"{words['head'].format(kind=words[setting.kind], today=setting.today)}\n\n{RULES[setting.language]}"

    def show(self, sight: Sight, mark: str) -> str:
        """The picture alone."""
        del sight, mark
        return ""

    def asks(self, setting: Setting, sight: Sight) -> Mapping[str, Any]:
        """The one tool, with the size of the picture that its places are in."""
        del setting
        width, height = self.space.picture(sight.screen.width, sight.screen.height)
        about = f"Act on a screen of {width} x {height} pixels. Without a call the task has ended."
        function = {"name": "computer", "description": about, "parameters": self.schema}
        return {"tools": [{"type": "function", "function": function}], "max_tokens": 2000}

    def read(self, message: Mapping[str, Any], sight: Sight) -> Said:
        """See ``Grammar``."""
        thinking, rest = thought_apart(message)
        called = one_call(message)
        if called is None:
            if not rest:
                raise AnswerUnreadable("it is empty: call the tool, or say what was done")
            return Said(Finish(rest), thinking)
        name, said = called
        if name != "computer":
            raise AnswerUnreadable(f"there is no tool {name!r}, only 'computer'")
        return Said(self.action(said, sight), thinking or rest)

    @abstractmethod
    def action(self, said: Mapping[str, Any], sight: Sight) -> Action:
        """What the tool's members mean. Raises ``AnswerUnreadable``."""


class OpenAIComputer(_Computer):
    """OpenAI's actions."""

    schema = _OPENAI

    def action(self, said: Mapping[str, Any], sight: Sight) -> Action:
        """See ``_Computer``."""

        def place() -> Point:
            return self.point([said.get("x"), said.get("y")], sight)

        match said.get("type"):
            case "click":
                return _click(place(), said.get("button", "left"))
            case "double_click":
                return Tap(place(), count=2)
            case "move":
                return Hover(place())
            case "drag":
                path = said.get("path")
                if not isinstance(path, list) or len(path) < 2 or not all(isinstance(each, dict) for each in path):
                    raise AnswerUnreadable("a drag has a path of at least two places")
                ends = [self.point([each.get("x"), each.get("y")], sight) for each in (path[0], path[-1])]
                return Swipe(ends[0], ends[1])
            case "keypress":
                return Key(_keys(said.get("keys")))
            case "scroll":
                return self._scroll(place(), said, sight)
            case "type":
                return Type(_text(said))
            case "wait" | "screenshot":
                return Wait(1.0 if said["type"] == "wait" else 0.0)
            case unknown:
                raise AnswerUnreadable(f"there is no action {unknown!r}")

    def _scroll(self, at: Point, said: Mapping[str, Any], sight: Sight) -> Scroll:
        try:
            right, down = int(said.get("scroll_x") or 0), int(said.get("scroll_y") or 0)
        except (TypeError, ValueError):
            raise AnswerUnreadable("scroll_x and scroll_y are numbers of pixels") from None
        width, height = self.space.picture(sight.screen.width, sight.screen.height)
        share, direction = max(
            (down / height, "down"), (-down / height, "up"), (right / width, "right"), (-right / width, "left")
        )
        return Scroll(at, direction, max(1, min(round(share * _NOTCH_SHARE), 100)))


class AnthropicComputer(_Computer):
    """Anthropic's actions."""

    schema = _ANTHROPIC

    def action(self, said: Mapping[str, Any], sight: Sight) -> Action:
        """See ``_Computer``."""

        def place(name: str = "coordinate") -> Point:
            return self.point(said.get(name), sight)

        match said.get("action"):
            case "left_click" | "middle_click" | "right_click" as click:
                return Tap(place(), button=click.removesuffix("_click"))
            case "double_click":
                return Tap(place(), count=2)
            case "triple_click":
                return Tap(place(), count=3)
            case "left_click_drag":
                return Swipe(place("start_coordinate"), place())
            case "mouse_move":
                return Hover(place())
            case "left_mouse_down" | "left_mouse_up":
                raise AnswerUnreadable("press and release belong together: use left_click_drag or left_click")
            case "key":
                return Key(_keys(_text(said).split("+")))
            case "hold_key":
                raise AnswerUnreadable("keys cannot be held: use key")
            case "type":
                return Type(_text(said))
            case "scroll":
                amount = said.get("scroll_amount", 5)
                if not isinstance(amount, int) or not 1 <= amount <= 100:
                    raise AnswerUnreadable(f"scroll_amount is 1 to 100, not {amount!r}")
                return Scroll(place(), str(said.get("scroll_direction")), amount)
            case "screenshot" | "cursor_position":
                return Wait(0.0)
            case "wait":
                duration = said.get("duration", 1)
                if not isinstance(duration, (int, float)) or not duration >= 0:
                    raise AnswerUnreadable(f"duration is a number of seconds, not {duration!r}")
                return Wait(min(float(duration), WAIT_S_MAX))
            case unknown:
                raise AnswerUnreadable(f"there is no action {unknown!r}")


def _click(at: Point, button: object) -> Action:
    match button:
        case "left" | "right":
            return Tap(at, button=str(button))
        case "wheel":
            return Tap(at, button="middle")
        case "back":
            return Back()
        case _:
            raise AnswerUnreadable(f"there is no button {button!r}")


def _keys(said: object) -> tuple[str, ...]:
    if not isinstance(said, list) or not said or not all(isinstance(each, str) for each in said):
        raise AnswerUnreadable("keys is a list of names")
    return keys_named(said)


def _text(said: Mapping[str, Any]) -> str:
    if not isinstance(said.get("text"), str):
        raise AnswerUnreadable("text is missing")
    return str(said["text"])
