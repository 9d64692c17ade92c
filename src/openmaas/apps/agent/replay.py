"""A trace played again without a model: it takes the model's place in the loop, so that gate, person, reins, limits and
checker are all there as the first time. Actions are aimed anew, by what they touched and not by where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from openmaas.apps.agent.actions import Action, Fill, Finish, Said, told
from openmaas.apps.agent.events import Acted, AnyEvent, Began, Ended
from openmaas.apps.agent.observing import Sight
from openmaas.apps.agent.spending import Spent
from openmaas.apps.drivers.acts import Point, Press, Swipe, Tap
from openmaas.apps.drivers.driver import Element
from openmaas.core.errors import AnswerUnreadable


class Kept(msgspec.Struct, frozen=True):
    """One action of a trace and what it touched; this is all that a replay needs."""

    act: Action
    target: Element | None = None


def kept(events: Iterable[AnyEvent]) -> tuple[str, list[Kept]]:
    """The task of a trace, and its actions with the end that it claimed. Actions that were not done are left out."""
    task, found = "", []
    for event in events:
        match event:
            case Began():
                task = event.task
            case Acted(outcome=outcome) if not outcome.startswith("not done"):
                found.append(Kept(msgspec.json.decode(event.act, type=Action), event.target))
            case Ended(status="done" | "gave_up" as status, message=message):
                found.append(Kept(Finish(message, status == "done")))
            case _:
                pass
    return task, found


class Replay:
    """The mind of a replay. Raises ``AnswerUnreadable`` where the device shows something else than it did."""

    def __init__(self, actions: Iterable[Kept]) -> None:
        self._actions = list(actions)
        self._next = 0

    async def think(
        self, task: str, sight: Sight, told_now: str, spent: Spent, tell: Callable[[Any], object]
    ) -> tuple[Said, Mapping[str, Any]]:
        """The next action of the trace, aimed at this screen."""
        del task, spent, tell
        number = self._next
        if told_now and ": not done" in told_now:
            raise AnswerUnreadable(f"action {number} of the trace could not be done: {told_now}")
        if number >= len(self._actions):
            raise AnswerUnreadable("the trace ends without an end")
        self._next += 1
        return Said(_aimed(self._actions[number], sight, number + 1)), {}

    async def write(self, instruction: str, spent: Spent) -> str:
        """Nothing: there is no model."""
        del instruction, spent
        return ""

    def noted(self, text: str) -> None:
        """Nothing."""

    def acted(self, message: Mapping[str, Any], said: Said, outcome: str) -> None:
        """Nothing."""


def _aimed(was: Kept, sight: Sight, number: int) -> Action:
    act, target = was.act, was.target
    if target is None or not isinstance(act, (Tap, Press, Swipe, Fill)):
        return act
    now = _found(target, sight)
    if now is None:
        raise AnswerUnreadable(
            f"action {number} of the trace ({told(act)}) touched {target.role} {target.text!r}: not shown now"
        )
    at = now.box.middle
    if isinstance(act, Swipe):
        by = (at.x - target.box.middle.x, at.y - target.box.middle.y)
        return Swipe(at, Point(act.end.x + by[0], act.end.y + by[1]), act.duration_ms)
    return msgspec.structs.replace(act, at=at)


def _found(target: Element, sight: Sight) -> Element | None:
    """The element of a trace on this screen: by all of its name, else the only one of its role and text."""
    alike = [each for each in sight.screen.elements if (each.role, each.text) == (target.role, target.text)]
    same = [each for each in alike if each.place == target.place]
    if same:
        return same[0]
    return alike[0] if len(alike) == 1 else None


_TEST = '''"""Recorded: {task}"""

from __future__ import annotations

from openmaas.apps.agent.recorded import replays

DEVICE = {device!r}
SAYS = {says!r}
ACTIONS = """
{actions}
"""


def test_{name}() -> None:
    replays(ACTIONS, device=DEVICE, says=SAYS)
'''


def as_test(task: str, actions: Iterable[Kept], *, name: str, device: str, says: tuple[str, ...]) -> str:
    """The source of a test that plays the actions on ``device`` and wants the last screen to say ``says``."""
    lines = "\n".join(json.dumps(msgspec.to_builtins(each), ensure_ascii=True) for each in actions)
    safe = " ".join(task.split()).replace("\\", "\\\\").replace('"', "'")
    return _TEST.format(task=safe, device=device, says=says, actions=lines.replace("\\", "\\\\"), name=name)


def read_actions(lines: str) -> list[Kept]:
    """The actions of such a test."""
    return [msgspec.json.decode(line, type=Kept) for line in lines.splitlines() if line.strip()]
