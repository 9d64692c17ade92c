"""Plain actions: as tool calls, or as one JSON object that a schema constrains, for models that know no grammar of
their own. A target is the number of an element or a place; with elements alone it works without a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from openmaas.apps.agent.actions import Action, Ask, Fill, Note, Recall, Said, TakeOver, Wait
from openmaas.apps.agent.grammars.grammar import Setting, Spaced, element_middle, finished, one_call, thought_apart
from openmaas.apps.agent.grammars.prompts import PLAIN, RULES
from openmaas.apps.agent.grammars.uitars import keys_named
from openmaas.apps.agent.observing import Sight
from openmaas.apps.agent.space import Space
from openmaas.apps.drivers.acts import Act, Back, Home, Hover, Key, Launch, Point, Press, Scroll, Swipe, Tap, Type
from openmaas.apps.drivers.checking import DIRECTIONS
from openmaas.core.bounds import ELEMENTS_MAX, WAIT_S_MAX
from openmaas.core.errors import AnswerUnreadable

_ELEMENT = {"type": "integer", "description": "number of the element"}
_X = {"type": "number"}
_TEXT = {"type": "string"}
_PLACE = {"element": _ELEMENT, "x": _X, "y": _X}


class Verb(msgspec.Struct, frozen=True):
    """An action as a model names it: what it is for, its parameters, which of them it must have, and the act it wants
    of the device (none for the agent's own)."""

    about: str
    parameters: dict[str, Any]
    needed: tuple[str, ...] = ()
    act: type[Act] | None = None


VERBS = {
    "tap": Verb("Tap or click an element, or a place by x and y.", _PLACE, act=Tap),
    "double_tap": Verb("Tap or click twice.", _PLACE, act=Tap),
    "right_click": Verb("Click with the right button.", _PLACE, act=Hover),  # who has a mouse has a right button
    "long_press": Verb("Press long.", _PLACE, act=Press),
    "hover": Verb("Move the mouse there.", _PLACE, act=Hover),
    "type": Verb(
        "Type text into a field, which is tapped first when it is named; what stood there is replaced.",
        {"element": _ELEMENT, "text": _TEXT},
        ("text",),
        Type,
    ),
    "key": Verb("Press keys together, such as Enter or Control+a.", {"keys": _TEXT}, ("keys",), Key),
    "scroll": Verb(
        "Show more of what lies in a direction.",
        {"direction": {"type": "string", "enum": list(DIRECTIONS)}, **_PLACE},
        ("direction",),
        Scroll,
    ),
    "swipe": Verb(
        "Swipe or drag from one place to another.",
        {"x": _X, "y": _X, "to_x": _X, "to_y": _X, "element": _ELEMENT, "to_element": _ELEMENT},
        act=Swipe,
    ),
    "open": Verb("Open an application by its name; in a browser an address.", {"app": _TEXT}, ("app",), Launch),
    "back": Verb("Go back.", {}, act=Back),
    "home": Verb("Go to the home screen.", {}, act=Home),
    "wait": Verb("Wait for something that is loading.", {"seconds": _X}),
    "note": Verb("Remember a text.", {"text": _TEXT}, ("text",)),
    "recall": Verb("Write something from the notes.", {"instruction": _TEXT}, ("instruction",)),
    "ask": Verb("Ask the person, when only they can choose or know.", {"question": _TEXT}, ("question",)),
    "take_over": Verb("Let the person do the next part: logins, captchas, passwords.", {"reason": _TEXT}),
    "finish": Verb(
        "End the task. succeeded is false if it could not be done; message says what was done, or why not.",
        {"message": _TEXT, "succeeded": {"type": "boolean"}},
        ("message", "succeeded"),
    ),
}
_THINKING = {"type": "string", "description": "why, in one sentence"}


def offered(setting: Setting) -> dict[str, Verb]:
    """The verbs that the device can do, and the agent's own."""
    return {name: verb for name, verb in VERBS.items() if verb.act is None or verb.act in setting.acts}


class Calls(Spaced):
    """One function for each action."""

    def system(self, setting: Setting) -> str:
        """See ``Grammar``."""
        return _system(setting)

    def show(self, sight: Sight, mark: str) -> str:
        """The elements, numbered."""
        return sight.lines(mark)

    def asks(self, setting: Setting, sight: Sight) -> Mapping[str, Any]:
        """The tools, one of which must be called."""
        del sight
        tools = [
            {
                "type": "function",
                "function": {
                    "name": name,
                    "description": verb.about,
                    "parameters": {
                        "type": "object",
                        "properties": {"thinking": _THINKING, **verb.parameters},
                        "required": list(verb.needed),
                    },
                },
            }
            for name, verb in offered(setting).items()
        ]
        return {"tools": tools, "tool_choice": "required", "temperature": 0.0, "max_tokens": 1000}

    def read(self, message: Mapping[str, Any], sight: Sight) -> Said:
        """See ``Grammar``."""
        called = one_call(message)
        if called is None:
            raise AnswerUnreadable("call one of the tools; finish ends the task")
        thinking, rest = thought_apart(message)
        name, arguments = called
        said = str(arguments.pop("thinking", "") or "")
        return Said(action_of(name, arguments, sight, self.point), thinking or rest or said)


class Choice(Spaced):
    """One JSON object, constrained by a schema to what is on the screen: an engine that enforces it cannot name an
    element that is not there. ``thinking`` is written first, so that it can help."""

    def __init__(self, space: Space, thinks: bool = True) -> None:
        super().__init__(space)
        self._thinks = thinks

    def system(self, setting: Setting) -> str:
        """See ``Grammar``."""
        verbs = "\n".join(f"- {name}: {verb.about}" for name, verb in offered(setting).items())
        return f"{_system(setting)}\n\n{verbs}"

    def show(self, sight: Sight, mark: str) -> str:
        """The elements, numbered."""
        return sight.lines(mark)

    def asks(self, setting: Setting, sight: Sight) -> Mapping[str, Any]:
        """A schema with one branch for each action; places are elements alone: who has no picture knows no other."""
        numbers = list(range(1, min(len(sight.screen.elements), ELEMENTS_MAX) + 1))
        branches = []
        for name, verb in offered(setting).items():
            members = {k: v for k, v in verb.parameters.items() if k not in ("x", "y", "to_x", "to_y")}
            for place in ("element", "to_element"):
                if place in members:
                    members[place] = {"type": "integer", "enum": numbers}
            needed = [*verb.needed, *(p for p in ("element", "to_element") if p in members and name != "scroll")]
            if "element" in members and not numbers:
                continue
            thinking = {"thinking": {"type": "string", "maxLength": 200}} if self._thinks else {}
            properties = {**thinking, "action": {"const": name}, **members}
            branches.append(
                {
                    "type": "object",
                    "properties": properties,
                    "required": [*thinking, "action", *needed],
                    "additionalProperties": False,
                }
            )
        schema = {"name": "action", "strict": True, "schema": {"anyOf": branches}}
        return {
            "response_format": {"type": "json_schema", "json_schema": schema},
            "temperature": 0.0,
            "max_tokens": 400,
        }

    def read(self, message: Mapping[str, Any], sight: Sight) -> Said:
        """See ``Grammar``."""
        thinking, rest = thought_apart(message)
        try:
            said = msgspec.json.decode(rest)
        except msgspec.DecodeError as error:
            raise AnswerUnreadable(f"it must be one JSON object and nothing else ({error})") from None
        if not isinstance(said, dict) or not isinstance(said.get("action"), str):
            raise AnswerUnreadable('it must be a JSON object with "action"')
        thought = str(said.pop("thinking", "") or "")
        return Said(action_of(said.pop("action"), said, sight, self.point), thinking or thought)


def action_of(name: str, said: dict[str, Any], sight: Sight, point: Callable[[object, Sight], Point]) -> Action:
    """The action that a verb and its parameters mean. Raises ``AnswerUnreadable``, which names the parameter."""
    verb = VERBS.get(name)
    if verb is None:
        raise AnswerUnreadable(f"there is no action {name!r}, only {', '.join(VERBS)}")
    unknown = said.keys() - verb.parameters.keys()
    if unknown:
        raise AnswerUnreadable(
            f"{name} has no {sorted(unknown)[0]!r}, only {', '.join(verb.parameters) or 'no parameter'}"
        )
    for each in verb.needed:
        if each not in said:
            raise AnswerUnreadable(f"{name} needs {each!r}")

    def place(element: str = "element", x: str = "x", y: str = "y") -> Point:
        if said.get(element) is not None:
            return element_middle(said[element], sight)
        return point([said.get(x), said.get(y)], sight)

    def text(member: str) -> str:
        if not isinstance(said.get(member, ""), str):
            raise AnswerUnreadable(f"{member} must be a text")
        return str(said.get(member, ""))

    match name:
        case "tap":
            return Tap(place())
        case "double_tap":
            return Tap(place(), count=2)
        case "right_click":
            return Tap(place(), button="right")
        case "long_press":
            return Press(place())
        case "hover":
            return Hover(place())
        case "type":
            return Fill(place(), text("text")) if "element" in said else Type(text("text"), clear=True)
        case "key":
            return Key(keys_named(text("keys").split("+")))
        case "scroll":
            middle = Point(sight.screen.width // 2, sight.screen.height // 2)
            return Scroll(place() if {"element", "x"} & said.keys() else middle, text("direction"))
        case "swipe":
            return Swipe(place(), place("to_element", "to_x", "to_y"))
        case "open":
            return Launch(text("app"))
        case "wait":
            return Wait(_seconds(said.get("seconds", 1.0)))
        case "note":
            return Note(text("text"))
        case "recall":
            return Recall(text("instruction"))
        case "ask":
            return Ask(text("question"))
        case "take_over":
            return TakeOver(text("reason"))
        case "finish":
            return finished(text("message"), said["succeeded"])
        case "home":
            return Home()
        case _:
            return Back()


def _seconds(value: object) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not value >= 0:
        raise AnswerUnreadable(f"seconds is a number, not {value!r}")
    return min(float(value), WAIT_S_MAX)


def _system(setting: Setting) -> str:
    apps = f"\n\n{PLAIN[setting.language]['apps']} {', '.join(setting.apps[:100])}" if setting.apps else ""
    head = PLAIN[setting.language]["head"].format(kind=PLAIN[setting.language][setting.kind], today=setting.today)
    return f"{head}\n\n{RULES[setting.language]}{apps}"
