"""One turn after another: observe, think, act, verify. The whole life of a task is here, and in no other file.

    1 ready    paused, taken over, cancelled     reins
    2 spent    steps, tokens, time, money        spending
    3 observe  the screen when it is still       world
    4 think    the model, and what it misspelt   mind
    5 act      gate, person, vault, hands        world
    6 verify   what it claims, by somebody else  checking

The loop knows no device and no grammar: who brings another ``World`` has another agent. It ends in one way, with an
``Ended``; a claim is never a success by itself, and what could not be read, done or reached is never a claim.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from openmaas.apps.agent import events as e
from openmaas.apps.agent.actions import Action, Ask, Finish, Note, Own, Recall, Said, TakeOver, told
from openmaas.apps.agent.checking import Checker
from openmaas.apps.agent.circles import Circles, nudge
from openmaas.apps.agent.observing import Sight
from openmaas.apps.agent.reins import Cancelled, Person, Reins
from openmaas.apps.agent.spending import Limits, Spent
from openmaas.apps.agent.world import Done
from openmaas.core.bounds import CIRCLES_END
from openmaas.core.clock import Clock
from openmaas.core.errors import AnswerUnreadable, DeviceLost, OpenmaasError


class World(Protocol):
    """What is observed and acted upon. Raises ``DeviceLost``."""

    async def observe(self) -> Sight:
        """What there is to see now."""

    async def act(self, said: Said, sight: Sight, tell: Callable[[e.Gated], object], step: int) -> Done:
        """Do it if it may be done."""


class Thinker(Protocol):
    """Who decides. Raises ``AnswerUnreadable`` and what its service says."""

    async def think(
        self, task: str, sight: Sight, told_now: str, spent: Spent, tell: Callable[[Any], object]
    ) -> tuple[Said, Mapping[str, Any]]:
        """The next action, and the message that said so."""

    async def write(self, instruction: str, spent: Spent) -> str:
        """Something from the notes."""

    def noted(self, text: str) -> None:
        """Remember a text."""

    def acted(self, message: Mapping[str, Any], said: Said, outcome: str) -> None:
        """A turn has ended."""


class Agent:
    """One task. ``tell`` takes every event as it happens; it must not raise."""

    def __init__(
        self,
        *,
        world: World,
        mind: Thinker,
        person: Person,
        reins: Reins,
        checker: Checker,
        limits: Limits,
        clock: Clock,
        tell: Callable[[e.AnyEvent], object],
    ) -> None:
        self._world, self._mind, self._person, self._reins = world, mind, person, reins
        self._checker, self._clock, self._tell = checker, clock, tell
        self._spent = Spent(limits, clock)
        self._circles = Circles()

    async def run(self, task: str) -> e.Ended:
        """Work until the end, and say how it was. A cancelled asyncio task is not caught: its owner cleans up."""
        try:
            ended = await self._turns(task)
        except Cancelled as why:
            ended = self._ended("cancelled", str(why))
        except AnswerUnreadable as error:
            ended = self._ended("failed", error.message, "limit" if self._spent.drained else "format")
        except DeviceLost as error:
            ended = self._ended("failed", error.message, "device")
        except OpenmaasError as error:
            ended = self._ended("failed", error.message, "model")
        self._tell(ended)
        return ended

    async def _turns(self, task: str) -> e.Ended:
        told_now = ""
        while True:
            await self._ready()
            if self._spent.over:
                return self._ended("failed", f"the task may not use more than {self._spent.over}", "limit")
            self._spent.steps += 1
            sight = await self._observe()
            said, message = await self._reins.through(self._mind.think(task, sight, told_now, self._spent, self._tell))
            if isinstance(said.action, Finish):
                return await self._finish(task, said.action, sight)
            times = self._circles.saw(sight.screen, said.action)
            if times >= CIRCLES_END:
                return self._ended("failed", f"it did the same {times} times: {told(said.action)}", "circles")
            done = await self._act(said, sight)
            self._mind.acted(message, said, done.outcome)
            told_now = "\n".join(
                filter(None, (f"Your last action, {told(said.action)}: {done.outcome}.", nudge(times)))
            )
            if nudge(times):
                self._say(e.Nudged, times=times)

    async def _ready(self) -> None:
        if self._reins.paused:
            self._say(e.Paused, by="person")
            await self._reins.ready()
            self._say(e.Resumed)
        await self._reins.ready()

    async def _observe(self) -> Sight:
        """The screen; one that the device hides is the person's, until it shows something else."""
        while True:
            sight = await self._reins.through(self._world.observe())
            screen = sight.screen
            self._say(
                e.Looked,
                app=screen.app,
                elements=screen.elements,
                changes=sight.changes,
                still=sight.still,
                secure=screen.secure,
                picture=screen.png,
            )
            if not screen.secure:
                return sight
            await self._hand_over("secure", f"{screen.app} keeps its screen from being seen")

    async def _act(self, said: Said, sight: Sight) -> Done:
        match said.action:
            case Ask(question=question):
                answer = await self._reins.through(self._person.answer(question))
                self._say(e.Answered, question=question, answer=answer)
                done = Done(f"the person answers: {answer}")
            case TakeOver(reason=reason):
                await self._hand_over("take_over", reason)
                done = Done("the person did it and gave back the device")
            case Recall(instruction=instruction):
                done = Done(f"written: {await self._reins.through(self._mind.write(instruction, self._spent))}")
            case action:
                done = await self._reins.through(self._world.act(said, sight, self._tell, self._spent.steps))
                if isinstance(action, Note):
                    self._mind.noted(action.text or sight.texts)
        self._say(e.Acted, action=told(said.action), act=_raw(said.action), outcome=done.outcome, target=done.target)
        return done

    async def _hand_over(self, by: str, reason: str) -> None:
        self._say(e.Paused, by=by, reason=reason)
        await self._reins.through(self._person.take_over(reason))
        self._say(e.Resumed)

    async def _finish(self, task: str, claim: Finish, sight: Sight) -> e.Ended:
        if not claim.succeeded:
            return self._ended("gave_up", claim.message)
        finding = await self._reins.through(self._checker.check(task, claim, sight, self._spent))
        return self._ended("done", claim.message, verdict=finding.verdict, verdict_why=finding.why)

    def _say(self, kind: type[Any], **members: Any) -> None:
        self._tell(kind(at_ms=self._clock.wall_ms(), step=self._spent.steps, **members))

    def _ended(self, status: str, message: str, why: str = "", **verdict: Any) -> e.Ended:
        spent = self._spent
        return e.Ended(
            at_ms=self._clock.wall_ms(),
            step=spent.steps,
            status=status,
            message=message,
            why=why,
            steps=spent.steps,
            tokens=spent.tokens,
            amount=str(spent.money),
            currency=spent.currency,
            took_ms=round(spent.time_s * 1000),
            **verdict,
        )


def _raw(action: Action) -> msgspec.Raw:
    assert isinstance(action, msgspec.Struct | Own)
    return msgspec.Raw(msgspec.json.encode(action))
