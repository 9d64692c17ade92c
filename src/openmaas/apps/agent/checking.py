"""Whether a task that is claimed to be done is done: asked of somebody other than the agent.

``unverified`` is the honest answer where nobody can say. A model that judges is named in the reason: it is an opinion.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from secrets import token_hex
from typing import Protocol

import msgspec

from openmaas.apps.agent.actions import Finish
from openmaas.apps.agent.events import Verdict
from openmaas.apps.agent.gate import plain
from openmaas.apps.agent.grammars.grammar import content_of
from openmaas.apps.agent.observing import Sight
from openmaas.apps.agent.spending import Spent
from openmaas.apps.client import Platform
from openmaas.core.errors import OpenmaasError


class Finding(msgspec.Struct, frozen=True):
    """The verdict and what it rests on."""

    verdict: Verdict
    why: str


class Checker(Protocol):
    """Who says whether a task is done."""

    async def check(self, task: str, claim: Finish, sight: Sight, spent: Spent) -> Finding:
        """The finding on a claim, with the last screen."""


class Nobody:
    """No checker: every claim stays one."""

    async def check(self, task: str, claim: Finish, sight: Sight, spent: Spent) -> Finding:
        """Unverified."""
        del task, claim, sight, spent
        return Finding(Verdict.UNVERIFIED, "nobody checked it")


class Expected:
    """The last screen must say these words: what a person or a test wrote down before."""

    def __init__(self, says: tuple[str, ...]) -> None:
        self._says = says

    async def check(self, task: str, claim: Finish, sight: Sight, spent: Spent) -> Finding:
        """Verified or refuted, by the screen's texts."""
        del task, claim, spent
        shown = plain("\n".join((sight.screen.title, *(f"{e.text} {e.value}" for e in sight.screen.elements))))
        missing = [each for each in self._says if plain(each) not in shown]
        if missing:
            return Finding(Verdict.REFUTED, f"the screen does not say {missing[0]!r}")
        return Finding(Verdict.VERIFIED, "the screen says what was expected")


class Judged:
    """Who knows the state behind the screen: a simulated phone's judge, a shop's order list. ``judge`` gives yes or no
    and a reason; None when it cannot say."""

    def __init__(self, judge: Callable[[], Awaitable[tuple[bool, str] | None]]) -> None:
        self._judge = judge

    async def check(self, task: str, claim: Finish, sight: Sight, spent: Spent) -> Finding:
        """By the state."""
        del task, claim, sight, spent
        found = await self._judge()
        if found is None:
            return Finding(Verdict.UNVERIFIED, "the judge could not say")
        return Finding(Verdict.VERIFIED if found[0] else Verdict.REFUTED, found[1])


class Second:
    """Another model looks at the last screen. It never hears what the agent thought, only what it claims."""

    def __init__(self, platform: Platform, model: str) -> None:
        self._platform, self._model = platform, model

    async def check(self, task: str, claim: Finish, sight: Sight, spent: Spent) -> Finding:
        """By an opinion; unverified when it is not one of the two words."""
        asked = (
            f"A task was given: {task}\nWho did it claims: {claim.message or 'done'}\nThe screen at the end says:\n"
            f"{sight.lines(token_hex(4))}\nDoes the screen prove that the task is done? Begin with YES, NO or UNKNOWN."
        )
        body = {"model": self._model, "messages": [{"role": "user", "content": asked}], "max_tokens": 200}
        try:
            answer = await self._platform.chat(body)
        except OpenmaasError as error:
            return Finding(Verdict.UNVERIFIED, f"the model {self._model} could not be asked: {error.message}")
        spent.asked(answer)
        said = content_of(answer.message).strip()
        words = {"YES": Verdict.VERIFIED, "NO": Verdict.REFUTED}
        verdict = words.get(re.split(r"\W", said.upper().lstrip("*# "))[0], Verdict.UNVERIFIED)
        return Finding(verdict, f"the model {self._model} says: {said[:300]}")
