"""Policies that stand in for a model: they see what a model sees, in words, and answer as it does.

``random`` takes an action over the listed elements by lot: what it reaches is the luck in a benchmark. ``rule``, in
``rules.py``, was written for the instructions of MiniWoB++. Neither sees the picture, so what only a picture tells
(colours, angles, drawings) is out of their reach.
"""

from __future__ import annotations

import random as lots
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

Answer = dict[str, Any]


@dataclass(frozen=True)
class Item:
    """A line of the list of elements."""

    number: int
    role: str
    text: str
    value: str = ""
    checked: bool | None = None
    scrolls: bool = False


@dataclass(frozen=True)
class Seen:
    """What a request tells a model: its task, the screen in words, and what it answered before."""

    instruction: str
    elements: list[Item]
    history: list[Answer] = field(default_factory=list)


Policy = Callable[["Seen"], Answer]
FIELDS = ("textbox", "searchbox", "spinbutton", "combobox")
ACTING = ("button", "link", "tab", "menuitem", "option", "checkbox", "radio", "treeitem", "image", *FIELDS, "text")
FINISH: Answer = {"action": "finish", "text": "done"}
WAIT: Answer = {"action": "wait"}


def random(seen: Seen) -> Answer:
    """An action over the elements, each as likely as the others; text is a word of the instruction."""
    if not seen.elements:
        return WAIT
    item = lots.choice(seen.elements)  # noqa: S311 - lots that fall alike for everybody
    if item.role in FIELDS:
        return typed(item, lots.choice(seen.instruction.split()).strip('".,'))  # noqa: S311
    if item.scrolls:
        return {"action": "scroll", "element": item.number, "direction": lots.choice(("up", "down"))}  # noqa: S311
    return {"action": "tap", "element": item.number}


class Page:
    """The screen of a request, asked in the words of the rules. Below the instruction, which pages print on top."""

    def __init__(self, seen: Seen) -> None:
        self.history = seen.history
        first = seen.elements[0].number if seen.elements and seen.elements[0].text[:20] == seen.instruction[:20] else 0
        self.items = [item for item in seen.elements if item.number != first or not first]

    def all(self, *roles: str) -> list[Item]:
        """Those of these roles, in order."""
        return [item for item in self.items if item.role in roles]

    def named(self, text: str, *roles: str) -> Item | None:
        """The one that says this: exactly, else in other case, else as a part of what it says."""
        wanted = text.strip().casefold()
        those = [item for item in self.items if item.role in (roles or ACTING)]
        tests: tuple[Callable[[Item], bool], ...] = (
            lambda item: item.text == text,
            lambda item: item.text.casefold() == wanted,
            lambda item: bool(wanted) and wanted in item.text.casefold(),
        )
        return next((item for test in tests for item in those if test(item)), None)

    def after(self, text: str, role: str) -> Item | None:
        """The first of a role that comes after an element that says this: a field after its label."""
        places = [place for place, item in enumerate(self.items) if text.casefold() in item.text.casefold()]
        later = (item for place in places for item in self.items[place:] if item.role == role)
        return next(later, None)

    def tap(self, text: str, *roles: str) -> Iterator[Answer]:
        """Tap on what says this; look for it further down while it was never to be seen."""
        if item := self.named(text, *roles):
            yield self.on(item)
        elif not any(text.casefold() in str(answer.get("why", "")).casefold() for answer in self.history):
            yield from self.down()

    def on(self, item: Item | None) -> Answer:
        """A tap on this one, which is told from others of its name by its place among them."""
        if item is None:
            return WAIT
        like = [other for other in self.items if (other.role, other.text) == (item.role, item.text)]
        return {"action": "tap", "element": item.number, "why": f"{item.role} {item.text} {like.index(item)}"}

    def down(self) -> Iterator[Answer]:
        """Scroll down what scrolls, some times."""
        moving = next((item for item in reversed(self.items) if item.scrolls), None)
        tried = sum(answer["action"] == "scroll" for answer in self.history)
        if moving and tried < 20:
            yield {"action": "scroll", "element": moving.number, "direction": "down", "why": f"scroll {tried}"}

    def again(self, answer: Answer) -> Answer:
        """The same as often as it takes."""
        return {**answer, "why": f"{answer.get('why', '')} {len(self.history)}"}

    def submit(self) -> Iterator[Answer]:
        """The button that sends a form."""
        for name in ("Submit", "Search", "Login", "OK"):
            if item := self.named(name, "button"):
                yield self.on(item)
                return

    def fill(self, item: Item | None, text: str) -> Iterator[Answer]:
        """Text into a field, unless it stands there."""
        if item and item.value != text:
            yield typed(item, text)


def typed(item: Item, text: str) -> Answer:
    """Text into this field, in the place of what is there."""
    return {"action": "type", "element": item.number, "text": text, "why": f"type {text} {item.text} {item.number}"}
