"""A device as the loop knows it: something that is observed and acted upon. Here an action meets the gate, the person
and the vault, in this order and every time, before hands touch anything.

The screen is looked at once more before each act that goes to a place: a model thinks for seconds, and a tap meant for
"Close" must not meet a "Pay" that has come there since.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import msgspec

from openmaas.apps.agent.actions import Action, Fill, Note, Said, Wait, told
from openmaas.apps.agent.events import Gated
from openmaas.apps.agent.gate import Answer, Gate, Ruling
from openmaas.apps.agent.observing import Observer, Sight
from openmaas.apps.agent.reins import Person
from openmaas.apps.agent.vault import Vault
from openmaas.apps.drivers.acts import Act, Key, Point, Press, Swipe, Tap, Type
from openmaas.apps.drivers.driver import Driver, Element, Screen
from openmaas.core.clock import Clock
from openmaas.core.errors import CannotAct

_TIME = re.compile(r"\d{1,2}:\d\d(:\d\d)?")


class Done(msgspec.Struct, frozen=True):
    """What became of an action: the words for the model, and the element that was touched."""

    outcome: str
    target: Element | None = None


class Device:
    """A driver with everything that stands before it. ``tell`` takes the gate's rulings."""

    def __init__(self, driver: Driver, gate: Gate, vault: Vault, person: Person, clock: Clock) -> None:
        self.driver = driver
        self._gate, self._vault, self._person, self._clock = gate, vault, person, clock
        self._observer = Observer(self._look, clock)

    async def observe(self) -> Sight:
        """The screen when it is still, without secrets. Raises ``DeviceLost``."""
        return await self._observer.look()

    async def act(self, said: Said, sight: Sight, tell: Callable[[Gated], object], step: int) -> Done:
        """Do it if it may be done. Raises ``DeviceLost``; everything else is an outcome for the model."""
        action = said.action
        if isinstance(action, Wait):
            await asyncio.sleep(action.duration_s)
            return Done("waited")
        if isinstance(action, Note):
            return Done("noted")
        target = element_at(action, sight.screen)
        try:
            for act in _acts(action):
                await self._one(act, said, sight, tell, step)
        except CannotAct as error:
            return Done(f"not done: {self._vault.hidden(error.detail)}", target)
        return Done("done", target)

    async def _one(self, act: Act, said: Said, sight: Sight, tell: Callable[[Gated], object], step: int) -> None:
        now = await self._look() if isinstance(act, (Tap, Press, Swipe, Key, Type)) else sight.screen
        if _moved(act, sight.screen, now):
            raise CannotAct("the screen has changed at this place since you looked; look again")
        ruling = self._gate.rule(act, now, said.warned)
        if ruling.answer is not Answer.ALLOW:
            await self._ask(act, ruling, now, tell, step)
        if isinstance(act, Type):
            act = msgspec.structs.replace(act, text=self._vault.filled(act.text, now))
        await self.driver.do(act)

    async def _ask(self, act: Act, ruling: Ruling, now: Screen, tell: Callable[[Gated], object], step: int) -> None:
        """Returns when a person has agreed to what is still there. The question is told before its answer."""
        words = told(act)

        def say(agreed: bool | None) -> None:
            tell(Gated(at_ms=self._clock.wall_ms(), step=step, action=words, ruling=ruling, agreed=agreed))

        say(None)
        risks = ", ".join(ruling.risks)
        if ruling.answer is Answer.DENY:
            raise CannotAct(f"the policy forbids it ({risks}). Do not try it another way; go on without it, or finish")
        agreed = await self._person.agree(words, ruling)
        say(agreed)
        if not agreed:
            raise CannotAct(f"the person said no ({risks}). Do not try it another way; go on without it, or finish")
        if _says(now) != _says(await self._look()):
            raise CannotAct("the screen has changed while the person was asked; look again")

    async def _look(self) -> Screen:
        """The screen without secrets: what the gate finds there is told, and kept."""
        return self._vault.hidden_on(await self.driver.look())


def _acts(action: Action) -> tuple[Act, ...]:
    if isinstance(action, Fill):
        return (Tap(action.at), Type(action.text, clear=True))
    assert isinstance(action, Act), action
    return (action,)


def _places(act: object) -> tuple[Point, ...]:
    match act:
        case Tap(at=at) | Press(at=at) | Fill(at=at):
            return (at,)
        case Swipe(start=start):
            return (start,)
        case _:
            return ()


def element_at(action: object, screen: Screen) -> Element | None:
    """The smallest element where the action goes; None when it goes nowhere, or nothing is known to be there."""
    found = [each for place in _places(action) for each in screen.elements if each.box.holds(place)]
    return min(found, key=lambda each: each.box.width * each.box.height, default=None)


def _says(screen: Screen) -> list[tuple[str, str, str]]:
    """What a person agreed to by looking at it; not what time it is."""
    return [(each.role, each.text, each.value) for each in screen.elements if not _TIME.fullmatch(each.text)]


def _moved(act: Act, seen: Screen, now: Screen) -> bool:
    """Whether something else is now where the act goes. A value may change."""
    before, after = element_at(act, seen), element_at(act, now)
    if before is None or after is None:
        return before is not after
    return (before.role, before.text, before.place) != (after.role, after.text, after.place)
